"""Names that the shell completes. They are written out here, since the press of a key must not wait for torch.

A test holds them against the dicts they come from.
"""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_LOOP = ["fgsm", "stepll", "iter-stepll", "pgd", "cw"]
_DEFENSES = ["none", "madry", "alp", "trades", "mart", "stepll", "ensemble"]
NAMES = {
    "data": ["scenes", "imagenet", "folder", "mnist", "cifar10"],
    "models": ["resnet8", "lenet", "resnet9"],
    "attacks": [*_LOOP, *(f"{name}+a3" for name in _LOOP)],
    "suites": ["clean", "square", "autoattack"],
    "defenses": [*_DEFENSES, *(f"{name}+aad" for name in _DEFENSES), "aad"],
    "methods": ["grad-cam", "lime"],
    "geometries": ["squash", "crop"],
    "splits": ["train", "val", "test"],
    "devices": ["auto", "cpu", "cuda"],
}


def names_of(*kinds: str, or_file: bool = False) -> Completion:
    """Complete the names of those kinds; with `or_file` a path where no name begins so."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for kind in kinds for name in NAMES[kind] if name.startswith(begun)]
        return found or ([CompletionItem(begun, type="file")] if or_file else [])

    return complete


def lists_of(*kinds: str) -> Completion:
    """Complete the last of several names with commas between them."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before, comma, last = begun.rpartition(",")
        return [
            CompletionItem(f"{before}{comma}{name}")
            for kind in kinds
            for name in NAMES[kind]
            if name.startswith(last) and name not in before.split(",")
        ]

    return complete
