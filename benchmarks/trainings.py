"""The trainings behind a block of Table 6, and which of their commands are done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.runs import Run

ROWS = ("none", "madry", "madry+aad", "alp", "alp+aad")


@dataclass(frozen=True)
class Block:
    """A block of a results page.

    Attributes:
        rows: Defences; options of `train` may stand behind one.
        data: Name of the data set; by default the block's.
        boxes: Whether the data have boxes, so that attention can be compared with them.
    """

    rows: Sequence[str] = ROWS
    data: str = ""
    boxes: bool = False


NO_TERMS = "--alpha 0 --beta 0"  # what makes the base that a row differs from in the attention terms alone
_CODE = "mixed+aad --attention-loss code"
#: the paper's method as it can be read, each with its base
READINGS = (
    *("mixed", "mixed+aad --attention-loss sum"),
    *("madry", "madry+aad", "madry+aad --attention-loss sum"),
    *(f"{_CODE} {NO_TERMS}", _CODE),
)
BLOCKS = {
    "mnist": Block(),
    "cifar10": Block(),
    "scenes": Block((*ROWS, "trades"), boxes=True),
    "readings": Block(READINGS, data="scenes", boxes=True),
    "mnist-readings": Block(READINGS, data="mnist"),
}


@dataclass(frozen=True)
class Training:
    """One training and what is made of it.

    Attributes:
        block: Name in BLOCKS.
        row: Defence as people read it; options behind it (`madry+aad --beta 1`) are options of `train`.
        seed: Of the training.
        out: Folder of all trainings.
    """

    block: str
    row: str
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """The checkpoint; evaluation and analysis lie beside it."""
        return self.out / f"{self.row.replace(' --', '-').replace(' ', '-')}-{self.seed}"

    @property
    def evaluation(self) -> Path:
        """Run of `evaluate`."""
        return self.folder.with_name(f"{self.folder.name}-evaluate")

    @property
    def analysis(self) -> Path:
        """Run of `analyze`."""
        return self.folder.with_name(f"{self.folder.name}-analyze")

    def commands(self, data: Sequence[str], further: Mapping[str, Sequence[str]]) -> dict[Path, list[str]]:
        """What is to be run, by the folder it fills; `further` has the options that are added to each command."""
        defense, *options = self.row.split()
        model = ["--model", str(self.folder)]
        commands = {
            self.folder: ["train", *data, "--defense", defense, *options, "--seed", str(self.seed), *further["train"]],
            self.evaluation: ["evaluate", *data, *model, *further["evaluate"]],
        }
        if BLOCKS[self.block].boxes:
            attack = ["--split", "test", "--attack", "pgd10"]
            commands[self.analysis] = ["analyze", *data, *attack, *model, *further["analyze"]]
        return commands


def recorded(folder: Path) -> bool:
    """Whether a run has all its records."""
    return (folder / "run.json").exists() and Run(folder).manifest["finished"] is not None
