"""The histograms of a page: of an analysis' figures in both groups, of an evaluation's answers under each attack."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from attnlab.records import read_evaluation
from attnlab.report.page.cards import Gallery, values_of
from attnlab.report.page.charts import histogram
from attnlab.report.tables import GROUPS
from attnlab.runs import Run

#: classes of the style sheet that colour one model each; further models begin again
COLOURS = tuple(f"series{number}" for number in range(6))


class Chart(NamedTuple):
    """A histogram.

    Attributes:
        svg: The drawing.
        outlines: Of each outline its class and what it tells, for those who do not see it.
    """

    svg: Markup
    outlines: list[tuple[str, str]]


def of_figures(gallery: Gallery, budgets: Sequence[str]) -> list[list[Chart]]:
    """Of each eps a chart per drawn figure of the images, with an outline for each group."""
    colours = {group: group for group in GROUPS}
    drawn = [figure for figure in gallery.figures if figure.drawn]
    return [
        [_chart(values_of(figure, gallery, place), figure.name, colours, named=False) for figure in drawn]
        for place in range(len(budgets) if gallery.images else 0)
    ]


def of_attacks(run: Run) -> list[Chart]:
    """Of each attack a chart of how probable the label is at its last point, with an outline for each model."""
    records = read_evaluation(run.folder)
    records["probability"] = np.exp(-records["loss"])  # the loss is the label's cross-entropy
    models = list(run.manifest["options"]["models"])
    colours = {model: COLOURS[place % len(COLOURS)] for place, model in enumerate(models)}
    charts = []
    for attack, rows in records.groupby("attack", sort=False):
        values = {str(model): mine["probability"].to_numpy() for model, mine in rows.groupby("model", sort=False)}
        charts.append(_chart(values, f"probability of the label, {attack}", colours, named=True))
    return charts


def _chart(values: Mapping[str, np.ndarray], axis: str, colours: Mapping[str, str], named: bool) -> Chart:
    outlines = []
    for name, mine in values.items():
        known = mine[~np.isnan(mine)]
        told = f"{len(known)} images" + (f", mean {known.mean():.3f}" if len(known) else "")
        outlines.append((colours[name], f"{name}: {told}" if named else told))
    return Chart(histogram(values, axis, colours), outlines)
