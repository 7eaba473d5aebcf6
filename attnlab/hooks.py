"""The only place that touches hooks, and the one that gives a borrowed model back as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnlab.errors import UserError

DRAWN = 65_521  # numbers that move weights, repeated in larger tensors; a prime, so that rows of weights differ


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module of that name; else a UserError lists the nearest names."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name and name in modules:
        return modules[name]
    parent = name.rpartition(".")[0]
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    here = ", ".join(child for child, _ in modules[parent].named_children()) or "none"
    where = f"under {parent!r}" if parent else "at the top level"
    raise UserError(f"expected a layer of the model, got {name!r}; layers {where}: {here}")


@contextmanager
def capture(
    model: nn.Module, layer: str, *, cut: bool = False, change: Callable[[Tensor], Tensor] | None = None
) -> Iterator[list[Tensor]]:
    """Yield a list that grows by the layer's output, one tensor, with every forward pass inside the block.

    The layers that follow work on a copy, so an in-place operation behind the layer does not change what was captured.
    With `cut` a new graph starts at the layer, so that a gradient reaches it and nothing before it; `change` makes
    another output of the layer's own, which is captured and handed on in its place.
    """
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise UserError(f"expected layer {layer!r} to give one tensor, got {type(output).__name__}")
        output = change(output) if change else output
        output = output.detach().requires_grad_() if cut else output
        outputs.append(output)
        return output.clone()

    with _registered(find_layer(model, layer).register_forward_hook(keep)), every_module_runs():
        yield outputs


@contextmanager
def first_inputs(model: nn.Module, kind: type[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect, detached, what the first registered module of a kind, if any, is given in each pass inside the block."""
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, arguments: tuple[object, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor):
            inputs.append(arguments[0].detach().clone())

    first = [module for module in model.modules() if isinstance(module, kind)][:1]
    with _registered(*(module.register_forward_pre_hook(keep) for module in first)):
        yield inputs


class _Reached(Exception):  # noqa: N818 - ends a pass early
    """A module is about to run."""


def before_first(model: nn.Module, kind: type[nn.Module], run: Callable[[], object]) -> tuple[Any, object] | None:
    """Run a pass up to the first module of a kind: that module, and its first input; None where none runs."""
    reached: list[tuple[nn.Module, object]] = []

    def stop(module: nn.Module, arguments: tuple[object, ...]) -> None:
        reached.append((module, arguments[0] if arguments else None))
        raise _Reached

    of_kind = [module for module in model.modules() if isinstance(module, kind)]
    with _registered(*(module.register_forward_pre_hook(stop) for module in of_kind)), every_module_runs():
        try:
            run()
        except Exception:
            if not reached:
                raise
    return reached[0] if reached else None


def watch(model: nn.Module, run: Callable[[], object], see: Callable[[str, nn.Module, object, Tensor], None]) -> None:
    """Run a pass; hand each module's output, where it is one tensor, to `see` at the moment the module is finished.

    `see` takes the module's name (the last one, if it has several), the module, its first input and its output.
    """
    names = {module: name for name, module in model.named_modules() if name}

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor):
            see(names[module], module, inputs[0] if inputs else None, output)

    with _registered(*(module.register_forward_hook(note) for module in names)), every_module_runs():
        run()


@dataclass(eq=False)
class Output:
    """What a module gave in a pass, and the names of the modules around it that passed it on, the innermost first."""

    names: list[str]
    tensor: Tensor


def outputs_of(model: nn.Module, run: Callable[[], object]) -> list[Output]:
    """Run a pass; collect what each module gave that gives one tensor, its last if it runs several times.

    Modules that follow work on copies, as behind `capture`.
    """
    names = {module: name for name, module in model.named_modules() if name}
    found: dict[str, Output] = {}
    last: list[tuple[Tensor, Output]] = []  # the copy that was handed on, and of what

    def keep(module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        same = bool(last) and output is last[0][0] and output._version == 0  # nothing worked in place on it
        kept = last[0][1] if same else Output([], output)
        kept.names.append(names[module])
        found.pop(names[module], None)  # in the order of the last runs
        found[names[module]] = kept
        if same:
            return None
        last[:] = [(output.clone(), kept)]
        return last[0][0]

    with _registered(*(module.register_forward_hook(keep) for module in names)), every_module_runs():
        run()
    outputs = list(dict.fromkeys(found.values()))
    for output in outputs:
        output.names = [name for name in dict.fromkeys(output.names) if found[name] is output]
    return outputs


@contextmanager
def _registered(*handles: RemovableHandle) -> Iterator[None]:
    """Remove hooks at the end of the block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def every_module_runs() -> Iterator[None]:
    """Keep torch's fused kernel of nn.TransformerEncoderLayer off: it skips the modules inside, and with them hooks."""
    fused: bool = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def moved(model: nn.Module) -> Iterator[None]:
    """Give the model other weights and statistics for the block, so that no zero and no fresh norm hides what it does.

    The weights themselves are untouched: each parameter and buffer gets its own storage back.
    """
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    own = [tensor.data for tensor in tensors]
    draw = torch.Generator().manual_seed(0)
    factors, steps = torch.rand(DRAWN, generator=draw) + 0.5, torch.randn(DRAWN, generator=draw)
    twice = torch.stack([factors, steps]).repeat(1, 2)
    try:
        for turn, (tensor, value) in enumerate(zip(tensors, own, strict=True), 1):
            first = -turn % DRAWN  # tensors of one shape are moved apart
            factors, steps = twice[:, first : first + DRAWN].to(value)
            size = 0.0
            if isinstance(tensor, nn.Parameter):  # variances stay positive
                fan_in = max(1, value[0].numel() if value.ndim > 1 and len(value) else 1)
                size = 0.1 * fan_in**-0.5
            tensor.data = _along(value, factors, size * steps)
        yield
    finally:
        for tensor, value in zip(tensors, own, strict=True):
            tensor.data = value


def _along(value: Tensor, factors: Tensor, steps: Tensor) -> Tensor:
    """A tensor times factors plus steps, both of DRAWN numbers, again and again."""
    made = torch.empty_like(value, memory_format=torch.contiguous_format)
    before, after, whole = value.reshape(-1), made.view(-1), value.numel() // DRAWN
    rows, rest = (whole, DRAWN), value.numel() - whole * DRAWN
    torch.mul(before[: whole * DRAWN].view(rows), factors, out=after[: whole * DRAWN].view(rows)).add_(steps)
    torch.mul(before[whole * DRAWN :], factors[:rest], out=after[whole * DRAWN :]).add_(steps[:rest])
    return made


@contextmanager
def neighbours(
    model: nn.Module, consumers: type[nn.Module], producers: type[nn.Module]
) -> Iterator[list[tuple[str, str]]]:
    """Yield a list that grows, as the model runs, by each consumer whose input is, untouched, a producer's output.

    Each of its pairs holds the names of the consumer and the producer.
    """
    pairs: list[tuple[str, str]] = []
    outputs: dict[int, tuple[str, object]] = {}  # the outputs are kept, so that no other takes their identity
    names = {module: name for name, module in model.named_modules()}

    def keep(module: nn.Module, _inputs: object, output: object) -> None:
        outputs[id(output)] = (names[module], output)

    def look(module: nn.Module, arguments: tuple[object, ...]) -> None:
        if arguments and id(arguments[0]) in outputs:
            pairs.append((names[module], outputs[id(arguments[0])][0]))

    handles = [module.register_forward_hook(keep) for module in names if isinstance(module, producers)]
    handles += [module.register_forward_pre_hook(look) for module in names if isinstance(module, consumers)]
    with _registered(*handles):
        yield pairs


def train_mode(model: nn.Module) -> None:
    """Put the model in train mode, but for batch norms whose author froze their weights: they keep their statistics."""
    model.train()
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.affine and not norm.weight.requires_grad:
            norm.eval()


@contextmanager
def preserve_bn_stats(model: nn.Module) -> Iterator[None]:
    """Let batch norms in train mode use the batch's statistics and add them to a copy of their running ones.

    Without any to add to, norms shared by processes refuse bfloat16.
    """
    norms = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    try:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device or the machine had too little memory, so that a smaller batch may do."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "unable to find an engine")
    return any(sign in str(error) for sign in signs)


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode with frozen parameters; give each module and parameter its own flag back.

    Gradients are taken with `torch.autograd.grad`, which never writes `.grad`, so that stays untouched too.
    """
    training = {module: module.training for module in model.modules()}
    trainable = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        model.requires_grad_(False)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, flag in trainable.items():
            parameter.requires_grad_(flag)
