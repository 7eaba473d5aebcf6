"""Accuracy over a grid of alpha and beta: Fig. 8 of the paper."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from attnlab.errors import UserError
from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.style import BLUE, VERMILION, errorbars, side_by_side, styled
from attnlab.report.statistics import wilson_interval
from attnlab.views import LeftOut

#: column -> what it is called, its colour, its marker
KINDS = {
    "clean": ("clean accuracy (%)", BLUE, "o"),
    "robust": ("accuracy under PGD (%)", VERMILION, "s"),
}
SYMBOLS = {"alpha": "α", "beta": "β"}  # noqa: RUF001 - Greek indeed
LOSSES = {"alpha": "rectification loss", "beta": "preservation loss"}
READ = [*SYMBOLS, "n", *KINDS]  # what the figures read of a sweep's table


def read_sweep(path: Path) -> pd.DataFrame:
    """Read a sweep's table, as `figure8` takes it."""
    try:
        table = pd.read_csv(path)
        return table.astype({column: "int64" if column == "n" else "float64" for column in READ})
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}); repeat the command of the sweep to make it again") from None


@styled
def figure8(table: pd.DataFrame, _manifest: object = None) -> Drawing:
    """Accuracy against alpha and against beta, clean on the left axis and adversarial on the right one (Fig. 8).

    Where both were varied, the other is held at its value in the training of the highest adversarial accuracy. The
    table has columns alpha, beta, clean, robust (percent) and n (images), a row for each training.
    """
    if not len(table):
        raise LeftOut("no training of the sweep is finished")
    varied = varied_weights(table) or ["alpha"]
    best = table.sort_values("robust", kind="stable").iloc[-1]
    figure, panels = side_by_side(len(varied), 2.3)
    for letter, name, axes in zip("ab", varied, panels, strict=False):
        other = "beta" if name == "alpha" else "alpha"
        _two_axes(axes, table[table[other] == best[other]].sort_values(name), name)
        which = f"({letter}) " if len(varied) == 2 else ""
        axes.set_title(f"{which}{LOSSES[name]}, {SYMBOLS[other]} = {best[other]:g}")
    caption = (
        "Figure 8. Adversarial defense performance with different weights of the attention losses: accuracy on "
        "held-out images, clean (left axis) and under PGD with the training's budget (right axis), with 95 % Wilson "
        "intervals. The other weight is that of the training of the highest accuracy under PGD."
    )
    return Drawing(figure, caption)


@styled
def sweep_grid(table: pd.DataFrame, _manifest: object = None) -> Drawing:
    """Accuracy over the whole grid of alpha and beta, clean and adversarial (Fig. 8, both weights at once).

    Of the table of `figure8`; a training that is not finished leaves its cell empty.
    """
    if len(varied_weights(table)) < 2:
        raise LeftOut
    figure, panels = side_by_side(2, 2.6)
    for axes, kind in zip(panels, KINDS, strict=True):
        _heat_map(axes, table, kind)
    caption = "Accuracy on held-out images over α and β, clean and under PGD with the training's budget."  # noqa: RUF001
    return Drawing(figure, caption)


def varied_weights(table: pd.DataFrame) -> list[str]:
    """Those of alpha and beta that were varied."""
    return [name for name in SYMBOLS if table[name].nunique() > 1]


def _two_axes(left: Axes, rows: pd.DataFrame, name: str) -> None:
    right = left.twinx()
    right.spines["right"].set_visible(True)
    positions = np.arange(len(rows))  # 0 is not on a logarithmic axis
    sides = ((left, -0.02), (right, 0.02))  # beside each other, so that both intervals are seen
    for (axes, shift), (kind, (title, colour, marker)) in zip(sides, KINDS.items(), strict=True):
        counts = zip(rows[kind], rows["n"], strict=True)
        ends = 100 * np.array([wilson_interval(round(value * n / 100), n) for value, n in counts])
        errorbars(axes, positions + shift, rows.assign(ci_low=ends[:, 0], ci_high=ends[:, 1]), kind, colour, marker)
        axes.set_ylabel(title, color=colour)
        axes.tick_params(axis="y", colors=colour)
    left.set_xticks(positions, [f"{value:g}" for value in rows[name]])
    left.set_xlabel(SYMBOLS[name])
    left.margins(x=0.08)


def _heat_map(axes: Axes, table: pd.DataFrame, kind: str) -> None:
    grid = table.pivot(index="beta", columns="alpha", values=kind)
    image = axes.imshow(grid.to_numpy(), cmap="cividis", origin="lower", aspect="auto")
    middle = (table[kind].min() + table[kind].max()) / 2
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        if not np.isnan(value):  # of a training that is not finished
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color="wk"[int(value > middle)])
    axes.set_xticks(range(grid.shape[1]), [f"{value:g}" for value in grid.columns])
    axes.set_yticks(range(grid.shape[0]), [f"{value:g}" for value in grid.index])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(title=KINDS[kind][0], xlabel=SYMBOLS["alpha"], ylabel=SYMBOLS["beta"])
    axes.figure.colorbar(image, ax=axes, pad=0.02).outline.set_visible(False)
