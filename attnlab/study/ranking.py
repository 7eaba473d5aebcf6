"""Models side by side as tables: a row for each model, and each model against one on the same images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnlab.errors import UserError, check_one_of
from attnlab.report.statistics import mean_interval, wilson_interval
from attnlab.report.tables.layout import Cell, Layout, Value
from attnlab.study.board import Board
from attnlab.study.columns import CLEAN, PERCENT
from attnlab.study.effects import compare_pairs, holm
from attnlab.study.inputs import FEWEST
from attnlab.words import counted

NONE = float("nan")
#: column of the differences -> what it holds
DIFFERENCES = {
    "column": "of the board",
    "model": "which",
    "against": "which other",
    "n": "images that both have",
    "mean": "of the model on these",
    "mean_against": "of the other",
    "difference": "of the means",
    "ci_low": "its 95 % bootstrap interval, over images",
    "ci_high": "",
    "p": "two-sided, by sign flips",
    "p_holm": "corrected over the models of the column",
    "missing": "why nothing is compared",
}


class Mean(NamedTuple):
    """A number of the board: of how many images, and its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float


class Ranked(NamedTuple):
    """A board in order.

    Attributes:
        board: What it is of.
        models: Titles, the best first.
        by: The column that decides.
        against: The model with which the others are compared.
        means: Of each model and column that it has.
        differences: See DIFFERENCES.
    """

    board: Board
    models: list[str]
    by: str
    against: str
    means: Mapping[tuple[str, str], Mean]
    differences: pd.DataFrame


def rank(board: Board, sort: str | None = None, against: str | None = None) -> Ranked:
    """Order models by a column, by default accuracy under the first attack; those without it come last.

    Args:
        board: Of at least one column.
        sort: Name of the column.
        against: Title of the model that the others are compared with; by default the first.

    Raises:
        UserError: If there is no such column or model, or no column at all.
    """
    if not board.columns:
        raise UserError(f"nothing can be told from {', '.join(board.manifests)}: {'; '.join(board.notes)}")
    shares = [name for name, column in board.columns.items() if column.group == "accuracy"]
    threats = [name for name in shares if board.columns[name].measure != CLEAN]
    by = check_one_of(sort, board.columns, "--sort") if sort else next(iter([*threats, *shares, *board.columns]))
    means = {
        (model, name): _mean(values.to_numpy(), share=name in shares)
        for model, columns in board.values.items()
        for name, values in columns.items()
    }
    sign = 1 if board.columns[by].lower else -1
    models = sorted(board.values, key=lambda model: sign * means[model, by].mean if (model, by) in means else np.inf)
    first = check_one_of(against, models, "--against") if against else models[0]
    return Ranked(board, models, by, first, means, _differences(board, models, first))


def _mean(values: np.ndarray, *, share: bool) -> Mean:
    """Mean of accuracies with Wilson's interval, as Table 6 has it, of others with a bootstrap interval."""
    n, mean, *ends = mean_interval(values) if not share else (len(values), float(values.mean()))
    if share:
        ends = [PERCENT * end for end in wilson_interval(int((values > 0).sum()), n)]
    return Mean(n, mean, *ends)


def _differences(board: Board, models: list[str], against: str) -> pd.DataFrame:
    """A row for each column and other model that has it."""
    rows: list[dict[str, Any]] = []
    for name in board.columns:
        mine, start = board.values[against].get(name), len(rows)
        for model in models:
            if model != against and name in board.values[model]:
                compared = _difference(board.values[model][name], mine, against)
                rows.append({"column": name, "model": model, "against": against, **compared})
        for row, p in zip(rows[start:], holm([row.get("p", NONE) for row in rows[start:]]), strict=True):
            row["p_holm"] = p
    return pd.DataFrame(rows, columns=[*DIFFERENCES])


def _difference(values: "pd.Series[float]", others: "pd.Series[float] | None", against: str) -> dict[str, object]:
    """One model less another on the images that both have, or why not."""
    if others is None:
        return {"n": 0, "missing": f"{against} has none"}
    shared = values.index.intersection(others.index).sort_values()
    if len(shared) < FEWEST:
        return {"n": len(shared), "missing": f"they share {counted(len(shared), 'image')}, fewer than {FEWEST}"}
    effect = compare_pairs(*(np.asarray(some[shared], np.float64) for some in (values, others)))
    numbers = {name: getattr(effect, name) for name in ("difference", "ci_low", "ci_high", "p")}
    return {"n": len(shared), "mean": effect.first, "mean_against": effect.second, **numbers}


def table(ranked: Ranked) -> pd.DataFrame:
    """A row for each model, best first: title, weights, and of each column mean, interval and n; empty where none."""
    rows = []
    for model in ranked.models:
        row: dict[str, object] = {"model": model, "weights": ranked.board.weights[model]}
        for name in ranked.board.columns:
            numbers = ranked.means.get((model, name))
            of_column = (None, None, None, None) if numbers is None else (*numbers[1:], numbers.n)
            heads = (name, f"{name} ci_low", f"{name} ci_high", f"{name} n")
            row |= dict(zip(heads, of_column, strict=True))
        rows.append(row)
    frame = pd.DataFrame(rows)
    counts = {f"{name} n": "Int64" for name in ranked.board.columns}
    return frame.astype(counts)


def accuracies(ranked: Ranked) -> Layout | None:
    """Accuracy, a line for each model; None where there is none."""
    names = [name for name, column in ranked.board.columns.items() if column.group == "accuracy"]
    return columns_layout(ranked, names) if names else None


def columns_layout(ranked: Ranked, names: Sequence[str]) -> Layout:
    """Some columns, a line for each model."""
    lines: list[list[Cell]] = []
    for model in ranked.models:
        means = [ranked.means.get((model, name)) for name in names]
        cells = [_cell(one, ranked.board.columns[name].group) for name, one in zip(names, means, strict=True)]
        lines.append([model, _counts(means), *cells])
    return Layout(["model"], [], ["n", *names], lines)


def _counts(means: Sequence[Mean | None]) -> str:
    """Of how many images numbers are."""
    counts = sorted({one.n for one in means if one})
    return " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "--"


def by_condition(ranked: Ranked, group: str) -> Layout | None:
    """The measures of a group side by side, a line for each attack and model; None where there is none."""
    columns = {name: column for name, column in ranked.board.columns.items() if column.group == group}
    measures = list(dict.fromkeys(column.measure for column in columns.values()))
    conditions: dict[str, dict[str, str]] = {}
    for name, column in columns.items():
        condition = f"{'' if column.threat else CLEAN}{name.removeprefix(column.measure)}".strip()
        conditions.setdefault(condition, {})[column.measure] = name
    lines: list[list[Cell]] = []
    for condition, of_measure in conditions.items():
        for model in ranked.models:
            means = [ranked.means.get((model, of_measure.get(measure, ""))) for measure in measures]
            if any(means):
                lines.append([condition, model, _counts(means), *(_cell(one, group) for one in means)])
    return Layout(["attack", "model"], [], ["n", *measures], lines) if lines else None


def _cell(mean: Mean | None, group: str) -> Value:
    return Value(None) if mean is None else Value(mean.mean, _digits(group), "", mean.low, mean.high)


def _digits(group: str) -> int:
    return 1 if group == "accuracy" else 3


def short_layout(ranked: Ranked) -> Layout:
    """The order: the column that decides, and the difference from the model that the others are compared with."""
    name, group = ranked.by, ranked.board.columns[ranked.by].group
    rows = ranked.differences[ranked.differences["column"] == name].to_dict("records")
    found = {row["model"]: _compared(row, group) for row in rows}
    lines: list[list[Cell]] = []
    for place, model in enumerate(ranked.models, 1):
        numbers = ranked.means.get((model, name))
        first = [str(place), model, str(numbers.n)] if numbers else ["--", model, "--"]
        lines.append([*first, _cell(numbers, group), *found.get(model, ["--", Value(None), "--"])])
    return Layout(["", "model"], [], ["n", name, "n of both", f"less {ranked.against}", "p, Holm"], lines)


def _compared(row: Mapping[Any, Any], group: str) -> list[Cell]:
    """Of how many images a difference is, the difference and its p-value; in their place why nothing is compared."""
    if not pd.isna(row["missing"]):
        return [str(row["n"]), row["missing"], "--"]
    value = Value(row["difference"], _digits(group), "", row["ci_low"], row["ci_high"])
    return [str(row["n"]), value, f"{row['p_holm']:.2g}"]


def differences_layout(ranked: Ranked) -> Layout:
    """Every difference, a line each."""
    groups = {name: column.group for name, column in ranked.board.columns.items()}
    lines: list[list[Cell]] = [
        [row["column"], row["model"], *_compared(row, groups[row["column"]])]
        for row in ranked.differences.to_dict("records")
    ]
    return Layout(["column", "model"], [], ["n of both", f"less {ranked.against}", "p, Holm"], lines)
