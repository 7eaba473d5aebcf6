"""The log of a training: JSON lines in a file, and the same as curves in TensorBoard."""

import json
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.training.checkpointing import Progress

LOG = "log.jsonl"

#: what a line says: `epoch` and `step` count from 1, a step's line being about those since the line before; an epoch's
#: line holds accuracies on n held-out images, and whether they were the best so far, so that the checkpoint was kept
Line = dict[str, Any]
FIGURES = {"step", "n", "clean", "robust"}  # what is a number in each line that has it
OnLog = Callable[[Line], None]  # called with each new line
OnStep = Callable[[int], None]  # called after each step with the number of steps made so far


class Log:
    """A file of lines, one per event; what lies beyond the point a session resumes from is dropped first."""

    def __init__(self, path: Path, progress: Progress, on_log: OnLog) -> None:
        self.path = path
        self.listeners = [on_log, warn_of_maps]
        lines = read_log(path) if path.exists() else []
        at = (progress.epoch, progress.step)
        kept = [line for line in lines if (line["epoch"] - ("step" in line), line.get("step", 0)) <= at]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, line: Line) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line) + "\n")
        for listener in self.listeners:
            listener(line)


def warn_of_maps(line: Line) -> None:
    """Warn where most maps show nothing: the attention terms are about few images then, and may have put maps out."""
    if line.get("without_area", 0) > 0.5:
        warnings.warn(
            "more than half of the maps in training have nothing positive: the attention terms leave their images out, "
            "and a map that is put out is preserved at no cost; a smaller --beta keeps more of them",
            stacklevel=2,
        )


def read_log(path: Path | str) -> list[Line]:
    """The lines of a log; a last one that was cut short is left out.

    Raises:
        UserError: If another line is none of a log.
    """
    lines: list[Line] = []
    for number, text in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").split("\n")[:-1], 1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or not all(
            isinstance(line.get(name), int | float) for name in ("epoch", *FIGURES & line.keys())
        ):
            raise UserError(f"{path} is damaged: line {number} is none of a log; remove it, or choose another --out")
        lines.append(line)
    return lines


def read_epochs(path: Path) -> list[Line]:
    """The lines of a log about epochs that are done; none where there is no log yet."""
    return [line for line in read_log(path) if "best" in line] if path.exists() else []


def check_tensorboard() -> None:
    """Refuse to train with curves where the package is missing."""
    try:
        import_module("tensorboard")
    except ImportError as error:
        raise UserError(
            f"expected the package tensorboard, got {error}; pip install 'attnlab[tensorboard]', or train without it"
        ) from None


class Board:
    """Event files with each line of a log once; `train/` has those on steps, `held_out/` those of epochs.

    The horizontal axis counts steps over all epochs, `steps` in each.
    """

    def __init__(self, folder: Path, lines: Iterable[Line], steps: int) -> None:
        """Write the log so far anew: no step is seen twice where a training is resumed, and none is missing."""
        from torch.utils.tensorboard import SummaryWriter

        self.steps = steps
        # TensorBoard drops figures of earlier files from step 0 on; the files stay, as it may have one open
        self.writer = SummaryWriter(str(folder), purge_step=0)
        self(*lines)

    def __call__(self, *lines: Line) -> None:
        """Add lines; they can be seen at once."""
        for line in lines:
            group, at = ("train", line["step"] - self.steps) if "step" in line else ("held_out", 0)
            for name in line.keys() - {"epoch", "step", "of", "n", "best"}:
                self.writer.add_scalar(f"{group}/{name}", line[name], line["epoch"] * self.steps + at)
        self.writer.flush()

    def close(self) -> None:
        """End the file."""
        self.writer.close()
