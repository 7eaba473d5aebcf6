"""Step rules: where an attack takes its gradient, and the direction of the step that follows from it."""

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.attacks import State

Steepest = Callable[[Tensor], Tensor]  # as of `Norm`
DECAY = 1.0  # mu of MI-FGSM and NI-FGSM: what is left of the gradients so far with each step


def sign(gradient: Tensor, state: State, steepest: Steepest) -> tuple[Tensor, State]:
    """The gradient's sign (Goodfellow et al. 2015; Madry et al. 2018); in L2 the gradient in length 1."""
    return steepest(gradient), state


def momentum(gradient: Tensor, state: State, steepest: Steepest, decay: float = DECAY) -> tuple[Tensor, State]:
    """The sign of accumulated gradients, each divided by its mean absolute value (MI-FGSM, Dong et al. 2018, eqs. 6-7).

    In L2 their sum in length 1 (eq. 9).
    The paper divides by the L1 norm, its authors' code by the mean, which is the norm over the number of values: the
    signs are the same. A gradient of zeros stays one.
    """
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    total = gradient / size.where(size > 0, 1)
    if state:
        total.add_(state[0], alpha=decay)
    return steepest(total), (total,)


def ahead(point: Tensor, state: State, step_length: float, decay: float = DECAY) -> Tensor:
    """Point to which the accumulated gradients lead: x + alpha mu g (NI-FGSM, Lin et al. 2020, eq. 6).

    As in the authors' code g is in units of the mean absolute value, and the point may leave the ball and [0, 1].
    """
    return torch.add(point, state[0], alpha=step_length * decay) if state else point
