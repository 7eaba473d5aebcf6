"""What is known of a data set before it is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attnlab.registry import Lazy
from attnlab.stores import Root, expand

if TYPE_CHECKING:
    from attnlab.data.base import ImageSet


class Budget(NamedTuple):
    """How far attacks may go: eps and length of a step in pixels of [0, 1], number of steps."""

    eps: float
    step_size: float
    steps: int


#: the paper's eps (section 5.3) with the steps of Madry et al. (2018), who attack no ImageNet
BUDGET = Budget(16 / 255, 2 / 255, 10)


@dataclass(frozen=True)
class DatasetSpec:
    """Properties of a data set that are known before it is opened.

    Attributes:
        open: (folder, split) -> labelled images. The folder exists, on this machine or in a store, and the split is one
            of `splits`. With `objects` the third argument is a name in LABEL_RULES, or None for the usual one.
        summary: What it is, in a line.
        holds: What the folder, --root, holds; empty where the data set needs none.
        splits: Names of its splits; empty where they are folders of the root.
        split: The one that is analysed unless the user names another.
        accuracy_split: The one that accuracy is measured on, likewise.
        model: Name of the model that belongs to it; empty if none does.
        budget: Of attacks, unless the user names another.
        files: Endings of the files that the root may name in place of a folder; `open` finds them itself.
        objects: Whether an image may show objects of several classes.
        own: Whether it stands for images of the user's, in whatever number.
        plans: Training plans (`attnlab.training.recipes`) by name, or where they are; None if there are none.
    """

    open: Callable[..., "ImageSet"]
    summary: str
    holds: str = ""
    splits: tuple[str, ...] = ()
    split: str = "val"
    accuracy_split: str = "test"
    model: str = ""
    budget: Budget = BUDGET
    files: tuple[str, ...] = ()
    objects: bool = False
    own: bool = False
    plans: Lazy | Mapping[str, Any] | None = None

    def of(self, name: str) -> "DatasetSpec":
        """That of one name, of an entry that stands for many: `open` takes the name first; the split may be in it."""
        stem, mark, split = name.rpartition("@")
        known = replace(self, open=partial(self.open, name))
        if not mark or "/" in split or not stem.partition(":")[2]:
            return known
        return replace(known, splits=(split,), split=split, accuracy_split=split)

    def reads(self, root: Root) -> bool:
        """Whether a root names such files, or is a pattern of them: `open` gets it as it was named."""
        named = self.files and not (isinstance(root, Path) and root.is_dir())
        return bool(named) and expand(str(root))[0].lower().endswith(self.files)
