"""Tables as LaTeX, in the paper's layout (booktabs): a layout and a caption in, text out."""

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import NamedTuple

from attnlab.errors import printable
from attnlab.report.outcomes import CHANGED, KEPT
from attnlab.report.tables.escape import latex_text
from attnlab.report.tables.layout import Cell, Layout, Value

#: what the paper sets in mathematics
SYMBOLS = {
    **{f"I_{name}": rf"$\mathcal{{I}}_{{{name}}}$" for name in (*CHANGED.names, *KEPT.names)},
    "IoU_Att_GT": r"IoU$_{Att\_GT}$",
    "IoU_ori_adv": r"IoU$_{ori\_adv}$",
    "eps": r"$\varepsilon$",
}


class Size(NamedTuple):
    """A size of print: its command, the width of its letters in those of 10 pt, points on each side of a column."""

    command: str
    letters: float
    gap: float


#: TeX points of a column of a two-column paper, of the page of `article` in one column, and in two
COLUMN, PAGE, WIDE_PAGE = 229.0, 345.0, 469.0
#: sizes of print, the largest first
SIZES = (
    Size(r"\normalsize", 1.0, 6.0),
    Size(r"\small", 0.92, 4.0),
    Size(r"\footnotesize", 0.85, 3.0),
    Size(r"\scriptsize", 0.8, 2.0),
    Size(r"\tiny", 0.68, 1.5),
)
COLUMN_SIZES = 3  # sizes that a table of one column may have: what is smaller had better span the page
#: points of a character in Computer Modern at 10 pt; others by their case
WIDTHS = {
    **dict.fromkeys("mwMW%+_<>", 8.5),
    **dict.fromkeys(".,:;[]()!|' -/ilj", 3.9),
    **dict.fromkeys("0123456789", 5),
}
INTERVAL = 0.8  # letters of an interval, below a value of 10 pt
COMMENT = 110  # characters of a line of a comment


def as_latex(layout: Layout, caption: str, *, label: str = "", source: str = "") -> str:
    r"""A table of that layout in a booktabs environment, intervals in brackets below their values.

    A table that fits no column of a two-column paper is a `table*`, which spans both and is a `table` elsewhere. The
    source, where its numbers come from, is a comment; `\ref` finds it by its label, if there is one.
    """
    columns, span = len(layout.first) + len(layout.heads), len(layout.heads) // max(1, len(layout.groups))
    top = [""] * len(layout.first) + [rf"\multicolumn{{{span}}}{{c}}{{{_head(group)}}}" for group in layout.groups]
    starts = [len(layout.first) + 1 + number * span for number in range(len(layout.groups))]
    rules = "".join(rf"\cmidrule(lr){{{start}-{start + span - 1}}}" for start in starts)
    size = next((size for size in SIZES[:COLUMN_SIZES] if _width(layout, size) <= COLUMN), None)
    environment = "table*" if size is None else "table"
    body = [
        *wrap(
            f"needs \\usepackage{{booktabs}}. {printable(source)}", COMMENT, initial_indent="% ", subsequent_indent="% "
        ),
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{_caption(caption)}}}",
        *([rf"\label{{{label}}}"] if label else []),
        _across(layout) if size is None else _set(size),
        rf"\begin{{tabular}}{{{'c' * columns}}}",
        r"\toprule",
        *([_line(top), rules] if layout.groups else []),
        _line(map(_head, (*layout.first, *layout.heads))),
        r"\midrule",
        *(line for cells in layout.lines for line in _lines(cells)),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{environment}}}",
    ]
    return "\n".join(body) + "\n"


def _across(layout: Layout) -> str:
    """The size of a table that spans the page, which TeX chooses by how wide that is."""
    narrow, wide = (
        next((size for size in SIZES if _width(layout, size) <= page), SIZES[-1]) for page in (PAGE, WIDE_PAGE)
    )
    return _set(wide) if narrow == wide else rf"\ifdim\textwidth<{WIDE_PAGE:g}pt {_set(narrow)}\else {_set(wide)}\fi"


def _set(size: Size) -> str:
    return rf"{size.command}\setlength{{\tabcolsep}}{{{size.gap:g}pt}}"


def _width(layout: Layout, size: Size) -> float:
    """Points that a table takes, about: rather too many than too few."""
    total = 0.0
    for head, cells in zip([*layout.first, *layout.heads], layout.columns(), strict=True):
        subscript = head.partition("_")[2] if head in SYMBOLS else ""  # of a smaller size
        widest = _letters(head.removesuffix(subscript)) + INTERVAL * _letters(subscript)
        for cell in cells:
            text, below = _texts(cell)
            widest = max(widest, _letters(text), INTERVAL * _letters(below))
        total += size.letters * widest + 2 * size.gap
    return total


def _letters(text: str) -> float:
    return sum(WIDTHS.get(character, 5.2 if character.islower() else 7.3) for character in text)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _caption(text: str) -> str:
    """A caption, the groups' names set as the paper sets them."""
    escaped = latex_text(text)
    for name in (name for name in SYMBOLS if name.startswith("I_")):
        escaped = escaped.replace(latex_text(name), SYMBOLS[name])
    return escaped


def _head(text: str) -> str:
    return SYMBOLS.get(text) or latex_text(text)


def _lines(cells: Sequence[Cell]) -> list[str]:
    """A line of values, and below it one of their intervals where there are any."""
    texts, intervals = zip(*map(_texts, cells), strict=True)
    lines = [_line(map(latex_text, texts))]
    if any(intervals):
        lines.append(_line(rf"{{\scriptsize {text}}}" if text else "" for text in intervals))
    return lines


def _texts(cell: Cell) -> tuple[str, str]:
    """The text of a cell and of its interval."""
    return (cell.text(), cell.interval()) if isinstance(cell, Value) else (cell, "")
