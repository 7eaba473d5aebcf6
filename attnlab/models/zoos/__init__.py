"""Model zoos: libraries that build networks by name, and how a name of theirs is written; none is imported here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.models.zoos.listed import robustbench_names, timm_names, torchvision_names
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Wanted:
    """A network that a zoo is asked for.

    Attributes:
        name: As the user writes it, without the zoo's prefix.
        pretrained: With the zoo's own weights; else with random ones.
        classes: Number of classes, in place of the network's own.
        trust_code: Code that the name brings may run.
        channels: Number of channels of its images, in place of the network's own; timm alone heeds it.
    """

    name: str
    pretrained: bool
    classes: int | None = None
    trust_code: bool = False
    channels: int | None = None


@dataclass(frozen=True)
class Zoo:
    """A source of networks.

    What is known of a network is set on it as plain attributes: `mean`, `std`, `input_size`, see `Classifier`;
    `normalises_itself` where it takes pixels in [0, 1]; `labels`, a tuple of the names of its classes in the order of
    its logits; `names_in_files`, name of a tensor in the zoo's files -> the network's own, where they differ.

    Attributes:
        written: How a user writes a name.
        build: Makes a network; raises UserError where there is none of that name, or it cannot be had.
        names: Lists whole names of its networks, from installed files alone; None where nobody can.
        runs_code: Each name brings code of its own, which runs with --trust-code alone.
        adapts: `build` heeds `Wanted.classes`.
    """

    written: str
    build: "Callable[[Wanted], nn.Module]"
    names: Callable[[], list[str]] | None = None
    runs_code: bool = False
    adapts: bool = True


_HERE = "attnlab.models.zoos"
#: what stands before the colon -> the zoo; torchvision's names stand alone. A new one is a file here and a line below
ZOOS: Registry[Zoo] = Registry(
    "zoo",
    {
        "torchvision": Zoo("NAME", Lazy(f"{_HERE}.torchvision:build"), torchvision_names),
        "timm": Zoo("timm:NAME", Lazy(f"{_HERE}.timm:build"), timm_names),
        "hf": Zoo("hf:NAME", Lazy(f"{_HERE}.hf:build")),
        "robustbench": Zoo(
            "robustbench:NAME[@DATASET[/THREAT]]", Lazy(f"{_HERE}.robustbench:build"), robustbench_names
        ),
        "torchhub": Zoo("torchhub:OWNER/REPO:ENTRY", Lazy(f"{_HERE}.torchhub:build"), runs_code=True, adapts=False),
    },
)
PLAIN = "torchvision"  # the zoo whose names have no prefix


def find_zoo(model: str) -> tuple[Zoo, str] | None:
    """The zoo of a model's name, and the name without its prefix; None for names of none."""
    prefix, colon, name = model.partition(":")
    if colon:
        return (ZOOS[prefix], name) if prefix in ZOOS and prefix != PLAIN else None
    return (ZOOS[PLAIN], model) if model in torchvision_names() else None


def runs_code(model: str) -> bool:
    """Whether a model's name makes a zoo run code that the name brings."""
    found = find_zoo(model) if ":" in model else None
    return found is not None and found[0].runs_code


def from_anywhere(model: str) -> str:
    """A name of a zoo with a local folder in it by its whole path, so that it means the same in any folder."""
    prefix, _, name = model.partition(":")
    folder, colon, entry = name.rpartition(":") if prefix == "torchhub" else (name, "", "")
    if prefix not in ("hf", "torchhub") or not Path(folder).is_dir():
        return model
    return f"{prefix}:{Path(folder).resolve()}{colon}{entry}"
