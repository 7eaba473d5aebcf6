"""Convolutions that apply the activation behind them themselves, in passes without gradients on a CPU.

An activation of its own reads and writes the whole output once more; oneDNN applies it while that is in the cache.
Which convolutions have one is learned by watching a pass, so that modules and functions are found alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnlab.arrays import Logits
from attnlab.hooks import frozen_eval
from attnlab.models.trace import close

Function = Callable[..., Any]
Activation = tuple[str, tuple[float, ...]]  # as oneDNN names it, and its numbers
Pass = Callable[[Tensor], Logits]

RELU: Activation = ("relu", ())
#: those that give the same number by themselves and in a convolution; hardtanh takes its limits
ACTIVATIONS: dict[Function, Activation] = {
    F.relu: RELU,
    torch.relu: RELU,
    torch.relu_: RELU,
    Tensor.relu: RELU,
    Tensor.relu_: RELU,
    F.relu6: ("hardtanh", (0.0, 6.0)),
    F.hardtanh: ("hardtanh", ()),
}
PRECISIONS = (torch.float32, torch.bfloat16)  # that oneDNN has


@dataclass(frozen=True)
class FusedActivations:
    """Which calls of a pass are convolutions with an activation behind them.

    Attributes:
        calls: Names of the functions of torch that a pass calls, in order; one that calls others is made as it is.
        fused: Of convolutions, by their place in `calls`, the place of their activation and which it is.
    """

    calls: tuple[str, ...] = ()
    fused: dict[int, tuple[int, Activation]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Pass, images: Tensor) -> "FusedActivations":
        """Watch a pass of some images; none where there are none to fuse, or the fused pass does not give the same."""
        if images.device.type != "cpu" or images.dtype not in PRECISIONS or not _has_onednn():
            return cls()
        with _Watch() as watch:
            expected = run(images)
        found = cls(tuple(watch.calls), watch.fused)
        logits = found._fused(run, images)
        return cls() if logits is None or not close(logits, expected, images.dtype) else found

    def __call__(self, run: Pass, images: Tensor) -> Logits:
        """The pass, with what is fused; as it is where the network takes another way than when it was watched."""
        logits = self._fused(run, images)
        return run(images) if logits is None else logits

    def _fused(self, run: Pass, images: Tensor) -> Logits | None:
        """The pass with what is fused; None where nothing is, or the network takes another way."""
        if not self.fused:
            return None
        fuse = _Fuse(self)
        try:
            with fuse:
                logits = run(images)
        except _OtherWay:
            return None
        return logits if fuse.place == len(self.calls) else None


def fused_inference(network: nn.Module, run: Pass, images: Tensor) -> Pass:
    """A network's pass in eval mode with activations fused, found on some images; the last digits may move."""
    with frozen_eval(network):
        return partial(FusedActivations.of(run, images), run)


class _OtherWay(Exception):  # noqa: N818 - no error: the pass is made in another way
    """The network does not call what it called when it was watched."""


class _Watch(TorchFunctionMode):
    """Notes the functions that a pass calls, and the convolutions whose output an activation alone reads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.fused: dict[int, tuple[int, Activation]] = {}
        self.outputs: dict[int, tuple[Tensor, int]] = {}  # by their identity, and the place of their convolution

    def __torch_function__(
        self, func: Function, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        place = len(self.calls)
        self.calls.append(_name(func))
        result = func(*args, **kwargs)
        for tensor in _tensors((args, kwargs)):
            output, convolution = self.outputs.get(id(tensor), (None, -1))
            if output is None:
                continue
            first = args and tensor is args[0] and convolution not in self.fused
            if first and func in ACTIVATIONS:
                self.fused[convolution] = place, _activation(func, *args[1:], **kwargs)
                if result is not output:
                    continue  # a later reader of the output would want it without the activation
            else:
                self.fused.pop(convolution, None)
            del self.outputs[id(tensor)]
        batches = func is torch.conv2d and result.ndim == 4 and result.dtype in PRECISIONS
        if batches and not _pads_by_name(*args, **kwargs):
            self.outputs[id(result)] = result, place
        return result


class _Fuse(TorchFunctionMode):
    """Makes a pass with what is fused."""

    def __init__(self, known: FusedActivations) -> None:
        super().__init__()
        self.known = known
        self.place = 0
        self.awaited: dict[int, Tensor] = {}  # outputs that have their activation, by the place that it had

    def __torch_function__(
        self, func: Function, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        place, self.place = self.place, self.place + 1
        if place >= len(self.known.calls) or self.known.calls[place] != _name(func):
            raise _OtherWay
        if place in self.awaited:
            output = self.awaited.pop(place)
            if not args or args[0] is not output:
                raise _OtherWay
            return output
        if place not in self.known.fused:
            return func(*args, **kwargs)
        activation_place, activation = self.known.fused[place]
        self.awaited[activation_place] = output = _convolve(activation, *args, **kwargs)
        return output


def _convolve(
    activation: Activation,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d and the activation, as torch.compile has them made."""
    steps = [[value] * 2 if isinstance(value, int) else [*value] for value in (padding, stride, dilation)]
    name, numbers = activation
    output: Tensor = torch.ops.mkldnn._convolution_pointwise(input, weight, bias, *steps, groups, name, [*numbers], "")
    return output


def _pads_by_name(
    _input: Tensor, _weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, *_: Any, **__: Any
) -> bool:
    return isinstance(padding, str)


def _activation(func: Function, *settings: Any, **named: Any) -> Activation:
    """Name and numbers of an activation as it is called."""
    return ("hardtanh", _limits(*settings, **named)) if func is F.hardtanh else ACTIVATIONS[func]


def _limits(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> tuple[float, float]:
    return float(min_val), float(max_val)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)  # type: ignore[no-untyped-call]


def _name(func: Function) -> str:
    """A function's name, with its owner's: of what reads an attribute, that attribute's."""
    owner = getattr(getattr(func, "__self__", None), "__name__", "")
    return f"{owner}.{getattr(func, '__qualname__', type(func).__name__)}"


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors([*values.values()])
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
