"""All layers of a network that can be explained, found in a few passes for all of them together."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.arrays import Images, Logits
from attnlab.hooks import Output, frozen_eval, moved, outputs_of
from attnlab.models.classifier import Classifier
from attnlab.models.feature_map import closed_forms, prove, quarters_move, with_other_quarters
from attnlab.models.layouts import FIRST, LAST, TOKENS, Layout, both
from attnlab.models.outputs import logits_of
from attnlab.models.trace import FEW_CELLS, Trace


@dataclass(frozen=True)
class Layer:
    """A layer whose output is a map.

    Attributes:
        name: As --layer takes it; of modules that pass the same output on, the outermost.
        channels: Of the map.
        height: In cells.
        width: In cells.
        axes: How the output lies, see `Layout`; empty where that can be read two ways.
        head: Name of the linear layer with which its maps have a closed form, or None.
        default: It is the one that is read.
        note: Why it is refused, or doubtful; empty where nothing is.
    """

    name: str
    channels: int
    height: int
    width: int
    axes: str
    head: str | None
    default: bool
    note: str

    @property
    def cells(self) -> int:
        """Number of cells of its map."""
        return self.height * self.width


def layers_of(classifier: Classifier) -> list[Layer]:
    """The layers of a classifier that have maps of more than one cell, in the order in which they are finished.

    Pools, dropouts and maps of each class, which are never read by default, are left out unless the user named one.
    """
    images = classifier.noise()
    with frozen_eval(classifier):
        with torch.no_grad():
            trace = Trace.of(classifier.network, lambda: _logits(classifier, images), classifier.input_size)
        aside = {seen.name for seen in trace.outputs if seen.aside} - {classifier.attention_layer}
        logits, outputs = _run(classifier, images)
        found = []
        for output in outputs:
            layouts = trace.layouts_of(output.names[-1], tuple(output.tensor.shape))
            if layouts and _cells(layouts[0]) > 1 and output.names[0] not in aside:
                found.append((output, layouts))
        first = {name: layouts[0] for output, layouts in found for name in output.names}
        if unread := _unread(logits, outputs, first):
            with moved(classifier.network):
                unread &= _unread(*_run(classifier, images), first)
        scrambled = _scrambled(classifier, images, first)
        return [_layer(classifier, images, logits, *pair, unread, scrambled) for pair in found]


def _layer(
    classifier: Classifier,
    images: Images,
    logits: Logits,
    output: Output,
    layouts: list[Layout],
    unread: set[str],
    scrambled: set[str],
) -> Layer:
    """What there is to say of one layer."""
    read, tensor = classifier.feature_map, output.tensor.detach()
    default = classifier.attention_layer in output.names
    name = classifier.layer if default and classifier.layer else output.names[-1]
    possible = both(tuple(tensor.shape)) if tensor.ndim == 4 else layouts
    forms = closed_forms(classifier.network, possible, tensor, logits.detach())
    proven = prove(classifier.network, lambda: _logits(classifier, images), output.names[-1], forms)
    layout, head = proven[0] if proven else (layouts[0], None)
    if default and read is not None:
        layout, head, layouts = read.layout, classifier.head, [read.layout]
    ambiguous = len(layouts) > 1 and head is None
    doubts = {
        f"can be read two ways: say {name}:{FIRST} or {name}:{LAST}": ambiguous,
        "no cell reaches the logits: its maps are 0": bool(unread & {*output.names}) and head is None,
        "its tokens do not seem to lie as the image does": bool(scrambled & {*output.names}) and layout.axes == TOKENS,
        "few cells": _cells(layout) < FEW_CELLS,
    }
    note = "; ".join(doubt for doubt, holds in doubts.items() if holds)
    channels = layout.spatial(tensor).shape[1]
    return Layer(name, channels, *layout.grid, "" if ambiguous else layout.axes, head, default, note)


def _cells(layout: Layout) -> int:
    return layout.grid[0] * layout.grid[1]


def _logits(classifier: Classifier, images: Images) -> Logits:
    """The network's logits, in its own order, as closed forms are of."""
    return logits_of(classifier.network(classifier.normalise(images)), len(images))


def _run(classifier: Classifier, images: Images) -> tuple[Logits, list[Output]]:
    """Logits and the outputs of all modules, with a graph between them."""
    made: list[Tensor] = []
    with torch.enable_grad():
        pixels = images.clone().requires_grad_()
        outputs = outputs_of(classifier.network, lambda: made.append(_logits(classifier, pixels)))
    return made[0], outputs


def _unread(logits: Logits, outputs: list[Output], layouts: Mapping[str, Layout]) -> set[str]:
    """Names of the layers no cell of which moves the logits; none where nothing has a gradient."""
    known = [output for output in outputs if output.names[-1] in layouts and output.tensor.requires_grad]
    if not logits.requires_grad or not known:
        return set()
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).to(logits)
    tensors = [output.tensor for output in known]
    gradients = torch.autograd.grad(logits, tensors, weights, allow_unused=True)
    return {
        name
        for output, gradient in zip(known, gradients, strict=True)
        if gradient is None or not layouts[output.names[-1]].spatial(gradient).any()
        for name in output.names
    }


@torch.no_grad()
def _scrambled(classifier: Classifier, images: Images, layouts: Mapping[str, Layout]) -> set[str]:
    """Names of layers whose tokens do not lie row by row as the image does."""
    tokens = {name for name, layout in layouts.items() if layout.axes == TOKENS}
    if not tokens:
        return set()
    outputs = outputs_of(classifier.network, lambda: _logits(classifier, with_other_quarters(images)))
    return {
        name
        for output in outputs
        for name in tokens.intersection(output.names)
        if not quarters_move(layouts[name].spatial(output.tensor))
    }
