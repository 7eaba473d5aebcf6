"""Square Attack: random search with squares, by queries alone (Andriushchenko et al. 2020, algorithms 1 and 2)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels
from attnlab.attacks import square_l2
from attnlab.attacks.balls import column
from attnlab.attacks.norms import NORMS
from attnlab.attacks.objectives import margin
from attnlab.attacks.seeding import uniform
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

P_INIT = 0.8  # share of the pixels in the first squares
#: iterations, of 10 000, after which that share is halved: sec. 3.1 and, with 500 besides, the authors' code
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def side_of_square(iteration: int, horizon: int, height: int, width: int) -> int:
    """Side in pixels of the squares tried in an iteration, the first being 0, of a schedule that ends at `horizon`."""
    passed = sum(iteration * 10_000 // horizon > halving for halving in HALVINGS)
    side = round(math.sqrt(P_INIT / 2**passed * height * width))
    return min(max(side, 1), height, width)


class _Moves(NamedTuple):
    """What is tried in a norm."""

    first_draws: Callable[[Sequence[int]], int]  # numbers that the first point of an image takes, of its (C, H, W)
    draws: Callable[[int], int]  # numbers that each further one takes, of its channels
    # (images, eps, their draws (N, first_draws)) -> first points
    start: Callable[[Images, float, Tensor], Images]
    # (best points, images, eps, their draws (N, draws), side) -> points to try
    propose: Callable[[Images, Images, float, Tensor, int], Images]
    side: Callable[[int], int]  # of the squares in this norm


def _stripes(images: Images, eps: float, draws: Tensor) -> Images:
    """Vertical stripes of one sign per channel and column."""
    count, channels, _, width = images.shape
    signs = _signs(draws).view(count, channels, 1, width)
    return NORMS["linf"].ball(images, eps)(images + eps * signs.to(images))


def _with_square(best: Images, images: Images, eps: float, draws: Tensor, side: int) -> Images:
    """A square of one sign per channel in another place."""
    change = 2 * eps * _squares(draws, side, *images.shape[2:]).to(images)
    return NORMS["linf"].ball(images, eps)(best + change)


_MOVES = {
    "linf": _Moves(
        first_draws=lambda shape: shape[0] * shape[2],
        draws=lambda channels: 2 + channels,
        start=_stripes,
        propose=_with_square,
        side=lambda side: side,
    ),
    "l2": _Moves(
        first_draws=lambda shape: square_l2.tiles(*shape[1:]) * (1 + shape[0]),
        draws=lambda channels: 5 + channels,
        start=square_l2.tiled,
        propose=square_l2.moved,
        side=lambda side: max(side, 3) | 1,  # odd
    ),
}


def square(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    eps: float,
    seeds: Sequence[int],
    *,
    queries: int = 5000,
    horizon: int | None = None,
    norm: str = "linf",
) -> Images:
    """Attack by Square Attack in a ball, as `AttackFunction.run`; it uses no gradient.

    An image leaves the batch with its first point that is misclassified; others keep that of lowest margin. `queries`
    is how many forward passes an image may cost, besides the one of the clean image; `horizon` the iterations over
    which the squares shrink, None for `queries`.
    """
    images, moves = images.detach(), _MOVES[norm]
    adversarial = images.clone()
    count, channels, height, width = images.shape
    first, each = moves.first_draws(images.shape[1:]), moves.draws(channels)
    draws = uniform(seeds, (count, first + (queries - 1) * each)).to(images.device)
    start, draws = moves.start(images, eps, draws[:, :first]), draws[:, first:].view(count, queries - 1, each)
    with frozen_eval(classifier), torch.no_grad():
        rows = (classifier(images).argmax(1) == labels).nonzero()[:, 0]
        tried = start[rows]
        best, lowest_margin = tried, torch.full_like(rows, torch.inf, dtype=torch.float64)
        for query in range(queries):
            if len(rows) == 0:
                return adversarial
            if query > 0:
                side = min(moves.side(side_of_square(query - 1, horizon or queries, height, width)), height, width)
                tried = moves.propose(best, images[rows], eps, draws[rows, query - 1], side)
            logits = classifier(tried)
            reached = margin(logits, labels[rows]).double()
            better = reached < lowest_margin
            best = torch.where(column(better), tried, best)
            lowest_margin = torch.where(better, reached, lowest_margin)
            broken = logits.argmax(1) != labels[rows]
            if broken.any():
                adversarial[rows[broken]] = tried[broken]
                rows, best, lowest_margin = rows[~broken], best[~broken], lowest_margin[~broken]
    adversarial[rows] = best
    return adversarial


def _squares(draws: Tensor, side: int, height: int, width: int) -> Tensor:
    """A square per image of one sign per channel, 0 around it, (N, C, H, W), from its row of draws, (N, 2 + C)."""
    top, left = ((draws[:, i] * (length - side + 1)).long() for i, length in enumerate((height, width)))
    rows = _within(top, side, height)[:, None, :, None]
    columns = _within(left, side, width)[:, None, None, :]
    return _signs(draws[:, 2:])[:, :, None, None] * (rows & columns)


def _within(start: Tensor, side: int, length: int) -> Tensor:
    """Whether each of `length` positions lies in [start, start + side), (N, length)."""
    offset = torch.arange(length, device=start.device) - start[:, None]
    return (offset >= 0) & (offset < side)


def _signs(draws: Tensor) -> Tensor:
    """-1 or 1 with equal chance."""
    return torch.where(draws < 0.5, -1.0, 1.0)
