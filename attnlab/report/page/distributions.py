"""The histograms of a page: of an analysis' figures in both groups, of an evaluation's answers under each attack."""

from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from attnlab.records import read_evaluation
from attnlab.report.description import with_names
from attnlab.report.page.cards import Gallery, values_of
from attnlab.report.page.charts import histogram, summary
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


def of_figures(gallery: Gallery, place: int) -> list[Chart]:
    """At one eps a chart per drawn figure of the images, with an outline for each group."""
    charts = []
    for figure in gallery.figures:
        if figure.drawn:
            values = values_of(figure, gallery, place)
            outlines = [(group, summary(mine)) for group, mine in values.items()]
            charts.append(Chart(histogram(values, figure.name, {group: group for group in GROUPS}), outlines))
    return charts


def of_attacks(run: Run) -> list[Chart]:
    """Of each attack a chart of how probable the label is at its last point, with an outline for each model."""
    records = read_evaluation(run.folder)
    records["probability"] = np.exp(-records["loss"])  # the loss is the label's cross-entropy
    models = list(with_names(run.manifest)["options"]["models"])
    colours = {model: COLOURS[place % len(COLOURS)] for place, model in enumerate(models)}
    charts = []
    for attack, rows in records.groupby("attack", sort=False):
        values = {str(model): mine["probability"].to_numpy() for model, mine in rows.groupby("model", sort=False)}
        outlines = [(colours[model], f"{model}: {summary(mine)}") for model, mine in values.items()]
        charts.append(Chart(histogram(values, f"probability of the label, {attack}", colours), outlines))
    return charts
