"""Tables as LaTeX, in the paper's layout (booktabs): a frame and a caption in, text out."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

GROUP_HEADS = (r"$\mathcal{I}_{succeed}$", r"$\mathcal{I}_{fail}$")
SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


def shares_as_latex(frame: pd.DataFrame, caption: str, head: str) -> str:
    """Tables 1 and 2: per group its percentage and a mean, one line per eps and one for the paper's values."""
    column = str(frame.columns[list(frame.columns).index("percent") + 1])
    lines = []
    for eps, rows in _by_eps(frame):
        cells = [eps] if eps else []
        for row in rows:
            cells += [_number(row["percent"], 1, r"\%"), _interval(row, column)]
        lines.append(cells)
    if frame[f"paper_{column}"].notna().any():
        rows = _by_eps(frame)[0][1]
        paper = [[_number(row["paper_percent"], 1, r"\%"), _number(row[f"paper_{column}"])] for row in rows]
        lines.append([*(["paper"] if "eps" in frame else []), *paper[0], *paper[1]])
    first = [r"$\varepsilon$"] if "eps" in frame else []
    return _table(first, GROUP_HEADS, ["Percentage", head] * 2, lines, caption)


def sizes_as_latex(frame: pd.DataFrame, caption: str, head: str, first_head: str) -> str:
    """Tables 3, 4, 5: one line per number of cells or features, one column per group, the paper's values beside."""
    with_eps = int("eps" in frame)
    sizes, column = str(frame.columns[with_eps]), str(frame.columns[with_eps + 3])
    with_paper = frame["paper"].notna().any()
    lines = []
    for eps, rows in _by_eps(frame):
        for succeed, fail in zip(rows[::2], rows[1::2], strict=True):
            cells = [*([eps] if eps else []), str(succeed[sizes])]
            for row in (succeed, fail):
                cells += [_interval(row, column), *([_number(row["paper"])] if with_paper else [])]
            lines.append(cells)
    first = [*([r"$\varepsilon$"] if "eps" in frame else []), first_head]
    return _table(first, GROUP_HEADS, [head, *(["paper"] if with_paper else [])] * 2, lines, caption)


def accuracies_as_latex(frame: pd.DataFrame, caption: str) -> str:
    """Table 6: a row per model and a column per attack, the paper's values in a row below where there are any."""
    attacks = list(dict.fromkeys(frame["attack"]))
    lines = []
    for (model, defense), rows in frame.groupby(["model", "defense"], sort=False):
        by_attack = rows.set_index("attack")
        names = [_escaped(str(model)), _escaped(str(defense))]
        lines.append([*names, *(_number(by_attack["accuracy"].get(attack), 2) for attack in attacks)])
        if by_attack["paper"].notna().any():
            lines.append(["paper", names[1], *(_number(by_attack["paper"].get(attack), 2) for attack in attacks)])
    return _table(["Model", "Defense", *map(_escaped, attacks)], (), [], lines, caption)


def plain_as_latex(frame: pd.DataFrame, caption: str) -> str:
    """A frame as it stands, without columns that are empty."""
    shown = frame.dropna(axis=1, how="all")
    lines = [
        [
            f"{value:.2g}" if name == "p" else _number(value, 2) if isinstance(value, float) else _escaped(str(value))
            for name, value in zip(shown.columns, row, strict=True)
        ]
        for row in shown.itertuples(index=False)
    ]
    return _table([_escaped(str(name)) for name in shown.columns], (), [], lines, caption)


#: name -> function(frame, caption)
LATEX: dict[str, Callable[[pd.DataFrame, str], str]] = {
    "table1": lambda frame, caption: shares_as_latex(frame, caption, r"IoU$_{Att\_GT}$"),
    "table2": lambda frame, caption: shares_as_latex(frame, caption, "Top 1 Confidence"),
    "table3": lambda frame, caption: sizes_as_latex(frame, caption, r"IoU$_{ori\_adv}$", r"\#cell"),
    "table4": lambda frame, caption: sizes_as_latex(frame, caption, r"IoU$_{Att\_GT}$", r"\#.Features"),
    "table4_adversarial": lambda frame, caption: sizes_as_latex(frame, caption, r"IoU$_{Att\_GT}$", r"\#.Features"),
    "table5": lambda frame, caption: sizes_as_latex(frame, caption, r"IoU$_{ori\_adv}$", r"\#.Features"),
    "table6": accuracies_as_latex,
    "table6_worst": accuracies_as_latex,
    "table7": plain_as_latex,
    "paired": plain_as_latex,
    "noise_floor": lambda frame, caption: sizes_as_latex(frame, caption, "IoU of two seeds", r"\#.Features"),
}


def as_fraction(eps: float) -> str:
    """A budget as people write it: 16/255 rather than 0.06274509803921569."""
    levels = eps * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


def _table(
    first: Sequence[str], groups: Sequence[str], heads: Sequence[str], lines: Sequence[Sequence[str]], caption: str
) -> str:
    width = len(heads) // max(1, len(groups))
    top = [""] * len(first) + [rf"\multicolumn{{{width}}}{{c}}{{{group}}}" for group in groups]
    rules = "".join(
        rf"\cmidrule(lr){{{len(first) + 1 + number * width}-{len(first) + (number + 1) * width}}}"
        for number in range(len(groups))
    )
    body = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{{'c' * (len(first) + len(heads))}}}",
        r"\toprule",
        *([_line(top), rules] if groups else []),
        _line([*first, *heads]),
        r"\midrule",
        *map(_line, lines),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(body) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _by_eps(frame: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of each eps, with the eps as text; empty text where the frame has one eps only."""
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    if "eps" not in frame:
        return [("", rows)]
    return [(as_fraction(eps), [row for row in rows if row["eps"] == eps]) for eps in dict.fromkeys(frame["eps"])]


def _interval(row: dict[str, Any], column: str) -> str:
    if pd.isna(row[column]):
        return "--"
    if pd.isna(row["ci_low"]):
        return _number(row[column])
    return rf"{row[column]:.3f} {{\scriptsize [{row['ci_low']:.3f}, {row['ci_high']:.3f}]}}"


def _number(value: float | None, digits: int = 3, unit: str = "") -> str:
    return "--" if pd.isna(value) else f"{value:.{digits}f}{unit}"


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)
