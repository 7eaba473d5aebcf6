"""Names that the shell completes, and the check of those that a user wrote; neither waits for torch."""

import warnings
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from attnlab.attacks.parse import OTHERS, parse_attack, parse_budgets, parse_eps
from attnlab.config.names import known_names
from attnlab.data import DATASETS
from attnlab.errors import expect_one_of
from attnlab.models.names import expect_model
from attnlab.report.figures import FIGURES
from attnlab.report.tables import TABLES
from attnlab.training.parse import parse_defense
from attnlab.training.plan import plan_for

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Check = Callable[[click.Context, click.Parameter, Any], Any]


def names_of(*kinds: str, or_file: bool = False) -> Completion:
    """Complete the names of those kinds; with `or_file` a path where no name begins so."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for kind in kinds for name in _known(kind) if name.startswith(begun)]
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


def _known(kind: str) -> list[str]:
    reports = {"figures": [*FIGURES], "tables": [*TABLES]}
    return reports[kind] if kind in reports else known_names(kind)


def one_of(kind: str) -> Check:
    """Refuse a value that is none of the names of a kind; `--method` takes several, with commas between them."""

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and _is_written(context, parameter):
            for name in value.split(",") if kind == "methods" else [value]:
                expect_one_of(name.strip(), known_names(kind), parameter.opts[0])
        return value

    return check


def a_split(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a split that the data set, whose name is read first, does not have."""
    splits = DATASETS[context.params["data"]].splits
    if value is not None and splits and _is_written(context, parameter):
        expect_one_of(value, splits, "--split")
    return value


def a_plan(context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse a plan that the data set, whose name is read first, does not have."""
    plan_for(context.params["data"], value)
    return value


def a_length(what: str, *, several: bool = False) -> Check:
    """Refuse what is no number of pixels in [0, 1], or with `several` no such numbers with commas between them."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is doubtful is told where the value is used
                parse_budgets(value) if several else parse_eps(value, what)
        return value

    return check


def _is_written(context: click.Context, parameter: click.Parameter) -> bool:
    """Whether a user wrote a value, rather than that it is the option's default."""
    return context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT


def a_model(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Refuse a model that is neither a known name nor a path; one, several or none."""
    for name in [value] if isinstance(value, str) else value or ():
        expect_model(name)
    return value


def a_defense(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what is no defence."""
    parse_defense(value)
    return value


def attacks(*, others: bool) -> Check:
    """Refuse what is no attack, among several with commas between them; with `others` those outside the loop do too."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        for name in value.split(","):
            if not others or name.strip() not in OTHERS:
                parse_attack(name.strip(), others=OTHERS if others else ())
        return value

    return check
