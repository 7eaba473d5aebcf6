"""Small drawings of a page, as SVG whose colours the page's style sheet sets."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from attnlab.report.description import with_names
from attnlab.report.outcomes import GROUPS, Outcomes
from attnlab.report.page.columns import Columns
from attnlab.report.tables.sources import records_of_models
from attnlab.runs import Run
from attnlab.words import counted

BINS = 20
#: pixels of a histogram, and of the room for its axes
WIDTH, HEIGHT = 380, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 12, 38
#: pixels of an interval's drawing, and of the room at both ends for its marks
BAR_WIDTH, BAR_HEIGHT, BAR_ENDS = 140, 18, 6
#: classes of the style sheet that colour one model each; further models begin again
COLOURS = tuple(f"series{number}" for number in range(6))


class Chart(NamedTuple):
    """A histogram."""

    svg: Markup
    outlines: list[tuple[str, str]]  # of each its class and what it says, for those who do not see it
    method: int | None = None  # as of the figure that it shows


def of_figures(columns: Columns, index: int, outcomes: Outcomes) -> list[Chart]:
    """At one eps a chart per drawn figure of the images, with an outline for each group."""
    charts, colours = [], {outcomes.word(group): group for group in GROUPS}
    for figure in columns.figures:
        if figure.drawn:
            values = {outcomes.word(group): numbers for group, numbers in columns.by_group(figure, index).items()}
            outlines = [(colours[word], f"{word}: {_summary(numbers)}") for word, numbers in values.items()]
            charts.append(Chart(_histogram(values, figure.name, colours), outlines, figure.method))
    return charts


def of_attacks(run: Run) -> list[Chart]:
    """Of each attack a chart of how probable the label is at its last point, with an outline for each model."""
    models = list(with_names(run.manifest)["options"]["models"])
    records = records_of_models(run, models)
    colours = {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(models)}
    charts = []
    for attack in records["attack"].unique():
        losses = records.loc[records["attack"] == attack, ["model", "loss"]]  # the loss is the label's cross-entropy
        values = {
            model: np.exp(-losses.loc[losses["model"] == model, "loss"].to_numpy())
            for model in losses["model"].unique()
        }
        outlines = [(colours[model], f"{model}: {_summary(numbers)}") for model, numbers in values.items()]
        charts.append(Chart(_histogram(values, f"probability of the label, {attack}", colours), outlines))
    return charts


def _histogram(values: Mapping[str, np.ndarray], axis: str, colours: Mapping[str, str]) -> Markup:
    """Distributions of a value in [0, 1], an outline of its own class for each group, as shares of the group.

    The values of a group are NaN where an image has none; `axis` says what they are.
    """
    known = {group: numbers[~np.isnan(numbers)] for group, numbers in values.items()}
    shares = {
        group: 100 * np.histogram(numbers, BINS, (0, 1))[0] / max(1, len(numbers)) for group, numbers in known.items()
    }
    highest = max(5.0, *(share.max() for share in shares.values()))
    step = next(step for step in (2, 5, 10, 20, 25, 50) if highest / step <= 4.5)
    top = step * np.ceil(highest / step)
    parts = [_axes(axis, step, top)]
    for group, share in shares.items():
        edges = np.linspace(0, 1, BINS + 1)[1:]
        steps = "".join(f"V{_y(height, top)}H{_x(edge)}" for edge, height in zip(edges, share, strict=True))
        parts.append(f'<path class="{colours[group]}" d="M{_x(0)} {_y(0, top)}{steps}V{_y(0, top)}"/>')
        if len(known[group]):
            x = _x(known[group].mean())
            parts.append(f'<line class="mean {colours[group]}" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    groups = "; ".join(f"{group}: {_summary(numbers)}" for group, numbers in values.items())
    label = escape(f"Histogram of {axis}. {groups}")
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _summary(values: np.ndarray) -> str:
    """How many values are known, not NaN, and their mean."""
    known = values[~np.isnan(values)]
    return counted(len(known), "image") + (f", mean {known.mean():.3f}" if len(known) else "")


def _axes(axis: str, step: float, top: float) -> str:
    parts = []
    for share in np.arange(0, top + step / 2, step):
        y = _y(share, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{share:g}{" %" if share else ""}</text>')
    for value in np.linspace(0, 1, 6):
        y = HEIGHT - BOTTOM + 15
        parts.append(f'<text x="{_x(value)}" y="{y}" text-anchor="middle">{value:.1f}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(axis)}</text>')
    return "".join(parts)


def _x(value: float) -> float:
    return round(float(LEFT + value * (WIDTH - LEFT - RIGHT)), 1)


def _y(share: float, top: float) -> float:
    return round(float(HEIGHT - BOTTOM - share / top * (HEIGHT - TOP - BOTTOM)), 1)


def interval(value: float, low: float, high: float, paper: float | None, top: float) -> Markup:
    """A value with its interval on a line from 0 to `top`, and a diamond for the paper's value; NaN where one lacks."""

    def x(share: float) -> float:
        return round(BAR_ENDS + share / top * (BAR_WIDTH - 2 * BAR_ENDS), 1)

    middle = BAR_HEIGHT / 2
    parts = [f'<line class="track" x1="{x(0)}" x2="{x(1)}" y1="{middle}" y2="{middle}"/>']
    ticks = (x(0), x(top / 2), x(top))
    parts += [f'<line class="track" x1="{t}" x2="{t}" y1="{middle - 3}" y2="{middle + 3}"/>' for t in ticks]
    if low == low:
        parts.append(f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}"/>')
    if value == value:
        parts.append(f'<circle class="value" cx="{x(value)}" cy="{middle}" r="3.5"/>')
    if paper is not None and paper == paper:
        parts.append(f'<path class="paper" d="M{x(paper)} {middle - 5}l5 5l-5 5l-5 -5z"/>')
    return Markup(
        f'<svg class="bar" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" width="{BAR_WIDTH}" height="{BAR_HEIGHT}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )
