"""Softplus in place of ReLU, for gradients of maps (Dombrowski et al. 2019).

A map that is itself a gradient by the images moves with the network's second derivatives, and those of a network of
ReLUs are 0 almost everywhere. The softplus ln(1 + exp(beta x)) / beta has some, and is the ReLU for large beta.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

RELU = (torch.relu, F.relu, Tensor.relu, torch.relu_, F.relu_, Tensor.relu_)
BOUNDED = (F.relu6, F.hardtanh)  # what modules of ReLU6 call is the latter


def softplus_for_relu(beta: float | None) -> AbstractContextManager[object]:
    """Let every ReLU and ReLU6 called inside the block be a softplus of that sharpness; None leaves them as they are.

    It does not matter how a network calls them (modules, functions, methods, in place), and nothing of it is changed.
    """
    return nullcontext() if beta is None else _SoftplusForReLU(beta)


class _SoftplusForReLU(TorchFunctionMode):
    """Redirect calls of ReLU."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in RELU:
            return self._softplus(func, *args, **given)
        if func in BOUNDED:
            return self._bounded(func, *args, **given)
        return func(*args, **given)

    def _softplus(self, func: Callable[..., Any], input: Tensor, inplace: bool = False) -> Tensor:
        in_place = inplace or func.__name__.endswith("_")
        return _into(input, F.softplus(input.clone() if in_place else input, self.beta), in_place=in_place)

    def _bounded(
        self,
        func: Callable[..., Any],
        input: Tensor,
        min_val: float | bool = 0.0,
        max_val: float = 6.0,
        inplace: bool = False,
    ) -> Tensor:
        if func is F.relu6:  # whose second argument is `inplace`
            min_val, inplace = 0.0, inplace or bool(min_val)
        values = input.clone() if inplace else input
        low, high = F.softplus(values - min_val, self.beta), F.softplus(values - max_val, self.beta)
        return _into(input, low - high + min_val, in_place=inplace)


def _into(values: Tensor, smooth: Tensor, *, in_place: bool) -> Tensor:
    """The smooth values, in the tensor that they are of where it is asked for."""
    return values.copy_(smooth) if in_place else smooth
