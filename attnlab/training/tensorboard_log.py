"""A training's log as curves in TensorBoard."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from attnlab.errors import UserError
from attnlab.training.log import Line


def check_tensorboard() -> None:
    """Check that the package is there.

    Raises:
        UserError: If it is not.
    """
    try:
        import_module("tensorboard")
    except ImportError as error:
        raise UserError(
            f"expected the package tensorboard, got {error}; pip install 'attnlab[tensorboard]', or train without it"
        ) from None


class Board:
    """Event files with each line of a log once; `train/` has what a line on steps tells, `held_out/` what an epoch's.

    The horizontal axis counts steps over all epochs.
    """

    def __init__(self, folder: Path, lines: Iterable[Line], steps: int) -> None:
        """Write the log so far anew: no step is seen twice where a training is gone on with, and none is missing.

        Args:
            folder: For the event files; a new one is added.
            lines: Of the log so far.
            steps: Of an epoch.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.steps = steps
        # TensorBoard forgets what earlier files tell from step 0 on; they stay, since it sticks to one that it has open
        self.writer = SummaryWriter(str(folder), purge_step=0)
        for line in lines:
            self._add(line)
        self.writer.flush()

    def __call__(self, line: Line) -> None:
        """Add a line; it can be seen at once."""
        self._add(line)
        self.writer.flush()

    def close(self) -> None:
        """End the file."""
        self.writer.close()

    def _add(self, line: Line) -> None:
        group, at = ("train", line["step"] - self.steps) if "step" in line else ("held_out", 0)
        for name in line.keys() - {"epoch", "step", "of", "n", "best"}:
            self.writer.add_scalar(f"{group}/{name}", line[name], line["epoch"] * self.steps + at)
