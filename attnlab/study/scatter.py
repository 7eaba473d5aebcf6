"""Robustness against gaze: a point for each model."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.style import LINES, side_by_side, styled
from attnlab.study.columns import CLEAN, DEVIATION, IOU
from attnlab.study.ranking import Mean, Ranked
from attnlab.views import LeftOut

#: measure -> what its axis says
AXES = {IOU: "IoU of attacked attention and object", DEVIATION: "deviation: 1 - IoU of clean and attacked attention"}


def plotted(ranked: Ranked) -> list[str]:
    """Columns of the scatter: accuracy under an attack, then what it is shown against.

    The attack that decides the order, where one does, else the one that most models have; of each measure in AXES the
    column that most models have, best of the same attack.

    Raises:
        LeftOut: If no two models have both.
    """
    columns, fewest = ranked.board.columns, min(2, len(ranked.models))
    threats = [name for name, one in columns.items() if one.group == "accuracy" and one.measure != CLEAN]
    if not threats:
        raise LeftOut("no run has accuracy under an attack")
    down = ranked.by if ranked.by in threats else max(threats, key=lambda name: _having(ranked, name))
    shown = [down]
    for measure in AXES:
        names = [name for name, one in columns.items() if one.measure == measure and one.threat]
        best = max(names, key=lambda name: (_having(ranked, name, down), _same(ranked, name, down)), default=down)
        shown += [best] if best != down and _having(ranked, best, down) >= fewest else []
    if len(shown) == 1:
        raise LeftOut(f"no two models have {down} and maps under attack that can be compared")
    return shown


@styled
def scatter(ranked: Ranked, names: Sequence[str]) -> Drawing:
    """The columns of `plotted`: the first against each of the others."""
    down, *across = names
    figure, panels = side_by_side(len(across), 2.6, sharey=True)
    for axes, name in zip(panels, across, strict=True):
        for number, model in enumerate(ranked.models):
            if {(model, name), (model, down)} <= ranked.means.keys():
                _point(axes, ranked.means[model, name], ranked.means[model, down], number, model)
        axes.set_xlabel(f"{AXES[ranked.board.columns[name].measure]}\n{name}", fontsize=7)
        axes.grid(color="0.92", linewidth=0.5)
        axes.set_axisbelow(True)
    panels[0].set_ylabel(f"accuracy (%) under\n{down}")
    handles = dict(one for axes in panels for one in zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend([*handles.values()], [*handles], loc="outside upper center", ncols=min(3, len(handles)))
    caption = (
        f"Accuracy under {down} against {' and '.join(across)}, with 95 % intervals. Accuracy is of all images, "
        "attention of those that the model classifies correctly; models without both are not shown."
    )
    return Drawing(figure, caption)


def _having(ranked: Ranked, *names: str) -> int:
    return sum(all((model, name) in ranked.means for name in names) for model in ranked.models)


def _same(ranked: Ranked, name: str, other: str) -> bool:
    return ranked.board.columns[name].threat == ranked.board.columns[other].threat


def _point(axes: Axes, across: Mean, up: Mean, number: int, label: str) -> None:
    colour, marker = LINES[number % len(LINES)]
    ends = [[[abs(one.mean - one.low)], [abs(one.high - one.mean)]] for one in (across, up)]
    axes.errorbar(
        [across.mean],
        [up.mean],
        ends[1],
        ends[0],
        color=colour,
        marker=marker,
        linestyle="",
        elinewidth=0.7,
        label=label,
    )
