"""Read a network's output as logits: open containers, refuse wrong shapes and numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from attnlab.arrays import Logits
from attnlab.errors import UserError

WRAPPER = "wrap the network in a module whose forward returns the logits alone, (N, K)"  # how every refusal ends


def logits_of(output: object, count: int) -> Logits:
    """Logits of a network's output for `count` images, at least float32.

    A tensor counts as it is; of a mapping or an output object (Hugging Face's, torchvision's Inception and GoogLeNet in
    train mode) its `logits`; of a list or tuple the only tensor in it. One logit z means two classes with the logits
    (0, z), whose softmax is the sigmoid of z.
    """
    logits = output if isinstance(output, Tensor) else _inside(output)
    if logits.layout != torch.strided:
        raise UserError(f"expected the network to return dense logits, got {logits.layout}; {WRAPPER}")
    if not logits.is_floating_point():
        raise UserError(f"expected the network to return floating-point logits, got {_shape(logits)}; {WRAPPER}")
    if logits.ndim != 2 or not logits.shape[1]:
        raise UserError(f"expected the network to return logits (N, K), got {_shape(logits)}; {WRAPPER}")
    if len(logits) != count:
        raise UserError(
            f"expected the network to return a row of logits for each of {count} images, got {_shape(logits)}; "
            f"{WRAPPER}"
        )
    return two_classes(at_least_float32(logits))


def check_gradient(logits: Logits) -> None:
    """Refuse logits of images that require a gradient, made without a graph; the error says what needs none."""
    if not logits.requires_grad:
        raise UserError(
            "the model's outputs have no gradient by its images (a torch.no_grad or a detach in its forward?), so "
            "nothing can be climbed and no map follows from one; `attnlab evaluate --attacks clean,square` needs none"
        )


def two_classes(values: Tensor) -> Tensor:
    """A column of zeros before a single one, (N, 2); others as they are, (N, K).

    For logits, and transposed for the head's weight: class 0 has the logit 0, which nothing moves.
    """
    return torch.cat([torch.zeros_like(values), values], 1) if values.shape[1] == 1 else values


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _inside(output: object) -> Logits:
    """The tensor of logits that a container holds."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is None and isinstance(output, list | tuple):
        held = [item for item in output if item is not None]
        logits = held[0] if len(held) == 1 else None
    if not isinstance(logits, Tensor):
        raise UserError(f"expected the network to return logits, got {_described(output)}; {WRAPPER}")
    return logits


def _described(output: object) -> str:
    """Describe an output: its kind, and its content."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with {', '.join(repr(key) for key in list(output)[:5]) or 'nothing in it'}"
    if isinstance(output, list | tuple):
        held = [_shape(item) if isinstance(item, Tensor) else type(item).__name__ for item in output[:5]]
        return f"a {kind} of {len(output)}: {', '.join(held) or 'nothing'}"
    return f"a {kind}" if output is not None else "None"


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
