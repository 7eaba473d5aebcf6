"""Tables as LaTeX, in the paper's layout (booktabs): a layout and a caption in, text out."""

from collections.abc import Sequence

from attnlab.report.layout import Cell, Layout, Value

#: what the paper sets in mathematics
SYMBOLS = {
    "I_succeed": r"$\mathcal{I}_{succeed}$",
    "I_fail": r"$\mathcal{I}_{fail}$",
    "IoU_Att_GT": r"IoU$_{Att\_GT}$",
    "IoU_ori_adv": r"IoU$_{ori\_adv}$",
    "eps": r"$\varepsilon$",
}
SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


def as_latex(layout: Layout, caption: str) -> str:
    """A table of that layout in a booktabs environment, intervals in brackets behind their values."""
    columns, span = len(layout.first) + len(layout.heads), len(layout.heads) // max(1, len(layout.groups))
    top = [""] * len(layout.first) + [rf"\multicolumn{{{span}}}{{c}}{{{_head(group)}}}" for group in layout.groups]
    starts = [len(layout.first) + 1 + number * span for number in range(len(layout.groups))]
    rules = "".join(rf"\cmidrule(lr){{{start}-{start + span - 1}}}" for start in starts)
    body = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{{'c' * columns}}}",
        r"\toprule",
        *([_line(top), rules] if layout.groups else []),
        _line([_head(head) for head in (*layout.first, *layout.heads)]),
        r"\midrule",
        *(_line([_cell(cell) for cell in cells]) for cells in layout.lines),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(body) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(text: str) -> str:
    return SYMBOLS.get(text) or _escaped(text)


def _cell(cell: Cell) -> str:
    if not isinstance(cell, Value):
        return _escaped(cell)
    interval = cell.interval()
    return _escaped(cell.told()) + (rf" {{\scriptsize {interval}}}" if interval else "")


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)
