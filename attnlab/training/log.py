"""The log of a training: JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.training.checkpointing import Progress

LOG = "log.jsonl"

#: what a line says: `epoch` and `step` count from 1, a step's line being about those since the line before; an epoch's
#: line tells accuracies on n held-out images, and whether they were the best so far, so that the checkpoint was kept
Line = dict[str, Any]
#: called with each new line
OnLog = Callable[[Line], None]
#: called after each step with the number of steps made so far
OnStep = Callable[[int], None]


class Log:
    """A file of lines, one per event; what lies beyond the point a session goes on from is dropped first."""

    def __init__(self, path: Path, progress: Progress, tell: OnLog) -> None:
        """Open the log.

        Args:
            path: Of the file.
            progress: Where the session goes on.
            tell: Called with each new line.
        """
        self.path = path
        self.tells = [tell]
        lines = read_log(path) if path.exists() else []
        at = (progress.epoch, progress.step)
        kept = [line for line in lines if (line["epoch"] - ("step" in line), line.get("step", 0)) <= at]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, line: Line) -> None:
        """Add a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for tell in self.tells:
            tell(line)


def read_log(path: Path | str) -> list[Line]:
    """The lines of a log; a last one that was cut short is left out.

    Raises:
        UserError: If another line is none of a log.
    """
    lines: list[Line] = []
    for number, text in enumerate(Path(path).read_text(errors="replace").split("\n")[:-1], 1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        figures = (
            "epoch",
            *(name for name in ("step", "n", "clean", "robust") if isinstance(line, dict) and name in line),
        )
        if not isinstance(line, dict) or not all(isinstance(line.get(name), int | float) for name in figures):
            raise UserError(f"{path} is damaged: line {number} is none of a log; remove it, or choose another --out")
        lines.append(line)
    return lines


def read_epochs(path: Path) -> list[Line]:
    """The lines of a log that tell of an epoch that is done; none where there is no log yet."""
    return [line for line in read_log(path) if "best" in line] if path.exists() else []
