"""Configuration of the figures of a run, a sweep or checkpoints."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from attnlab.attacks.parse import parse_eps
from attnlab.config.analyze import MapAttackOptions
from attnlab.config.attack import AttackOptions
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import (
    AccuracyDataOptions,
    DataOptions,
    ModelOptions,
    RunOptions,
    Statistic,
    check_split,
    texts,
)
from attnlab.data import check_label
from attnlab.stores import Url


def words(text: str) -> tuple[str, ...]:
    """Words from `a,b`; none where nothing is said."""
    return tuple(filter(None, texts(text)))


@dataclass(frozen=True)
class ShownDataOptions(Options):
    """Images to show.

    Attributes:
        name: For checkpoints: data set of the images to show.
        root: Folder, archive or URL of the data set's files; by default where the run found them.
        split: For checkpoints: split of the data set.
        limit: For checkpoints: number of images that the rules choose from.
        label: For checkpoints: as for `analyze`.
    """

    name: str = variant(DataOptions, "name")
    root: Path | Url | None = variant(DataOptions, "root")
    split: str | None = variant(AccuracyDataOptions, "split")
    limit: int = variant(DataOptions, "limit", default=100)
    label: str | None = variant(DataOptions, "label")

    def __post_init__(self) -> None:
        """Check what several options say together."""
        super().__post_init__()
        check_split(self.name, self.split)
        check_label(self.name, self.label)


@dataclass(frozen=True)
class ShownAttackOptions(Options):
    """The attack of figures of checkpoints.

    Attributes:
        name: For checkpoints: attack of Figs. 6, 7, 9, 10 and 11.
        eps: For checkpoints: L-infinity budget, as for `evaluate`.
        steps: For checkpoints: number of steps of --attack, as for `evaluate`.
        step_size: For checkpoints: length of the steps, as for `evaluate`; of Figs. 2 and 12 too.
    """

    name: str = variant(MapAttackOptions, "name", default="pgd")
    eps: float | None = variant(AttackOptions, "eps", parse=parse_eps)
    steps: int | None = variant(AttackOptions, "steps")
    step_size: float | None = variant(AttackOptions, "step_size", parse=partial(parse_eps, what="--step-size"))


@dataclass(frozen=True)
class ShownModelOptions(Options):
    """The networks of checkpoints, and where they run."""

    mean: Statistic | None = variant(ModelOptions, "mean")
    std: Statistic | None = variant(ModelOptions, "std")
    channels: int | None = variant(ModelOptions, "channels")
    trust_code: bool = variant(ModelOptions, "trust_code")
    device: str = variant(RunOptions, "device")


@dataclass(frozen=True)
class FiguresConfig(Options):
    """Configuration of `attnlab figures`.

    Attributes:
        only: Figures to draw; by default all.
        images: Ids of the images to show, in place of those that the rules choose.
        grid: Draw the borders of the maps' cells, which show the attention layer's resolution.
        overlays: For a run of `analyze`: also write each image with its maps drawn over it, as overlays/ID-*.png.
        out: Folder to write to; by default figures/ in the run or the first checkpoint.
    """

    only: tuple[str, ...] = option((), parse=words, kinds=("figures",), many=True, metavar="NAME,...")
    images: tuple[str, ...] = option((), parse=words, metavar="ID,...")
    grid: bool = False
    overlays: bool = False
    data: ShownDataOptions = field(default_factory=ShownDataOptions)
    attack: ShownAttackOptions = field(default_factory=ShownAttackOptions)
    model: ShownModelOptions = field(default_factory=ShownModelOptions)
    out: Path | None = option(None, parse=Path)
