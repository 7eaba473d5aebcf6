"""Figure of a sweep: accuracy over alpha and beta (Fig. 8 of the paper)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: column -> what it is called
KINDS = {"clean": "clean accuracy (%)", "robust": "accuracy under PGD (%)"}
#: of Okabe and Ito (2008): told apart by the colour-blind too
COLOURS = {"clean": "#0072B2", "robust": "#D55E00"}
SUFFIXES = ("png", "pdf")


def draw_sweep(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw a sweep's table: a line plot where one of alpha and beta varies, a heat map each accuracy where both do.

    Args:
        table: Columns alpha, beta, clean, robust, a row for each training.
        folder: Made if need be.

    Returns:
        The files: sweep.png, sweep.pdf.
    """
    varied = [name for name in ("alpha", "beta") if table[name].nunique() > 1]
    if len(varied) == 2:
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        for axes, kind in zip(figure.subplots(1, 2), KINDS, strict=True):
            _heat_map(axes, table, kind)
    else:
        figure = Figure(figsize=(5, 3.6), layout="constrained")
        _lines(figure.subplots(), table, varied[0] if varied else "alpha")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"sweep.{suffix}" for suffix in SUFFIXES]
    for path in paths:
        figure.savefig(path, dpi=200)
    return paths


def _heat_map(axes: Axes, table: pd.DataFrame, kind: str) -> None:
    grid = table.pivot(index="beta", columns="alpha", values=kind)
    image = axes.imshow(grid.to_numpy(), cmap="cividis", origin="lower", aspect="auto")
    middle = (table[kind].min() + table[kind].max()) / 2
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        if not np.isnan(value):  # of a training that is not finished
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color="wk"[int(value > middle)])
    axes.set_xticks(range(grid.shape[1]), [f"{value:g}" for value in grid.columns])
    axes.set_yticks(range(grid.shape[0]), [f"{value:g}" for value in grid.index])
    axes.set(title=KINDS[kind], xlabel="α", ylabel="β")  # noqa: RUF001 - Greek indeed
    image.axes.figure.colorbar(image, ax=axes)


def _lines(axes: Axes, table: pd.DataFrame, name: str) -> None:
    rising = table.sort_values(name)
    places = range(len(rising))  # 0 has no place on a logarithmic axis
    for kind, told in KINDS.items():
        marker = "o" if kind == "clean" else "s"
        axes.plot(places, rising[kind].to_numpy(), color=COLOURS[kind], marker=marker, label=told)
    axes.set_xticks(places, [f"{value:g}" for value in rising[name]])
    axes.set(xlabel={"alpha": "α", "beta": "β"}[name], ylabel="accuracy (%)")  # noqa: RUF001 - Greek indeed
    axes.legend()
