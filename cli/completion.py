"""Names that the shell completes, and the check of those that a user wrote; neither waits for torch."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from attnlab.names import NAMES, expect_attack, expect_defense, expect_model, expect_name

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Check = Callable[[click.Context, click.Parameter, Any], Any]


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


def one_of(kind: str) -> Check:
    """Refuse a value that is none of the names of a kind; `--method` takes several, with commas between them."""

    def check(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        for name in (value or "").split(",") if kind == "methods" else [value or ""]:
            if value is not None:
                expect_name(kind, name.strip(), parameter.opts[0])
        return value

    return check


def a_model(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Refuse a model that is neither a known name nor a path; one, several or none."""
    for name in [value] if isinstance(value, str) else value or ():
        expect_model(name)
    return value


def a_defense(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what is no defence."""
    expect_defense(value)
    return value


def attacks_of(*others: str) -> Check:
    """Refuse what is no attack, among several with commas between them; `others` would do too."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        for name in value.split(","):
            if name.strip() not in others:
                expect_attack(name.strip(), others=others)
        return value

    return check
