"""One style for all figures: sizes, colours, how they are saved."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attnlab.errors import UserError
from attnlab.files import write_whole

#: width in inches of a column and of a page of two columns
COLUMN, PAGE = 3.3, 7.0
SUFFIXES = ("png", "pdf")
DPI = 300  # dots per inch of pictures
MARK = 0.15  # height in inches of the line that `mark` adds

#: of Okabe and Ito (2008): distinct for the colour-blind too
BLUE, VERMILION, BLACK = "#0072B2", "#D55E00", "#000000"
#: colours and markers of lines side by side: distinct by their markers too
LINES = tuple(zip((BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK), "osD^vPX", strict=True))
GROUP_COLOURS = {"succeed": VERMILION, "fail": BLUE}
GROUP_MARKERS = {"succeed": "s", "fail": "o"}

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.5,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # letters stay letters
}

styled = matplotlib.rc_context(STYLE)  # makes what is drawn inside a function follow the style


def blank(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def side_by_side(count: int, height: float, *, sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its axes in one row: as wide as a column with one, as a page with several."""
    figure = blank(COLUMN if count == 1 else PAGE, height)
    return figure, figure.subplots(1, count, sharey=sharey, squeeze=False)[0]


def errorbars(
    axes: Axes, x: npt.ArrayLike, rows: pd.DataFrame, column: str, colour: str, marker: str, name: str = ""
) -> None:
    """Draw a line through the values of a column, with their intervals, `ci_low` to `ci_high`, where there are any."""
    value = rows[column].to_numpy(float)
    ends = np.nan_to_num(np.abs([value - rows["ci_low"], rows["ci_high"] - value]))  # an end may differ by a rounding
    axes.errorbar(np.asarray(x), value, ends, color=colour, marker=marker, elinewidth=0.8, label=name or None)


def mark(figure: Figure, text: str) -> None:
    """Write a warning into a figure, such as that its run is unfinished: in a line of its own."""
    if figure.get_layout_engine() is not None:
        figure.suptitle(text, fontsize=7, color=VERMILION)
        return
    width, height = figure.get_size_inches()
    taller = height + MARK
    figure.set_size_inches(width, taller)
    for axes in figure.axes:
        x, y, wide, tall = axes.get_position(original=True).bounds
        axes.set_position((x, (y * height + MARK) / taller, wide, tall * height / taller))
    for label in figure.texts:
        label.set_y((label.get_position()[1] * height + MARK) / taller)
    figure.text(1 - 0.04 / width, 0.03 / taller, text, ha="right", va="bottom", fontsize=7, color=VERMILION)


@styled
def save(figure: Figure, folder: Path, name: str, caption: str = "") -> list[Path]:
    """Write a figure as FOLDER/NAME.png, NAME.pdf, and its caption, if there is one, as NAME.txt."""
    try:
        for suffix in SUFFIXES:
            content = BytesIO()
            # without a date, so that the same records give the same file
            metadata = {"CreationDate": None} if suffix == "pdf" else None
            figure.savefig(content, format=suffix, dpi=DPI, metadata=metadata)
            figure.set_layout_engine("none")  # the next file has the places that this one has, found once
            write_whole(folder / f"{name}.{suffix}", content.getvalue())
        if caption:
            write_whole(folder / f"{name}.txt", f"{caption}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); choose another folder with --out") from None
    return [folder / f"{name}.{suffix}" for suffix in SUFFIXES]
