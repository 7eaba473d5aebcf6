"""One style for all figures: sizes, colours, how they are saved."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from attnlab.errors import UserError
from attnlab.files import write_whole

#: width in inches of a column and of a page of two columns
COLUMN, PAGE = 3.3, 7.0
SUFFIXES = ("png", "pdf")
#: height in inches of the line that `mark` adds
MARK = 0.15

#: of Okabe and Ito (2008): told apart by the colour-blind too
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
#: for lines side by side: told apart by their markers too
LINES = tuple(zip((BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK), "osD^vPX", strict=True))
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

#: makes what is drawn inside a function follow the style
styled = matplotlib.rc_context(STYLE)


def blank(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


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
    """Write a figure as FOLDER/NAME.png, NAME.pdf, and its caption, if there is one, as NAME.txt.

    Raises:
        UserError: If the folder cannot be written.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in SUFFIXES]
    try:
        for path, suffix in zip(paths, SUFFIXES, strict=True):
            content = BytesIO()
            dateless = (
                {"CreationDate": None} if suffix == "pdf" else None
            )  # so that the same records give the same file
            figure.savefig(content, format=suffix, dpi=300, metadata=dateless)
            write_whole(path, content.getvalue())
        if caption:
            write_whole(folder / f"{name}.txt", f"{caption}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); choose another folder with --out") from None
    return paths
