"""Names that the shell completes, without waiting for torch."""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from attnlab.config.names import known_names
from attnlab.exports import EXPORTS
from attnlab.models.names import model_names
from attnlab.report.figures import FIGURES
from attnlab.report.tables import TABLES

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(*kinds: str, or_file: bool = False) -> Completion:
    """Complete the names of those kinds; with `or_file` a path where no name begins so."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for kind in kinds for name in _known(kind, begun) if name.startswith(begun)]
        return found or ([CompletionItem(begun, type="file")] if or_file else [])

    return complete


def lists_of(*kinds: str) -> Completion:
    """Complete the last of several names with commas between them."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before, comma, last = begun.rpartition(",")
        return [
            CompletionItem(f"{before}{comma}{name}")
            for kind in kinds
            for name in _known(kind)
            if name.startswith(last) and name not in before.split(",")
        ]

    return complete


def _known(kind: str, begun: str = "") -> list[str]:
    if kind == "models":  # those of a zoo once its prefix is written
        return model_names(begun)
    reports = {"figures": [*FIGURES], "tables": [*TABLES], "exports": [*EXPORTS]}
    return reports[kind] if kind in reports else known_names(kind)
