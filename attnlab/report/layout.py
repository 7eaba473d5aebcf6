"""Tables in the paper's layout: a tidy frame in, heads and lines out, for LaTeX, Markdown and the console alike."""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import pandas as pd

from attnlab.records import as_fraction

GROUPS = ("I_succeed", "I_fail")
SUCCEED_AND_FAIL = 2


class Value(NamedTuple):
    """A number as a table shows it, with its interval where it has one."""

    number: float | None
    digits: int = 3
    unit: str = ""
    low: float | None = None
    high: float | None = None

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


def shares(frame: pd.DataFrame, head: str, *, full: bool = False) -> Layout:
    """Tables 1 and 2: per group its percentage and a mean, a line per eps and one for the paper's values.

    Args:
        frame: As `attnlab.report.tables.table1` gives it.
        head: Of the mean's column.
        full: Tell n too, for which the paper's layout has no place.
    """
    column = str(frame.columns[list(frame.columns).index("percent") + 1])
    lines: list[list[Cell]] = []
    for eps, rows in _by_eps(frame):
        cells: list[Cell] = [eps] if eps else []
        for row in rows:
            cells += [*_count(row, full), Value(row["percent"], 1, "%"), _mean(row, column)]
        lines.append(cells)
    if frame[f"paper_{column}"].notna().any():
        cells = ["paper"] if "eps" in frame else []
        for row in _by_eps(frame)[0][1]:
            cells += [*([""] if full else []), Value(row["paper_percent"], 1, "%"), Value(row[f"paper_{column}"])]
        lines.append(cells)
    heads = [*(["n"] if full else []), "Percentage", head]
    return Layout(["eps"] if "eps" in frame else [], [*GROUPS], heads * SUCCEED_AND_FAIL, lines)


def sizes(frame: pd.DataFrame, head: str, first_head: str, *, full: bool = False) -> Layout:
    """Tables 3, 4, 5: a line per number of cells or features, a column per group, the paper's values beside.

    Args:
        frame: As `attnlab.report.tables.by_size` gives it.
        head: Of the mean's columns.
        first_head: Of the column of sizes.
        full: Tell n too.
    """
    with_eps = int("eps" in frame)
    size, column = str(frame.columns[with_eps]), str(frame.columns[with_eps + 3])
    with_paper = bool(frame["paper"].notna().any())
    lines: list[list[Cell]] = []
    for eps, rows in _by_eps(frame):
        for pair in zip(rows[::2], rows[1::2], strict=True):
            cells: list[Cell] = [*([eps] if eps else []), Value(pair[0][size], 0)]
            for row in pair:
                cells += [*_count(row, full), _mean(row, column), *([Value(row["paper"])] if with_paper else [])]
            lines.append(cells)
    heads = [*(["n"] if full else []), head, *(["paper"] if with_paper else [])]
    first = [*(["eps"] if "eps" in frame else []), first_head]
    return Layout(first, [*GROUPS], heads * SUCCEED_AND_FAIL, lines)


def accuracies(frame: pd.DataFrame, *, full: bool = False) -> Layout:
    """Tables 6 and 7: a line per model and a column per attack, the paper's values below where there are any.

    Args:
        frame: As `attnlab.report.accuracy.table6` and `table7` give it.
        full: Tell n too, and both ends of the intervals in lines of their own.
    """
    names = [name for name in ("model", "defense") if name in frame]
    attacks = list(dict.fromkeys(frame["attack"]))
    lines: list[list[Cell]] = []
    by_model = [rows for _, rows in frame.groupby("model", sort=False)] if "model" in frame else [frame]
    for rows in by_model if len(frame) else ():
        values, first = rows.set_index("attack").reindex(attacks), rows.iloc[0]
        model = [str(first[name]) for name in names] or ["accuracy (%)"]
        named, blank = {"accuracy": model}, [""] * len(model[1:])
        if full and values["ci_low"].notna().any():
            named |= {"ci_low": ["95 % from", *blank], "ci_high": ["to", *blank]}
        if values["paper"].notna().any():
            named["paper"] = ["paper", *model[1:]]
        for column, words in named.items():
            count: list[Cell] = [Value(first["n"], 0) if column == "accuracy" else ""] if full else []
            lines.append([*words, *count, *(Value(number, 2) for number in values[column])])
    heads = [*(["n"] if full else []), *attacks]
    return Layout([name.capitalize() for name in names] or [""], [], heads, lines)


def plain(frame: pd.DataFrame, *, full: bool = False, digits: int = 2) -> Layout:
    """A frame as it stands, without columns that are empty; it is full in any case.

    Args:
        frame: Any.
        full: Plays no part.
        digits: Of numbers that are neither counts nor p-values.
    """
    shown = frame.dropna(axis=1, how="all")
    lines = [
        [_as_cell(str(name), value, digits) for name, value in zip(shown.columns, row, strict=True)]
        for row in shown.itertuples(index=False)
    ]
    return Layout([], [], [str(name) for name in shown.columns], lines)


#: table -> function(frame, full=...)
LAYOUTS: dict[str, Callable[..., Layout]] = {
    "table1": partial(shares, head="IoU_Att_GT"),
    "table2": partial(shares, head="Top 1 Confidence"),
    "controls": partial(plain, digits=3),
    "table3": partial(sizes, head="IoU_ori_adv", first_head="#cell"),
    "table4": partial(sizes, head="IoU_Att_GT", first_head="#.Features"),
    "table4_adversarial": partial(sizes, head="IoU_Att_GT", first_head="#.Features"),
    "table5": partial(sizes, head="IoU_ori_adv", first_head="#.Features"),
    "noise_floor": partial(sizes, head="IoU of two seeds", first_head="#.Features"),
    "table6": accuracies,
    "table6_worst": accuracies,
    "table7": accuracies,
    "paired": plain,
}


def _by_eps(frame: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of each eps, with the eps as text; empty text where the frame has one eps only."""
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    if "eps" not in frame:
        return [("", rows)]
    return [(as_fraction(eps), [row for row in rows if row["eps"] == eps]) for eps in dict.fromkeys(frame["eps"])]


def _count(row: dict[str, Any], full: bool) -> list[Cell]:
    return [Value(row["n"], 0)] if full else []


def _mean(row: dict[str, Any], column: str) -> Value:
    return Value(row[column], low=row["ci_low"], high=row["ci_high"])


def _as_cell(column: str, value: Any, digits: int) -> Cell:
    """One value of a frame; p-values and weights span powers of ten."""
    if column == "eps":
        return as_fraction(value)
    if isinstance(value, Integral):
        return Value(int(value), 0)
    if not isinstance(value, float) or column in ("alpha", "beta"):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"{value:.2g}" if column == "p" else Value(value, digits)
