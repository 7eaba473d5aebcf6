"""Tables in the paper's layout: a tidy frame in, heads and lines out, for LaTeX, Markdown, console and page alike."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

import pandas as pd

from attnlab.report.tables import PERCENT, Column, Form, TableSpec
from attnlab.words import as_fraction

GROUPS = ("I_succeed", "I_fail")
SUCCEED_AND_FAIL = 2


class Value(NamedTuple):
    """A number as a table shows it, with its interval where it has one, and the paper's value of the same."""

    number: float | None
    digits: int = 3
    unit: str = ""
    low: float | None = None
    high: float | None = None
    paper: float | None = None

    def told(self) -> str:
        """The number as text; two dashes where there is none."""
        return "--" if pd.isna(self.number) else f"{self.number:.{self.digits}f}{self.unit}"

    def __str__(self) -> str:
        """The number and its interval."""
        return f"{self.told()} {self.interval()}".rstrip()

    def interval(self) -> str:
        """The interval as text, in brackets; empty where there is none."""
        if pd.isna(self.number) or pd.isna(self.low):
            return ""
        return f"[{self.low:.{self.digits}f}, {self.high:.{self.digits}f}]"


Cell = str | Value


class Layout(NamedTuple):
    """A table as it is set.

    Attributes:
        first: Heads of the columns that name a line.
        groups: Heads that stand above equally many of the other columns each; there may be none.
        heads: Of the other columns.
        lines: A cell for each of `first` and `heads`.
    """

    first: list[str]
    groups: list[str]
    heads: list[str]
    lines: list[list[Cell]]

    def columns(self) -> list[tuple[Cell, ...]]:
        """The cells of each column."""
        return list(zip(*self.lines, strict=True)) or [() for _ in (*self.first, *self.heads)]

    def spelled_heads(self, between: str) -> list[str]:
        """The heads, the first of each group behind the group's name, for where no head spans columns."""
        span = len(self.heads) // max(1, len(self.groups))
        return [
            f"{self.groups[number // span]}{between}{head}" if self.groups and number % span == 0 else head
            for number, head in enumerate(self.heads)
        ]


def shares(frame: pd.DataFrame, spec: TableSpec, form: Form) -> Layout:
    """Tables 1 and 2: per group its percentage and a mean, a line per eps and one for the paper's values."""
    mean, full = spec.mean, form != "paper"
    theirs = f"paper_{mean.name}"
    with_paper = frame[theirs].notna().any()
    first = ["eps"] if "eps" in frame else [""] if form == "page" and with_paper else []
    lines: list[list[Cell]] = []
    for eps, rows in _by_eps(frame):
        cells: list[Cell] = [eps] if first else []
        for row in rows:
            cells += [*_count(row, full), _percent(row["percent"]), _mean(row, mean, theirs)]
        lines.append(cells)
    if with_paper:
        cells = ["paper"] if first else []
        for row in _by_eps(frame)[0][1]:
            cells += [*([""] if full else []), _percent(row["paper_percent"]), Value(row[theirs], mean.digits)]
        lines.append(cells)
    heads = [*(["n"] if full else []), PERCENT.head, mean.head]
    return Layout(first, [*GROUPS], heads * SUCCEED_AND_FAIL, lines)


def sizes(frame: pd.DataFrame, spec: TableSpec, form: Form) -> Layout:
    """Tables 3, 4, 5: a line per number of cells or features, a column per group, the paper's values beside."""
    size, mean, full = spec.columns[1], spec.mean, form != "paper"
    with_paper = bool(frame["paper"].notna().any())
    lines: list[list[Cell]] = []
    for eps, rows in _by_eps(frame):
        for pair in zip(rows[::2], rows[1::2], strict=True):
            cells: list[Cell] = [*([eps] if eps else []), Value(pair[0][size.name], 0)]
            for row in pair:
                theirs = [Value(row["paper"], mean.digits)] if with_paper else []
                cells += [*_count(row, full), _mean(row, mean, "paper"), *theirs]
            lines.append(cells)
    heads = [*(["n"] if full else []), mean.head, *(["paper"] if with_paper else [])]
    first = [*(["eps"] if "eps" in frame else []), size.head]
    return Layout(first, [*GROUPS], heads * SUCCEED_AND_FAIL, lines)


def accuracies(frame: pd.DataFrame, spec: TableSpec, form: Form) -> Layout:
    """Tables 6 and 7: a line per model and a column per attack, the paper's values below where there are any.

    In full both ends of the intervals have lines of their own, since there are many columns.
    """
    mean, full = spec.mean, form != "paper"
    first = [column for column in spec.columns if column.name in frame and column.name in ("model", "defense")]
    attacks = list(dict.fromkeys(frame["attack"]))
    lines: list[list[Cell]] = []
    by_model = [rows for _, rows in frame.groupby("model", sort=False)] if "model" in frame else [frame]
    for rows in by_model if len(frame) else ():
        values = rows.set_index("attack").reindex(attacks)
        model = [str(rows.iloc[0][column.name]) for column in first] or [mean.words]
        named, blank = {mean.name: model}, [""] * len(model[1:])
        if form == "full" and values["ci_low"].notna().any():
            named |= {"ci_low": ["95 % from", *blank], "ci_high": ["to", *blank]}
        if values["paper"].notna().any():
            named["paper"] = ["paper", *model[1:]]
        for name, words in named.items():
            count: list[Cell] = [Value(rows.iloc[0]["n"], 0) if name == mean.name else ""] if full else []
            numbers: list[Cell] = [Value(number, mean.digits) for number in values[name]]
            if form == "page" and name == mean.name:
                numbers = [_mean(row, mean, "paper") for row in values.to_dict("records")]
            lines.append([*words, *count, *numbers])
    heads = [*(["n"] if full else []), *attacks]
    return Layout([column.head for column in first] or [""], [], heads, lines)


def plain(frame: pd.DataFrame, spec: TableSpec | None = None, form: Form = "full") -> Layout:
    """A frame as it stands, without columns that are empty; it is full in any form.

    Args:
        frame: Any.
        spec: Of the table, for the digits of numbers that are neither counts nor p-values; two without one.
        form: Plays no part.
    """
    digits = {column.name: column.digits for column in spec.columns} if spec else {}
    shown = frame.dropna(axis=1, how="all")
    names = [str(name) for name in shown.columns]
    lines = [
        [_as_cell(name, value, digits.get(name, 2)) for name, value in zip(names, row, strict=True)]
        for row in shown.itertuples(index=False)
    ]
    return Layout([], [], names, lines)


def _by_eps(frame: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of each eps, with the eps as text; empty text where the frame has one eps only."""
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    if "eps" not in frame:
        return [("", rows)]
    return [(as_fraction(eps), [row for row in rows if row["eps"] == eps]) for eps in dict.fromkeys(frame["eps"])]


def _count(row: dict[str, Any], full: bool) -> list[Cell]:
    return [Value(row["n"], 0)] if full else []


def _percent(value: float) -> Value:
    return Value(value, PERCENT.digits, PERCENT.unit)


def _mean(row: Mapping[Any, Any], mean: Column, theirs: str) -> Value:
    return Value(row[mean.name], mean.digits, mean.unit, row["ci_low"], row["ci_high"], row[theirs])


def _as_cell(column: str, value: Any, digits: int) -> Cell:
    """One value of a frame; p-values and weights span powers of ten."""
    if column == "eps":
        return as_fraction(value)
    if isinstance(value, Integral):
        return Value(int(value), 0)
    if not isinstance(value, float) or column in ("alpha", "beta"):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.2g}" if column == "p" else Value(value, digits)
