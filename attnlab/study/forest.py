"""A figure for each claim: a forest of differences with their intervals, over methods and models."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.style import LINES, PAGE, blank, styled
from attnlab.study import CLAIMS
from attnlab.study.verdict import FEWEST
from attnlab.words import as_fraction

ROW, REST = 0.17, 0.9  # inches of a line, and of axes and legend
MOST = 3  # panels side by side
FAINT = 0.45  # opacity of methods that look at nothing


@styled
def forest(table: pd.DataFrame, claim: str) -> Drawing:
    """Differences of a claim, positive as claimed: a panel for each model, a row for each method, colours for eps.

    Filled: the difference of means; open: that of pairs matched on the controls. A star marks p < .05 after correction.
    Of fewer than FEWEST pairs or images of a group there is neither.
    """
    spec, rows = CLAIMS[claim], table[table["claim"] == claim].reset_index(drop=True)
    rows = rows.assign(row=rows["method"].where(rows["method"] != "", rows["attack"]))
    models, names = list(dict.fromkeys(rows["model"])), list(dict.fromkeys(rows["row"]))
    budgets = [*dict.fromkeys(rows["eps"].map(lambda eps: None if pd.isna(eps) else eps))]
    budgets = budgets if rows["attack"].nunique() < 2 or claim != "5" else [None]
    height = REST + ROW * len(names) * max(1, len(budgets))
    wide = min(MOST, len(models))
    down = -(-len(models) // wide)
    figure = blank(PAGE, height * down)
    panels = figure.subplots(down, wide, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, model in zip(panels, models, strict=False):
        _panel(axes, rows[rows["model"] == model], names, budgets)
        axes.set_title(model)
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    _legend(figure, panels[0], budgets, matched=bool((rows["matched_pairs"] >= FEWEST).any()))
    figure.supxlabel(f"{spec.title}: {spec.direction}", fontsize=8)
    caption = (
        f"Claim {claim}: {spec.sentence} Difference of means, {spec.direction}, with 95 % bootstrap intervals; "
        "positive is as claimed. Open markers: pairs of images that are alike in what is controlled for. A star: "
        f"p < .05 (Holm). Of fewer than {FEWEST} pairs or images of a group there is neither. Faint: methods that look "
        "at nothing."
    )
    return Drawing(figure, caption)


def _panel(axes: Axes, rows: pd.DataFrame, names: list[str], budgets: list[float | None]) -> None:
    count = len(budgets)
    for number, eps in enumerate(budgets):
        colour, marker = LINES[number % len(LINES)]
        some = rows if count == 1 else rows[rows["eps"].isna() if eps is None else rows["eps"] == eps]
        for row in some.to_dict("records"):
            y = names.index(row["row"]) + (number - (count - 1) / 2) * 0.8 / count
            alpha = FAINT if row["blind"] else 1.0
            style = {"color": colour, "marker": marker, "alpha": alpha, "elinewidth": 0.9}
            _point(axes, y - 0.1, [row[name] for name in ("difference", "ci_low", "ci_high")], **style)
            style |= {"markerfacecolor": "white", "markersize": 3, "elinewidth": 0.5}
            if row["matched_pairs"] >= FEWEST:
                _point(axes, y + 0.12, [row[name] for name in ("matched", "matched_low", "matched_high")], **style)
            if row["p_holm"] < 0.05 and min(row["n_first"], row["n_second"]) >= FEWEST:
                axes.annotate("*", (1, y), xycoords=("axes fraction", "data"), color=colour, va="center", fontsize=9)
    axes.axvline(0, color="0.5", linewidth=0.7, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)


def _point(axes: Axes, y: float, numbers: list[float], **style: object) -> None:
    value, low, high = numbers
    if not np.isnan(value):
        ends = np.nan_to_num(np.abs([[value - low], [high - value]]))
        axes.errorbar([value], [y], xerr=ends, linestyle="", **style)  # type: ignore[arg-type]


def _legend(figure: Figure, axes: Axes, budgets: list[float | None], *, matched: bool) -> None:
    handles: list[Any] = []
    texts = []
    for number, eps in enumerate(budgets):
        colour, marker = LINES[number % len(LINES)]
        if eps is not None or matched:
            handles.append(axes.errorbar([], [], color=colour, marker=marker, linestyle=""))
            texts.append(f"ε = {as_fraction(eps)}" if eps is not None else "all images")
    if matched:
        handles.append(axes.errorbar([], [], color="0.3", marker="o", markerfacecolor="white", linestyle=""))
        texts.append("matched pairs")
    if texts:
        figure.legend(handles, texts, loc="outside upper right", ncols=len(texts))
