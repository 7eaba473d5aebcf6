"""A network each of whose activations runs as a module of its own, so that captum can change how it is differentiated.

Captum changes the gradient of an nn.ReLU and its like by hooks on modules. Networks call functions instead, use one
module several times, or overwrite its input. Here every such call of a pass is led to a fresh module, which captum
hooks; the network itself gets no hook.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnlab.arrays import Images, Logits
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

Function = Callable[..., Any]

#: functions that work in place -> the same that do not
OUT_OF_PLACE: Mapping[Function, Function] = {
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
    F.hardtanh_: F.hardtanh,
    F.elu_: F.elu,
    F.leaky_relu_: F.leaky_relu,
    torch.selu_: torch.selu,
    torch.celu_: torch.celu,
    Tensor.sigmoid_: torch.sigmoid,
    torch.sigmoid_: torch.sigmoid,
    Tensor.tanh_: torch.tanh,
    torch.tanh_: torch.tanh,
}
#: ReLU and ReLU6 by all their names; the last one is ReLU6 where its lower end is 0
RECTIFIERS: frozenset[Function] = frozenset({torch.relu, Tensor.relu, F.relu, F.relu6, F.hardtanh})
#: functions that stand in a ReLU's place in other networks
SMOOTH: frozenset[Function] = frozenset(
    {F.gelu, F.silu, F.mish, F.hardswish, F.elu, F.selu, torch.selu, F.celu, torch.celu, F.leaky_relu, F.prelu}
)
#: functions of one number each
ELEMENTWISE: frozenset[Function] = (
    RECTIFIERS
    | SMOOTH
    | {torch.sigmoid, Tensor.sigmoid, torch.tanh, Tensor.tanh, F.hardsigmoid, F.logsigmoid, F.softplus, F.softsign}
)
SAME = 1e-3  # part of the largest logit that kernels may move a logit by, from pass to pass
POOLS: frozenset[Function] = frozenset({torch.max_pool2d, F.max_pool2d})


class Call(NamedTuple):
    """One call of a torch function in a pass."""

    function: Function  # never one that works in place
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the function, for messages."""
        return getattr(self.function, "__name__", str(self.function)).strip("_")

    @property
    def rectifies(self) -> bool:
        """Whether it is a ReLU or ReLU6."""
        return self.function in RECTIFIERS and (self.function is not F.hardtanh or self.options.get("min_val") == 0)

    def run(self) -> Any:
        """Make the call."""
        return self.function(*self.arguments, **self.options)


class Calls(TorchFunctionMode):
    """Hand every call of a torch function inside the block to `see`, whose answer stands for the call's.

    Functions that work in place are called in the form that does not; the calls that a function makes are not seen.
    """

    def __init__(self, see: Callable[[Call], Any]) -> None:
        super().__init__()
        self.see = see

    def __torch_function__(
        self, func: Function, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer one call."""
        options = dict(kwargs or {})
        if func in ELEMENTWISE:
            options.pop("inplace", None)
        return self.see(Call(OUT_OF_PLACE.get(func, func), args, options))


def calls_of(classifier: Classifier) -> list[Call]:
    """The calls of a pass of noise, tensors among their arguments as what shape they have.

    Raises:
        UserError: If the logits are others where activations do not work in place.
    """
    calls: list[Call] = []

    def note(call: Call) -> Any:
        shapes = tuple(_shape(argument) for argument in call.arguments)
        calls.append(Call(call.function, shapes, {name: _shape(value) for name, value in call.options.items()}))
        return call.run()

    images = classifier.noise(1)
    with frozen_eval(classifier), torch.no_grad():
        expected, normalised = classifier(images), classifier.normalise(images)
        with Calls(note):
            logits = classifier.logits(normalised)
    if not (logits - expected).abs().max() <= SAME * expected.abs().max():
        raise UserError(
            "expected activations whose input is used no more where they overwrite it, got other logits where they do "
            "not; write them without inplace=True"
        )
    return calls


def _shape(value: Any) -> Any:
    return torch.empty(value.shape, device="meta") if isinstance(value, Tensor) else value


#: network -> its calls of a pass: seen once
_SEEN: WeakKeyDictionary[nn.Module, list[Call]] = WeakKeyDictionary()


def known_calls(classifier: Classifier) -> list[Call]:
    """The same, looked at once for each network."""
    if classifier.network not in _SEEN:
        _SEEN[classifier.network] = calls_of(classifier)
    return _SEEN[classifier.network]


class ActivationModules(nn.Module):
    """A classifier whose calls of some functions run as modules of their own, its only children, in their order."""

    def __init__(self, classifier: Classifier, functions: frozenset[Function]) -> None:
        super().__init__()
        self._classifier = (classifier,)  # in a tuple, so that it is no child
        self._functions = functions
        self._next = 0
        calls = [call for call in known_calls(classifier) if call.function in functions]
        self.activations = nn.ModuleList(self.module_for(call) for call in calls)

    def module_for(self, call: Call) -> nn.Module:
        """A fresh module of the kind whose rule captum applies to a call: it asks modules for nothing but that."""
        return nn.MaxPool2d(1) if call.function in POOLS else nn.ReLU()

    def forward(self, images: Images) -> Logits:
        """The classifier's logits, (N, K)."""
        return self.run(self._classifier[0], images)

    def run(self, function: Callable[[Tensor], Logits], values: Tensor) -> Logits:
        """What a function of the classifier gives, its calls led to the modules."""
        self._next = 0
        with Calls(self._answer):
            return function(values)

    def _answer(self, call: Call) -> Any:
        if call.function not in self._functions:
            return call.run()
        if self._next == len(self.activations):
            raise UserError("expected as many activations in each pass of the network, got more than in the first")
        module = self.activations[self._next]
        self._next += 1
        value, *arguments = call.arguments if call.arguments else (call.options.pop("input"),)
        if not value.requires_grad:  # of parameters alone
            return call.function(value, *arguments, **call.options)
        return self.answer(module, Call(call.function, (value, *arguments), call.options))

    def answer(self, module: nn.Module, call: Call) -> Any:
        """Make a call as the module's forward."""
        value, *arguments = call.arguments
        if call.function in POOLS:
            return pooled(module, value, *arguments, **call.options)
        function, options = call.function, call.options  # the call itself would hold the pass's graph for good
        return running(module, lambda given: function(given, *arguments, **options))(value)


def running(module: nn.Module, forward: Callable[..., Tensor]) -> nn.Module:
    """Give a module another forward."""
    module.forward = forward
    return module


def pooled(
    module: nn.Module,
    value: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Max pooling, by a module whose windows do not overlap: captum's rule for DeepLift is wrong where they do.

    Windows that overlap are laid out beside each other first, each a column of its own.
    """
    kernel, stride, padding, dilation = (
        _pair(size) for size in (kernel_size, stride or kernel_size, padding, dilation)
    )
    size = value.shape[2:]
    whole = all(length % step == 0 for length, step in zip(size, kernel, strict=True))
    if kernel == stride and whole and padding == (0, 0) and dilation == (1, 1):
        return _as_pool(module, kernel)(value)  # type: ignore[no-any-return]
    cells = F.max_pool2d(value.detach(), kernel, stride, padding, dilation, ceil_mode).shape[2:]
    needed = [
        (count - 1) * step + wide * (length - 1) + 1
        for count, step, wide, length in zip(cells, stride, dilation, kernel, strict=True)
    ]
    after = [max(0, need - length - before) for need, length, before in zip(needed, size, padding, strict=True)]
    low = float(value.detach().min()) - 1  # never the largest of a window that holds a pixel
    framed = F.pad(value, (padding[1], after[1], padding[0], after[0]), value=low)[..., : needed[0], : needed[1]]
    columns = F.unfold(framed, kernel, dilation, 0, stride)
    columns = columns.view(*value.shape[:2], -1, cells.numel())  # (N, C, pixels of a window, windows)
    largest: Tensor = _as_pool(module, (columns.shape[2], 1))(columns)
    return largest.view(*value.shape[:2], *cells)


def _as_pool(module: nn.Module, kernel: tuple[int, int]) -> nn.Module:
    module.kernel_size, module.stride = kernel, kernel  # type: ignore[assignment]
    return module


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[-1]))
