"""`record` and `compare`, the commands of `python -m benchmarks.golden`."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.golden.commands import COMMANDS, OWN_FILE, OWN_MODEL, Command
from benchmarks.golden.differences import Differences
from benchmarks.golden.runner import run
from benchmarks.golden.texts import printed
from benchmarks.pieces import ROOT

#: what a recording holds: what it was made with, each command and what it printed; the folder that they ran in
FILE, WORK = "golden.json", "work"
#: files that hold what was computed, not how it is told
RESULTS = (".parquet", ".safetensors", "log.jsonl", "skipped.csv", "checks.csv")

PYTHON = click.option("--python", default=sys.executable, show_default=False, help="Interpreter; by default this one.")


@click.group()
def main() -> None:
    """Record what commands compute and print with one version of the code, and compare another version with it."""


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@PYTHON
def record(folder: Path, python: str) -> None:
    """Run the commands with this tree, and keep in DIR what they print and their run folders and checkpoints."""
    if folder.exists():
        raise click.ClickException(f"{folder} exists; choose another DIR, or remove it")
    results = _run(COMMANDS, _begin(folder / WORK), python)
    wrong = [
        f"expected exit code {command.code} of `{command.line}`, got {result['code']}\n{result['err']}"
        for command, result in zip(COMMANDS, results, strict=True)
        if result["code"] != command.code
    ]
    places = _places(folder / WORK)
    lines = [
        asdict(command) | {name: printed(result[name], places) for name in ("out", "err")} | {"drawn": result["drawn"]}
        for command, result in zip(COMMANDS, results, strict=True)
    ]
    content = {"made": _made_with(), "commands": lines}
    (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")
    if wrong:
        raise click.ClickException("\n".join(wrong))
    click.echo(f"{folder}: {len(COMMANDS)} commands of {content['made']['commit']}")


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@PYTHON
@click.option("--keep", type=click.Path(path_type=Path), help="Folder in which what is made today stays.")
def compare(folder: Path, python: str, keep: Path | None) -> None:
    """Run the commands of DIR again with this tree, anew and on the recorded folders, and print what differs.

    Exits with 1 where a number differs: in records, tables, weights, figures or printed text. Words may change on
    purpose; read their diff.
    """
    recording = json.loads((folder / FILE).read_text())
    commands = [
        Command(**{key: line[key] for key in asdict(COMMANDS[0]) if key in line}) for line in recording["commands"]
    ]
    _tell_other_machine(recording["made"])
    found = Differences()
    with tempfile.TemporaryDirectory() as temporary:
        place = keep or Path(temporary)
        _compare_anew(commands, recording["commands"], folder / WORK, place / "anew", python, found)
        _compare_old(commands, recording["commands"], folder / WORK, place / "old", python, found)
    _show(found, recording["made"]["commit"])
    sys.exit(1 if found.numbers else 0)


def _compare_anew(
    commands: Sequence[Command],
    lines: Sequence[dict[str, Any]],
    work: Path,
    place: Path,
    python: str,
    found: Differences,
) -> None:
    """Run all but the interrupted commands in an empty folder."""
    pairs = [(command, line) for command, line in zip(commands, lines, strict=True) if not command.until]
    pairs = [(command, line) for command, line in pairs if not _reads_interrupted(command, commands)]
    results = _run([command for command, _ in pairs], _begin(place), python)
    for (command, line), result in zip(pairs, results, strict=True):
        _compare_printed(command, line, result, place, found)
        name = f"`{command.line}`"
        found.of_texts(f"{name}, stderr", line["err"], printed(result["err"], _places(place)), is_help=command.is_help)
        found.of_drawings(name, line["drawn"], result["drawn"])
    for made in sorted({path.name for path in [*work.iterdir(), *place.iterdir()] if path.is_dir()}):
        if made not in {command.folder for command in commands if command.until}:
            found.of_folders(made, work / made, place / made, _places(work, place))


def _compare_old(
    commands: Sequence[Command],
    lines: Sequence[dict[str, Any]],
    work: Path,
    place: Path,
    python: str,
    found: Differences,
) -> None:
    """Run the commands on a copy of the recorded folders: finished runs stay, others are resumed or made again."""
    shutil.copytree(work, place)
    pairs = [(command, line) for command, line in zip(commands, lines, strict=True) if command.needs_folders]
    pairs.sort(key=lambda pair: not _reads_interrupted(pair[0], commands))  # before those folders are resumed
    jobs: list[Command] = []
    for command, _ in pairs:
        again = command.line
        if command.lose:
            (place / command.lose).unlink()
        if command.again:
            again = json.loads((place / command.folder / "run.json").read_text())["command"].partition(" ")[2]
            shutil.rmtree(place / command.folder)
        jobs.append(Command(again))
    results = _run(jobs, place, python)
    for (command, line), result in zip(pairs, results, strict=True):
        name = f"recorded {command.folder}" if command.folder else "recorded"
        if command.until:
            found.of_exit_code(f"{name}: resumed `{command.line}`", 0, result["code"], result["err"])
            found.of_folders(
                f"{name} resumed, {command.like}", work / command.like, place / command.folder, {}, RESULTS
            )
            continue
        _compare_printed(command, line, result, place, found, f"{name}: ")
        warned = [one for one in printed(result["err"], _places(place)).splitlines() if one.startswith("Warning")]
        found.words += [f"{name}: `{command.line}` warns: {one}" for one in warned if one not in line["err"]]
    for made in sorted(path.name for path in work.iterdir() if path.is_dir()):
        if made not in {command.folder for command in commands if command.until}:
            found.of_folders(f"recorded {made}", work / made, place / made, _places(work, place))


def _compare_printed(
    command: Command, line: dict[str, Any], result: dict[str, Any], place: Path, found: Differences, where: str = ""
) -> None:
    name = f"{where}`{command.line}`"
    found.of_exit_code(name, command.code, result["code"], result["err"])
    text = printed(result["out"], _places(place))
    whole = command.words[:1] == ["tables"]
    found.of_texts(f"{name}, stdout", line["out"], text, whole=whole, is_help=command.is_help)


def _reads_interrupted(command: Command, commands: Sequence[Command]) -> bool:
    """Whether a command shows what another one left that was interrupted, so that it shows something else each time."""
    return not command.until and command.folder in {other.folder for other in commands if other.until}


def _run(commands: Sequence[Command], folder: Path, python: str) -> list[dict[str, Any]]:
    jobs = [{"words": command.words, "until": command.until} for command in commands]
    left, start = iter(commands), time.monotonic()

    def tell(result: dict[str, Any]) -> None:
        click.echo(f"{result['seconds']:6.1f} s  {next(left).line}", err=True)

    results = run(jobs, folder, python, tell)
    click.echo(f"{time.monotonic() - start:6.1f} s  in all", err=True)
    return results


def _begin(folder: Path) -> Path:
    """A new folder to work in."""
    folder.mkdir(parents=True)
    (folder / OWN_FILE).write_text(OWN_MODEL)
    return folder


def _places(*folders: Path) -> dict[str, str]:
    """Paths in texts, and what stands for them."""
    return {**{str(folder.resolve()): "WORK" for folder in folders}, str(ROOT): "TREE"}


def _made_with() -> dict[str, str]:
    """The commit and what decides the last digits beside it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    libraries = {
        name: version(name) for name in ("torch", "numpy", "scikit-image", "scikit-learn", "scipy", "matplotlib")
    }
    return {"commit": commit, "python": platform.python_version(), "cpu": _cpu(), **libraries}


def _cpu() -> str:
    told = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _tell_other_machine(made: dict[str, str]) -> None:
    now = _made_with()
    other = [f"{name} was {made[name]}, is {now[name]}" for name in now if name != "commit" and made[name] != now[name]]
    if other:
        click.echo(f"recorded elsewhere, so that last digits may differ: {'; '.join(other)}", err=True)


def _show(found: Differences, commit: str) -> None:
    for title, told in (("help", found.help), ("words", found.words), ("numbers", found.numbers)):
        click.echo(f"== {title}: {len(told) or 'no'} differences from {commit}")
        for one in told:
            click.echo(one)
