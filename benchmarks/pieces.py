"""Commands run one after the other within a limit of time; what is done is kept in a file and not done again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GRACE = 40.0  # seconds that a command gets to save its work after it was asked to end
KEPT = 12_000  # characters of a command's output that its line in the results keeps


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: How results name it.
        words: What follows `python`.
        seconds: It is asked to end after these.
    """

    name: str
    words: tuple[str, ...]
    seconds: float


class Results:
    """One JSON line for each command that ended: name, words, exit code, seconds, end of its output."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def lines(self) -> list[dict[str, Any]]:
        """What is there; a last line that was cut short is left out."""
        found = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def done(self, step: Step) -> bool:
        """Whether that command succeeded before, with the same words."""
        return any(
            line["step"] == step.name and line["words"] == list(step.words) and line["rc"] == 0 for line in self.lines()
        )

    def tried(self, step: Step) -> bool:
        """Whether it ended before, whichever way."""
        return any(line["step"] == step.name and line["words"] == list(step.words) for line in self.lines())

    def add(self, step: Step, rc: int, seconds: float, timed_out: bool, output: str) -> None:
        """Write a line, and have it on the disk."""
        line = {"step": step.name, "words": list(step.words), "rc": rc, "seconds": round(seconds, 1)}
        text = json.dumps(line | {"timed_out": timed_out, "output": output[-KEPT:]}) + "\n"
        with self._lock, self.path.open("a") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Variables under which the tree's own packages are found, nothing being installed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "attnlab_cli").symlink_to(ROOT / "cli")
        paths = [folder, str(ROOT), os.environ.get("PYTHONPATH", "")]
        yield {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
            "MPLBACKEND": "Agg",
        }


def run(
    step: Step, seconds: float, environment: dict[str, str], results: Results, tell: Callable[[str], None]
) -> int | None:
    """Run a command, tell its lines as they come, and write down how it ended.

    Args:
        step: The command.
        seconds: It is interrupted after these, as Ctrl-C does it, and killed where it does not end in time.
        environment: Its variables.
        results: Where its line goes.
        tell: Called with each line of its output.

    Returns:
        Its exit code; None where it was interrupted.
    """
    output: list[str] = []
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *step.words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
    )

    def read() -> None:
        for line in process.stdout or ():
            output.append(line)
            tell(line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    timed_out = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        with suppress(ProcessLookupError):  # what is left of it, its workers too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(5)
    results.add(step, process.returncode, time.monotonic() - start, timed_out, "".join(output))
    return None if timed_out else process.returncode


def run_all(steps: Sequence[Step], results: Results, minutes: float, tell: Callable[[str], None]) -> bool:
    """Run what is not done, what was never tried first, and say what is left.

    Returns:
        Whether all of them have succeeded.
    """
    end = time.monotonic() + 60 * minutes
    left = sorted((step for step in steps if not results.done(step)), key=results.tried)
    tell(f"{len(steps) - len(left)} of {len(steps)} steps are done already")
    with environment() as variables:
        for step in left:
            remaining = end - time.monotonic() - 5
            if remaining < step.seconds / 4:
                tell(f"== {step.name}: left for the next call ({max(remaining, 0):.0f} s remain)")
                continue
            tell(f"== {step.name}: python {' '.join(step.words)}")
            code = run(step, min(step.seconds, remaining), variables, results, tell)
            tell(f"== {step.name}: {'stopped for time' if code is None else f'exit code {code}'}")
    open_ = [step.name for step in steps if not results.done(step)]
    tell(f"{len(steps) - len(open_)} of {len(steps)} steps are done; results in {results.path}")
    if open_:
        tell(f"the same command tries again: {', '.join(open_)}")
    return not open_
