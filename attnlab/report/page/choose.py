"""Choose the images that a page of a large run draws, by a rule and not by hand; it has the numbers of all."""

from collections.abc import Iterator

import numpy as np

from attnlab.report.page.columns import OUTCOMES, Columns
from attnlab.report.page.images import Figure

#: images of a run beyond which its page draws some alone
LARGE = 2_000
#: parts, by rank, of the images of an outcome; how many are drawn of each part, and from both ends of each figure
PARTS, OF_EACH, EXTREMES, SEED = 10, 12, 4, 0


def choose(columns: Columns) -> list[int]:
    """Places of the images to draw, rising; `rule` says how they are chosen."""
    draw = np.random.default_rng(SEED)
    chosen = {int(place) for part in _parts(columns) for place in draw.permutation(part)[:OF_EACH]}
    for figure in columns.figures:
        for values in columns.values[figure.key]:
            numbers = np.asarray(values)
            order = np.argsort(numbers, kind="stable")[: np.count_nonzero(~np.isnan(numbers))]  # NaN comes last
            chosen.update(order[:EXTREMES].tolist(), order[-EXTREMES:].tolist())
    return sorted(chosen)


def _parts(columns: Columns) -> Iterator[np.ndarray]:
    """Places of the images of each outcome of the first eps, in parts by rank; those without a value are one more."""
    values, codes = columns.of(_ranked(columns), 0), np.asarray(columns.groups[0])
    for code in range(len(OUTCOMES)):
        places = np.flatnonzero(codes == code)
        known = places[~np.isnan(values[places])]
        yield from np.array_split(known[np.argsort(values[known], kind="stable")], PARTS)
        yield places[np.isnan(values[places])]


def _ranked(columns: Columns) -> Figure:
    """The figure by which images are ranked: the clean IoU with ground truth, else the clean confidence."""
    figures = {figure.key: figure for figure in columns.figures}
    return figures.get("iou_clean", figures["confidence_clean"])


def rule(columns: Columns, budgets: list[str]) -> str:
    """How `choose` chooses, in words; `budgets` are the names of all eps."""
    first, each = (f" at ε {budgets[0]}", " at each ε") if len(budgets) > 1 else ("", "")
    return (
        f"of each outcome of the attack{first}, ranked by {_ranked(columns).name}, {OF_EACH} at random of each tenth "
        f"and of those without it (seed {SEED}); of each figure{each} the {EXTREMES} lowest and the {EXTREMES} highest"
    )
