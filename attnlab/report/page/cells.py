"""Tables for a page: a tidy frame in, heads and cells of text out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from attnlab.records import as_fraction
from attnlab.report.page.charts import interval
from attnlab.report.tables import NONE

NAMES = {
    "table4_adversarial": "Table 4, adversarial images",
    "noise_floor": "Noise floor of Tables 4 and 5",
    "table6_worst": "Table 6, worst point",
    "paired": "Models against each other",
}
HEADS = {
    "group": "attack's outcome",
    "cells": "cells",
    "features": "superpixels",
    "percent": "share",
    "iou_att_gt": "IoU with boxes",
    "iou_ori_adv": "IoU original / adversarial",
    "iou_two_seeds": "IoU of two seeds",
    "confidence": "confidence in the label",
    "paper_percent": "paper's share",
    "eps": "ε",
    "only_first": "only the first correct",
    "only_second": "only the second correct",
    "difference": "difference in points",
}
#: tables with a column for each attack, and all whose mean is in percent
GRIDS = ("table6", "table6_worst")
IN_PERCENT = (*GRIDS, "table7", "paired")
#: columns of words; the others are numbers
WORDS = ("group", "eps", "model", "defense", "attack", "first", "second")
#: what each row's mean is called
MEANS = ("iou_att_gt", "iou_ori_adv", "iou_two_seeds", "confidence", "accuracy")


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: What it says.
        notes: Smaller lines beside it: the interval, the paper's value.
        kind: How it looks: `number`, `succeed`, `fail`, `bar` or nothing.
        bar: A drawing in place of the text.
    """

    text: str
    notes: tuple[str, ...] = ()
    kind: str = ""
    bar: Markup = Markup()


class Table(NamedTuple):
    """A table of a page."""

    key: str
    name: str
    caption: str
    heads: list[Cell]
    rows: list[list[Cell]]


def as_table(key: str, frame: pd.DataFrame, caption: str) -> Table:
    """A frame of a report as a table for people; columns without any value are left out."""
    name = NAMES.get(key, key.replace("table", "Table "))
    heads, rows = _grid(frame) if key in GRIDS else _lines(frame, 2 if key in IN_PERCENT else 3)
    return Table(key, name, caption, heads, rows)


def _lines(frame: pd.DataFrame, digits: int) -> tuple[list[Cell], list[list[Cell]]]:
    """A line for each row, its mean drawn beside it."""
    mean = next((name for name in MEANS if name in frame), None)
    paper = next((name for name in ("paper", f"paper_{mean}") if name in frame), None)
    shown = [
        str(name) for name in frame if not str(name).startswith("ci_") and (name == mean or frame[name].notna().any())
    ]
    heads = []
    for name in shown:
        text = "paper" if name == paper else HEADS.get(name, name)
        heads.append(Cell(text, kind="" if name in WORDS else "number"))
        if name == mean:
            heads.append(Cell("95 % interval", kind="bar"))
    rows = []
    for row in frame.to_dict("records"):
        cells = []
        for name in shown:
            cells.append(_cell(name, row, digits, name == mean))
            if name == mean:
                scale = 0.01 if mean == "accuracy" else 1
                values = [scale * row.get(column, NONE) for column in (mean, "ci_low", "ci_high", paper or "")]
                cells.append(Cell("", kind="bar", bar=interval(*values)))
        rows.append(cells)
    return heads, rows


def _cell(name: str, row: Mapping[Any, Any], digits: int, is_mean: bool) -> Cell:
    value = row[name]
    if name == "group":
        return Cell(value, kind=value)
    if name == "eps":
        return Cell(as_fraction(value))
    if not isinstance(value, float):
        return Cell(str(value), kind="" if name in WORDS else "number")
    if "percent" in name:
        return Cell(_number(value, 1, " %"), kind="number")
    if name == "p":
        return Cell(f"{value:.2g}", kind="number")
    return Cell(_number(value, digits), _interval(row, digits) if is_mean else (), "number")


def _grid(frame: pd.DataFrame) -> tuple[list[Cell], list[list[Cell]]]:
    """Table 6: a line for each model, a column for each attack."""
    attacks = list(dict.fromkeys(frame["attack"]))
    heads = [Cell("model"), Cell("defence"), Cell("n", kind="number"), *(Cell(name, kind="number") for name in attacks)]
    rows = []
    for (model, defense), mine in frame.groupby(["model", "defense"], sort=False):
        by_attack = {row["attack"]: row for row in mine.to_dict("records")}
        cells = [Cell(str(model)), Cell(str(defense)), Cell(str(mine["n"].max()), kind="number")]
        for attack in attacks:
            row = by_attack.get(attack, {"accuracy": NONE, "ci_low": NONE, "paper": NONE})
            paper = (f"paper {row['paper']:.2f}",) if row["paper"] == row["paper"] else ()
            cells.append(Cell(_number(row["accuracy"], 2), (*_interval(row, 2), *paper), "number"))
        rows.append(cells)
    return heads, rows


def _number(value: float, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if value == value else "–"  # noqa: RUF001 - a dash for no value


def _interval(row: Mapping[Any, Any], digits: int) -> tuple[str, ...]:
    low = row["ci_low"]
    return (f"[{low:.{digits}f}, {row['ci_high']:.{digits}f}]",) if low == low else ()
