"""Convolutions that apply the activation behind them themselves, in passes without gradients on a CPU.

An activation of its own reads and writes the whole output once more; oneDNN applies it while that is in the cache.
Which convolutions have one is learned by watching a pass, so that modules and functions are found alike. A pass that
is not as it was watched is made as it is.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import index
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnlab.arrays import Logits
from attnlab.hooks import frozen_eval
from attnlab.models.feature_map import weights_key
from attnlab.models.trace import close

Function = Callable[..., Any]
Pass = Callable[[Tensor], Logits]
Arguments = tuple[Any, ...]
Named = dict[str, Any]


class Activation(NamedTuple):
    """An activation as it is called."""

    name: str  # as oneDNN has it
    limits: tuple[float, ...] = ()
    in_place: bool = False


#: those that give the same number by themselves and in a convolution; hardtanh is called with its limits
ACTIVATIONS = {
    F.relu: Activation("relu"),
    torch.relu: Activation("relu"),
    torch.relu_: Activation("relu", in_place=True),
    Tensor.relu: Activation("relu"),
    Tensor.relu_: Activation("relu", in_place=True),
    F.relu6: Activation("hardtanh", (0.0, 6.0)),
    F.hardtanh: Activation("hardtanh"),
}
#: what makes no NaN where there was none
KEEPING = (F.pad, F.dropout, torch.cat, torch.max_pool2d, F.avg_pool2d)
PRECISIONS = (torch.float32, torch.bfloat16)  # that oneDNN has


@dataclass(frozen=True)
class FusedActivations:
    """Which calls of a pass are convolutions with an activation behind them.

    Attributes:
        calls: Names of the functions of torch that a pass calls, in order.
        fused: Of convolutions, by their place in `calls`, the place of their activation and which it is.
    """

    calls: tuple[str, ...] = ()
    fused: dict[int, tuple[int, Activation]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: nn.Module, run: Pass, images: Tensor) -> "FusedActivations":
        """Watch a network's pass of some images; none where there are none to fuse, or fusing changes its logits."""
        # where somebody watches, an encoder does not take the way on which it leaves padding out
        if images.device.type != "cpu" or any(isinstance(one, nn.TransformerEncoder) for one in network.modules()):
            return cls()
        with torch.random.fork_rng([]), frozen_eval(network), torch.no_grad():
            expected = run(images.clone())
            try:
                with _Watch() as watch:
                    run(images.clone())
                found = cls(tuple(watch.calls), watch.fused)
                logits = found._fused(run, images, trial=True)
            except Exception:  # the network cannot be watched, or oneDNN does not have what it asks for
                return cls()
        return cls() if logits is None or not close(logits, expected, images.dtype) else found

    def __call__(self, run: Pass, images: Tensor) -> Logits:
        """The pass, with what is fused; as it is where the network takes another way than when it was watched."""
        logits = self._fused(run, images)
        return run(images) if logits is None else logits

    def _fused(self, run: Pass, images: Tensor, *, trial: bool = False) -> Logits | None:
        """The pass with what is fused; None where nothing is, or the network takes another way."""
        if not self.fused:
            return None
        fuse = _Fuse(self, trial)
        try:
            with fuse:
                logits = run(images.clone())  # on which a network may work in place
        except Exception:
            if not fuse.lost:
                raise
        return None if fuse.lost or fuse.place != len(self.calls) else logits


class FusedInference:
    """Passes of a network with activations fused, which are looked for again where its weights or modules changed."""

    def __init__(self) -> None:
        self.key = 0
        self.found = FusedActivations()

    def __call__(self, network: nn.Module, run: Pass, noise: Callable[[], Tensor], images: Tensor) -> Logits:
        """The network's pass `run` of some images; `noise` makes others that it is watched with."""
        key = weights_key(network)
        if key != self.key:
            self.key, self.found = key, FusedActivations.of(network, run, noise())
        return self.found(run, images)


class _OtherWay(Exception):  # noqa: N818 - no error: the pass is made in another way
    """The pass is not as it was watched."""


class _Watch(TorchFunctionMode):
    """Notes the functions that a pass calls, and the convolutions whose output an activation alone reads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.fused: dict[int, tuple[int, Activation]] = {}
        self.outputs: dict[int, tuple[Tensor, int]] = {}  # by their identity, and the place of their convolution

    def __torch_function__(
        self, func: Function, types: object, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        place = len(self.calls)
        self.calls.append(_name(func))
        result = func(*args, **kwargs)
        for tensor in _tensors((args, kwargs)):
            output, convolution = self.outputs.get(id(tensor), (None, -1))
            if output is None:
                continue
            if func in ACTIVATIONS and args and tensor is args[0] and convolution not in self.fused:
                self.fused[convolution] = place, _activation(func, *args[1:], **kwargs)
                if result is not output:
                    continue  # a later reader of the output would want it without the activation
            else:
                self.fused.pop(convolution, None)
            del self.outputs[id(tensor)]
        if func is torch.conv2d and _in_onednn(*args, **kwargs):
            self.outputs[id(result)] = result, place
        return result


class _Fuse(TorchFunctionMode):
    """Makes a pass with what is fused; in a trial, what the activation alone may read is NaN."""

    def __init__(self, known: FusedActivations, trial: bool) -> None:
        super().__init__()
        self.known, self.trial = known, trial
        self.place = 0
        self.lost = False  # also where the network caught the exception
        self.awaited: dict[int, tuple[Tensor, Tensor, Activation]] = {}  # by the place of the activation
        self.outputs: dict[int, weakref.ref[Tensor]] = {}  # of convolutions, by identity: nothing else may read them
        self.numbers = _Unchanged()  # in which there is no NaN

    def __torch_function__(
        self, func: Function, types: object, args: Arguments = (), kwargs: Named | None = None
    ) -> Any:
        kwargs = kwargs or {}
        place, self.place = self.place, self.place + 1
        if self.lost or self.known.calls[place : place + 1] != (_name(func),):
            self._other_way()
        if place in self.awaited:
            output, activated, activation = self.awaited.pop(place)
            same = func in ACTIVATIONS and args and args[0] is output
            if not same or _activation(func, *args[1:], **kwargs) != activation:
                self._other_way()
            if not activation.in_place:
                return self.numbers.add(activated.view_as(activated))
            del self.outputs[id(output)]
            return self.numbers.add(output.copy_(activated) if self.trial else output)
        read = list(_tensors((args, kwargs)))
        if any((known := self.outputs.get(id(one))) and known() is one for one in read):
            self._other_way()
        if place not in self.known.fused:
            result = func(*args, **kwargs)
            return self.numbers.add(result) if func in KEEPING and all(one in self.numbers for one in read) else result
        images = args[0] if args else kwargs["input"]
        # oneDNN's activations make 0 of NaN
        if not _in_onednn(*args, **kwargs) or not (images in self.numbers or images.sum().isfinite()):
            self._other_way()
        activation_place, activation = self.known.fused[place]
        activated = _convolve(activation, *args, **kwargs)
        output = torch.full_like(activated, torch.nan) if self.trial else activated
        self.awaited[activation_place] = output, activated, activation
        self.outputs[id(output)] = weakref.ref(output)
        return output

    def _other_way(self) -> NoReturn:
        self.lost = True
        raise _OtherWay


class _Unchanged:
    """Tensors by their identity, for as long as others hold them and nothing works on them in place."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def add(self, tensor: Tensor) -> Tensor:
        if not tensor.is_inference():  # of which torch counts no versions
            self._known[id(tensor)] = weakref.ref(tensor), tensor._version
        return tensor

    def __contains__(self, tensor: Tensor) -> bool:
        known, version = self._known.get(id(tensor), (None, 0))
        return known is not None and known() is tensor and tensor._version == version


def _in_onednn(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> bool:
    """Whether oneDNN has what torch.conv2d is called with."""
    tensors = [tensor for tensor in (input, weight, bias) if tensor is not None]
    mkldnn: Any = torch.backends.mkldnn
    return (
        all(type(one) in (Tensor, nn.Parameter) and one.layout == torch.strided and one.numel() for one in tensors)
        and all(one.device.type == "cpu" and one.dtype == input.dtype for one in tensors)
        and input.dtype in PRECISIONS
        and input.ndim == weight.ndim == 4
        and (bias is None or bias.is_contiguous())
        and not isinstance(padding, str)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and bool(mkldnn.is_available() and mkldnn.enabled)
        and (input.dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _convolve(
    activation: Activation,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d and the activation, as torch.compile has them made."""
    steps = [
        [index(value)] * 2 if hasattr(value, "__index__") else list(map(index, value))
        for value in (padding, stride, dilation)
    ]
    name, limits, _ = activation
    output: Tensor = torch.ops.mkldnn._convolution_pointwise(input, weight, bias, *steps, groups, name, [*limits], "")
    return output


def _activation(func: Function, *settings: Any, **named: Any) -> Activation:
    """An activation as it is called."""
    if func is F.hardtanh:
        return _hardtanh(*settings, **named)
    usual = ACTIVATIONS[func]
    return usual._replace(in_place=usual.in_place or bool([*settings, named.get("inplace")][0]))


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Activation:
    return Activation("hardtanh", (float(min_val), float(max_val)), inplace)


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
