"""Numbers and names in words: one image, two images, 16/255, the last part of a model's name."""

from collections.abc import Sequence
from pathlib import Path


def counted(number: int, noun: str) -> str:
    """A number with its noun, which is plural unless the number is one: `1 image`, `0 images`, `2 boxes`."""
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "tch", "sh")) else "s"
    return f"{number} {noun}{ending}"


def as_fraction(eps: float | None) -> str:
    """A budget as people write it: 16/255 rather than 0.06274509803921569; none, of a corruption, is `none`."""
    if eps is None or eps != eps:
        return "none"
    levels = eps * 255
    return f"{round(levels)}/255" if eps <= 1 and abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


def in_norm(budget: str, norm: str) -> str:
    """A budget with its norm behind it where that is not L-infinity.

    >>> in_norm("8/255", "linf"), in_norm("0.5", "l2")
    ('8/255', '0.5 (L2)')
    """
    return budget if norm == "linf" else f"{budget} ({norm.upper()})"


def none_usable(number: int, noun: str, of: str = "") -> str:
    """Begin a sentence that none of so many can be used: `none of the 5 images can be used`.

    >>> none_usable(1, "image")
    'the only image cannot be used'
    """
    whose = f" of {of}" if of else ""
    one, several = f"the only {noun}{whose} cannot be used", f"none of the {counted(number, noun)}{whose} can be used"
    return one if number == 1 else several


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["mnist", "cifar10", "svhn"])
    'mnist, cifar10 and svhn'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def model_title(model: str) -> str:
    """What a model is called in tables and folders: the last part of its path; RobustBench's models with the benchmark.

    >>> model_title("runs/aad"), model_title("robustbench:Wong2020Fast@imagenet/Linf")
    ('aad', 'robustbench:Wong2020Fast@imagenet-Linf')
    """
    return model.replace("/", "-") if model.startswith("robustbench:") else Path(model).name
