"""Tables in the paper's layout: a tidy frame in, heads and lines out, for LaTeX, Markdown, console and page alike."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from numbers import Integral
from typing import Any, NamedTuple

import pandas as pd

from attnlab.report.outcomes import GROUPS
from attnlab.report.tables import Column, Form, TableSpec
from attnlab.words import as_fraction

Row = Mapping[Any, Any]


class Value(NamedTuple):
    """A number as a table shows it, with its interval where it has one, and the paper's value of the same."""

    number: float | None
    digits: int = 3
    unit: str = ""
    low: float | None = None
    high: float | None = None
    paper: float | None = None

    def text(self) -> str:
        """The number as text; two dashes where there is none."""
        return "--" if pd.isna(self.number) else f"{self.number:.{self.digits}f}{self.unit}"

    def __str__(self) -> str:
        """The number and its interval."""
        return f"{self.text()} {self.interval()}".rstrip()

    def interval(self) -> str:
        """The interval as text, in brackets; empty where there is none."""
        if pd.isna(self.number) or pd.isna(self.low):
            return ""
        return f"[{self.low:.{self.digits}f}, {self.high:.{self.digits}f}]"


Cell = str | Value


class Layout(NamedTuple):
    """A table as it is set."""

    first: list[str]  # heads of the columns that name a line
    groups: list[str]  # heads that stand above equally many of the other columns each; there may be none
    heads: list[str]  # of the other columns
    lines: list[list[Cell]]  # a cell for each of `first` and `heads`

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


def by_outcome(frame: pd.DataFrame, spec: TableSpec, form: Form) -> Layout:
    """Tables 1 to 5: a line per eps and size of the areas, for each outcome its share of the images and a mean.

    The paper's values stand below the shares, or where there are none beside the mean.
    """
    full, mean, share = form != "paper", spec.mean, spec.column("percent")
    paper = f"paper_{mean.name}" if share else "paper"
    below = bool(share and frame[paper].notna().any())
    beside = bool(not share and frame[paper].notna().any())
    before = takewhile(lambda column: column.name != "group", spec.columns)
    names = [column for column in before if column.name in frame]
    first = [column.head for column in names] or ([""] if below and form == "page" else [])

    def cells(row: Row, count: Cell, percent: str, value: Value) -> list[Cell]:
        shares = [Value(row[percent], share.digits, share.unit)] if share else []
        published = [Value(row[paper], mean.digits)] if beside else []
        return [*([count] if full else []), *shares, value, *published]

    lines: list[list[Cell]] = []
    rows = frame.to_dict("records")
    for pair in zip(rows[::2], rows[1::2], strict=True):
        line: list[Cell] = [_as_cell(column.name, pair[0][column.name], 0) for column in names] or [""] * len(first)
        for row in pair:
            line += cells(row, Value(row["n"], 0), "percent", _mean(row, mean, paper))
        lines.append(line)
    if below:
        line = [*["paper", *[""] * len(first)][: len(first)]]
        for row in [row for row in rows if pd.notna(row[paper])][:2]:
            line += cells(row, "", "paper_percent", Value(row[paper], mean.digits))
        lines.append(line)
    heads = [*(["n"] if full else []), *([share.head] if share else []), mean.head, *(["paper"] if beside else [])]
    return Layout(first, _heads_of_groups(rows), heads * len(GROUPS), lines)


def by_measure(frame: pd.DataFrame, spec: TableSpec, form: Form) -> Layout:
    """The table of measures: a line for each measure, for each outcome n, a mean and what chance gives."""
    full, digits = form != "paper", spec.mean.digits
    before = takewhile(lambda column: column.name != "group", spec.columns)
    names = [column for column in before if column.name in frame]
    lines: list[list[Cell]] = []
    rows = frame.to_dict("records")
    for pair in zip(rows[::2], rows[1::2], strict=True):
        line = [_as_cell(column.name, pair[0][column.name], 0) for column in names]
        for row in pair:
            mean = Value(row["mean"], digits, "", row["ci_low"], row["ci_high"])
            line += [*([Value(row["n"], 0)] if full else []), mean, Value(row["chance"], digits)]
        lines.append(line)
    heads = [*(["n"] if full else []), spec.mean.head, "chance"]
    return Layout([column.head for column in names], _heads_of_groups(rows), heads * len(GROUPS), lines)


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

    The table's spec gives the digits of numbers that are neither counts nor p-values; without one there are two.
    """
    digits = {column.name: column.digits for column in spec.columns} if spec else {}
    shown = frame.dropna(axis=1, how="all")
    names = [str(name) for name in shown.columns]
    lines = [
        [_as_cell(name, value, digits.get(name, 2)) for name, value in zip(names, row, strict=True)]
        for row in shown.itertuples(index=False)
    ]
    return Layout([], [], names, lines)


def _heads_of_groups(rows: Sequence[Row]) -> list[str]:
    """The groups of rows that follow each other, as the paper sets them."""
    return [f"I_{group}" for group in ([row["group"] for row in rows[: len(GROUPS)]] or GROUPS)]


def _mean(row: Row, mean: Column, paper: str) -> Value:
    return Value(row[mean.name], mean.digits, mean.unit, row["ci_low"], row["ci_high"], row[paper])


def _as_cell(column: str, value: Any, digits: int) -> Cell:
    """One value of a frame; p-values and weights span powers of ten."""
    if column == "eps":
        return as_fraction(value)
    if isinstance(value, Integral):
        return Value(int(value), 0)
    if not isinstance(value, float) or column in ("alpha", "beta"):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.2g}" if column == "p" else Value(value, digits)
