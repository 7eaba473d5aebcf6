"""Find the layer that Grad-CAM reads, how its output lies, and the closed form of its maps, if there is one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.arrays import Images, Logits
from attnlab.errors import UserError
from attnlab.hooks import capture, moved
from attnlab.models.layouts import FIRST, LAST, TOKENS, Layout, both, read_as, split_layer
from attnlab.models.outputs import two_classes
from attnlab.models.trace import FEW_CELLS, Trace, close


@dataclass(frozen=True)
class FeatureMap:
    """The layer at which a network's attention is read."""

    layer: str
    reading: str  # how the user says its output lies; empty where that was found
    layout: Layout
    head: str | None  # name of the linear layer behind a global average pool of the map: Grad-CAM has a closed form
    doubts: tuple[str, ...] = ()  # what a user of its maps should know

    @property
    def name(self) -> str:
        """Text with which `--layer` finds it again."""
        return f"{self.layer}:{self.reading}" if self.reading else self.layer


def find_feature_map(
    network: nn.Module, run: Callable[[Images], Logits], images: Images, trace: Trace, layer: str | None = None
) -> FeatureMap | None:
    """Find the layer, unless it is named, and how its output lies; None where none is named and no output is a map.

    The layout is decided by the first evidence that decides it: what the user says behind the layer's name
    (":channels-first", ":channels-last", or ":HxW" of tokens); the closed form, which holds for one reading alone; the
    kind of the module; the number of channels and the aspect of the image (see `layouts.readings`); of tokens the
    number and place of those that depend on the image.

    The network is in eval mode, with frozen parameters; `run` makes a pass of images, two of noise, to their logits,
    and `trace` is of such a pass.
    """
    if layer:
        return _read(network, run, images, trace, *split_layer(network, layer))[0]
    first = None
    for name in trace.candidates():
        feature_map, unread = _read(network, run, images, trace, name, "")
        if not unread:
            return feature_map
        first = first or feature_map
    return first


def _read(
    network: nn.Module, run: Callable[[Images], Logits], images: Images, trace: Trace, name: str, reading: str
) -> tuple[FeatureMap, bool]:
    """Read a layer, and find whether no cell of it reaches the logits."""
    again = partial(run, images)
    kept = trace.output_of(name)
    output, logits = (kept, trace.logits) if kept is not None else _with_graph(network, again, name)
    shape = tuple(output.shape)
    layouts = [read_as(name, shape, reading)] if reading else trace.layouts_of(name, shape)
    possible = both(shape) if len(shape) == 4 and not reading else layouts
    closed = prove(network, again, name, closed_forms(network, possible, output.detach(), logits.detach()))
    layout, head = closed[0] if closed else (_only(name, shape, layouts, len(logits)), None)
    unread = False
    if head is None:
        output, logits = (output, logits) if kept is None else _with_graph(network, again, name)
        unread = _is_unread(network, again, name, layout, output, logits)
    doubts = [_few(name, layout, trace)] if layout.grid[0] * layout.grid[1] < FEW_CELLS else []
    if unread:
        doubts.append(_unread(name, trace))
    if layout.axes == TOKENS and not reading and not follows_the_image(network, run, images, name, layout):
        doubts.append(
            f"the tokens of layer {name!r} do not seem to lie row by row as the image does, so that its maps may be "
            "scrambled; name another layer with --layer"
        )
    return FeatureMap(name, reading, layout, head, tuple(doubts)), unread


def _with_graph(network: nn.Module, run: Callable[[], Logits], name: str) -> tuple[Tensor, Logits]:
    """The layer's output, of one that runs several times the last, as everywhere, and logits with a graph to it."""
    with capture(network, name, cut=True) as outputs, torch.enable_grad():
        logits = run()
    if not outputs:
        raise UserError(f"layer {name!r} does not run in a forward pass; name another with --layer")
    return outputs[-1], logits


@torch.no_grad()
def follows_the_image(
    network: nn.Module, run: Callable[[Images], Logits], images: Images, name: str, layout: Layout
) -> bool:
    """Whether each quarter of an image, where it is replaced by another image's, moves that quarter of the map most."""
    if images.is_meta:
        return True
    with capture(network, name) as outputs:
        run(with_other_quarters(images))
    return quarters_move(layout.spatial(outputs[-1]))


def with_other_quarters(images: Images) -> Images:
    """The first of two images, then the same with each of its quarters replaced by the second's, (5, C, H, W)."""
    height, width = images.shape[2] // 2, images.shape[3] // 2
    mixed = images[:1].repeat(5, 1, 1, 1)
    halves = product((slice(None, height), slice(height, None)), (slice(None, width), slice(width, None)))
    for image, (high, wide) in zip(mixed[1:], halves, strict=True):
        image[:, high, wide] = images[1][:, high, wide]
    return mixed


def quarters_move(features: Tensor) -> bool:
    """Whether in the maps of such images, (5, C, h, w), the quarter that was replaced is the one that moves most."""
    rows, columns = features.shape[2] // 2, features.shape[3] // 2
    moved_by = (features[1:] - features[:1]).float().abs().mean(1)  # (4, h, w)
    upper, lower = moved_by[:, :rows], moved_by[:, -rows:]
    parts = (upper[..., :columns], upper[..., -columns:], lower[..., :columns], lower[..., -columns:])
    most = torch.stack([part.mean((1, 2)) for part in parts]).argmax(0)
    return most.tolist() == [0, 1, 2, 3]


def _only(name: str, shape: tuple[int, ...], layouts: list[Layout], images: int) -> Layout:
    """The only reading of an output of that many images; an error where there is none, or another one."""
    if len(layouts) == 1:
        return layouts[0]
    if len(shape) == 4 and shape[0] == images:
        first, last = both(shape)
        raise UserError(
            f"the output of layer {name!r}, of shape {shape}, can be read two ways: {shape[1]} channels of "
            f"{first.grid[0]}x{first.grid[1]} cells, or {shape[3]} channels of {last.grid[0]}x{last.grid[1]} cells; "
            f"say which with --layer {name}:{FIRST} or --layer {name}:{LAST}, or name another"
        )
    hint = "name another with --layer"
    if len(shape) == 3 and shape[0] == images:
        hint += f", or say the grid of its last tokens with --layer {name}:HEIGHTxWIDTH"
    raise UserError(
        "expected a layer whose output is a spatial map (N, C, h, w) or (N, h, w, C), or tokens (N, T, C) with the "
        f"patches of a grid among them, got {name!r} of shape {shape}; {hint}"
    )


def _few(name: str, layout: Layout, trace: Trace) -> str:
    height, width = layout.grid
    finer = trace.finer()
    hint = f", such as {finer}" if finer else ""
    return (
        f"the map of layer {name!r} has {height}x{width} cells, too few to say where a classifier looks; "
        f"name an earlier layer with --layer{hint}"
    )


def _unread(name: str, trace: Trace) -> str:
    default = next(iter(trace.candidates()), name)
    hint = f", such as {default}" if default != name else ""
    return (
        f"the logits do not depend on any cell of layer {name!r} (they may be read from a class token alone), so that "
        f"its maps are 0 everywhere; name an earlier layer with --layer{hint}"
    )


def _is_unread(
    network: nn.Module, run: Callable[[], Logits], name: str, layout: Layout, output: Tensor, logits: Logits
) -> bool:
    """Whether no cell's gradient differs from 0, now and with moved weights."""
    if not logits.requires_grad or output.is_meta or not _is_zero(layout, output, logits):
        return False
    with moved(network), capture(network, name, cut=True) as outputs, torch.enable_grad():
        logits = run()
        return _is_zero(layout, outputs[-1], logits)


def _is_zero(layout: Layout, output: Tensor, logits: Logits) -> bool:
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).to(logits)
    (gradient,) = torch.autograd.grad(logits, output, weights, allow_unused=True)
    return gradient is None or not layout.spatial(gradient).any()


def closed_forms(network: nn.Module, layouts: list[Layout], output: Tensor, logits: Logits) -> list[tuple[Layout, str]]:
    """Layouts of an output and linear layers for which logits = linear(mean of the map's cells) holds in one pass."""
    forms = []
    rows = (logits.shape[1], 1) if logits.shape[1] == 2 else (logits.shape[1],)  # one logit stands for two classes
    for layout in layouts:
        pooled = layout.spatial(output).mean((2, 3))
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear) and module.weight.shape in [(row, pooled.shape[1]) for row in rows]:
                made = two_classes(F.linear(pooled.to(module.weight.dtype), module.weight, module.bias))
                if close(made.to(logits.dtype), logits, output.dtype):
                    forms.append((layout, name))
    return forms


def prove(
    network: nn.Module, run: Callable[[], Logits], layer: str, forms: list[tuple[Layout, str]]
) -> list[tuple[Layout, str]]:
    """The closed forms that hold whatever the network's weights and activations are.

    One more pass with moved weights, in which each activation is multiplied by another number from 0 to 200: neither a
    gate or a head of zeros nor a bend between pool and logits that small activations do not reach proves anything.
    """
    if not forms:
        return []
    draw = torch.Generator().manual_seed(1)

    def scaled(output: Tensor) -> Tensor:
        return output * (200 * torch.rand(output.shape, generator=draw)).to(output)

    with torch.no_grad(), moved(network), capture(network, layer, change=scaled) as outputs:
        logits = run()
        holding = closed_forms(network, [layout for layout, _ in forms], outputs[-1], logits)
    return [form for form in forms if form in holding]


def weights_key(network: nn.Module) -> int:
    """A number that changes when a parameter or a module of the network does; it reads no values."""
    versions = [(id(weight), 0 if weight.is_inference() else weight._version) for weight in network.parameters()]
    return hash((tuple(versions), tuple(map(id, network.modules()))))
