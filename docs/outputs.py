"""Run a page's commands again and put what they print in the place of what the page shows.

    python docs/outputs.py docs/getting-started.md

Of an output the page keeps the paragraphs it had, told by their first words (`table1:`); progress lines are left out.
Commands without an output on the page are run for those that follow; make, pip and those on DIR are not.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^(```console\n)(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRESS = re.compile(r"^\d+ of \d+ images(, [\d.]+ images/s.*)?\n", re.MULTILINE)


def main(page: Path) -> None:
    """Rewrite one page."""
    with tempfile.TemporaryDirectory() as folder:
        page.write_text(BLOCK.sub(lambda block: f"{block[1]}{_again(block[2], folder)}```", page.read_text()))


def _again(block: str, folder: str) -> str:
    """A block's commands, each with its new output."""
    parts = re.split(r"^(\$ .*)\n", block, flags=re.MULTILINE)[1:]
    return "".join(
        f"{line}\n{_output(shlex.split(line[2:], comments=True), shown, folder)}"
        for line, shown in zip(parts[::2], parts[1::2], strict=True)
    )


def _output(words: list[str], shown: str, folder: str) -> str:
    """What a command prints, as far as the page shows it."""
    if words[0] != "attnlab" or "DIR" in words:
        return shown
    command = [sys.executable, "-m", "attnlab_cli", *words[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, check=False)
    printed = PROGRESS.sub("", "".join(line.rstrip() + "\n" for line in done.stdout.splitlines()))
    wanted = {paragraph.split(maxsplit=1)[0] for paragraph in _paragraphs(shown)}
    kept = [paragraph for paragraph in _paragraphs(printed) if paragraph.split(maxsplit=1)[0] in wanted]
    if wanted and not kept:  # it begins otherwise now
        return printed
    return "\n\n".join(kept) + "\n" * bool(kept)


def _paragraphs(text: str) -> list[str]:
    return [paragraph for paragraph in text.strip().split("\n\n") if paragraph.strip()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
