"""The claims' table as people read it: a line for each comparison of a claim, and the verdicts in short."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attnlab.report.tables.layout import Cell, Layout, Value
from attnlab.study import CLAIMS
from attnlab.words import as_fraction, counted

Row = Mapping[Any, Any]
NAMED = 3  # methods whose names a summary gives; of more it says how many


def of_claim(table: pd.DataFrame, claim: str, *, paper: bool = False) -> Layout:
    """The comparisons of a claim; for a paper without matching and mediation."""
    rows = table[table["claim"] == claim]
    names = [name for name in ("model", "attack", "eps", "method") if _tells(rows, name)]
    heads = ["n", "difference", "Cliff's delta", "AUROC", "p, Holm"]
    heads += ["odds, controlled", "p, controlled"]
    heads += [] if paper else ["matched", *(["less centred"] if CLAIMS[claim].centred else []), "gone with margin"]
    lines = [
        [*(_name(row, name) for name in names), *_numbers(row, claim, paper=paper), row["verdict"]]
        for row in rows.to_dict("records")
    ]
    return _without_empty(Layout(names, [], [*heads, "verdict"], lines))


def _without_empty(layout: Layout) -> Layout:
    """A layout without columns in which no line has a value."""
    named = len(layout.first)
    kept = [
        place
        for place, cells in enumerate(layout.columns())
        if place < named or any((cell if isinstance(cell, str) else cell.text()) not in ("--", "") for cell in cells)
    ]
    heads = [head for place, head in enumerate(layout.heads, named) if place in kept]
    return Layout(layout.first, [], heads, [[line[place] for place in kept] for line in layout.lines])


def _tells(rows: pd.DataFrame, name: str) -> bool:
    """Whether a column tells the lines of a claim apart."""
    return bool(rows[name].nunique() > 1)


def _name(row: Row, name: str) -> str:
    value = row[name]
    return value if isinstance(value, str) else "" if pd.isna(value) else as_fraction(value)


def _numbers(row: Row, claim: str, *, paper: bool) -> list[Cell]:
    cells: list[Cell] = [
        f"{row['n_first']} / {row['n_second']}",
        Value(row["difference"], 3, "", row["ci_low"], row["ci_high"]),
        Value(row["cliffs_delta"], 2),
        Value(row["auroc"], 2, "", row["auroc_low"], row["auroc_high"]),
        _p(row["p_holm"]),
        Value(row["odds_ratio"], 2, "", row["odds_low"], row["odds_high"]),
        _p(row["p_controlled_holm"]),
    ]
    if not paper:
        cells.append(Value(row["matched"], 3, "", row["matched_low"], row["matched_high"]))
        if CLAIMS[claim].centred:
            cells.append(Value(row["centred"], 3, "", row["centred_low"], row["centred_high"]))
        share, *ends = (100 * row[name] for name in ("mediated", "mediated_low", "mediated_high"))
        cells.append(Value(share, 0, "%", *ends))
    return cells


def _p(value: float) -> str:
    return "--" if pd.isna(value) else f"{value:.2g}"


def in_short(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Of each claim, model and eps: the claim, what it is of, and the verdicts with the methods that have them."""
    lines = []
    tested = table[~table["blind"].astype(bool)]
    groups: Any = tested.groupby(["claim", "model", "attack", "eps"], sort=False, dropna=False)
    for (claim, model, attack, eps), rows in groups:
        subject = ", ".join(filter(None, (model, attack, "" if pd.isna(eps) else as_fraction(eps))))
        if len(rows) == 1:
            lines.append((claim, subject, rows["sentence"].iloc[0]))
            continue
        said = rows.groupby("verdict", sort=False)["method"].agg(list)
        most = sorted(said.items(), key=lambda one: -len(one[1]))
        words = [
            f"{word} ({', '.join(methods) if len(methods) <= NAMED else counted(len(methods), 'method')})"
            for word, methods in most
        ]
        lines.append((claim, subject, "; ".join(words)))
    return lines


def summary_layout(table: pd.DataFrame) -> Layout:
    """`in_short` as a table."""
    return Layout(["claim", "of"], [], ["verdict"], [[*line] for line in in_short(table)])


def formula_layout(frame: pd.DataFrame) -> Layout:
    """The terms of formulas, a line each."""
    names = [name for name in ("formula", "model", "attack", "eps", "method") if _tells(frame, name)]
    lines: list[list[Cell]] = []
    for row in frame.to_dict("records"):
        first = [_name(row, name) for name in names]
        if not pd.isna(row["missing"]):
            lines.append([*first, str(row["n"]), row["missing"], "--", "--"])
            continue
        coefficient = Value(row["coefficient"], 3, "", row["ci_low"], row["ci_high"])
        lines.append([*first, str(row["n"]), f"{row['term']} ({row['kind']})", coefficient, _p(row["p"])])
    return Layout(names, [], ["n", "term", "coefficient", "p"], lines)
