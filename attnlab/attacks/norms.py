"""Norms in which attacks are bounded; no torch before one is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from attnlab.arrays import Images, PerImage


class Norm(NamedTuple):
    """Norm in which an attack is bounded."""

    length: Callable[["Tensor"], "PerImage"]  # of perturbations, (N, C, H, W)
    # (gradients, (N, C, H, W)) -> directions of length 1 in which what they are of rises most
    steepest: Callable[["Tensor"], "Tensor"]
    # (centres, eps) -> what puts points, in place, into the balls around them and into [0, 1]
    ball: Callable[["Images", float], Callable[["Tensor"], "Images"]]
    # (numbers drawn uniformly from [0, 1), (N, C, H, W); eps) -> perturbations to start from
    start: Callable[["Tensor", float], "Tensor"]
    even: bool = False  # directions hold -1, 0 and 1 alone


def _norm(*names: str, even: bool = False) -> Norm:
    """A norm of four functions of `balls`."""
    length, steepest, ball, start = (Lazy(f"attnlab.attacks.balls:{name}") for name in names)
    return Norm(length, steepest, ball, start, even)


#: norms of perturbations; a new one is four functions and a line here
NORMS = Registry(
    "--norm",
    {
        "linf": _norm("largest", "sign", "cube", "in_cube", even=True),
        "l2": _norm("euclidean", "unit", "sphere", "on_sphere"),
    },
)
