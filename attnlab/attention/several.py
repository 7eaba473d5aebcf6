"""Maps of several methods of the same images: one forward pass for all that read theirs off it, then passes of others'.

The classifier is in eval mode with frozen parameters meanwhile, see `attnlab.hooks.frozen_eval`.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention import METHODS, Method
from attnlab.attention.gradcam import capture_activations, full_precision
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


class Look(NamedTuple):
    """A forward pass that was made."""

    logits: Logits  # with their graph
    maps: dict[str, Maps]  # of the methods that are read off it
    passes: dict[str, ModelPass]  # target -> the pass without its graph, for the methods that make passes of their own


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes maps of several methods.

    Attributes:
        classifier: Any that all of them allow.
        targets: Name in METHODS -> class that its maps explain, in CLASSES.
        batch_size: Images of a pass of a method's own.
    """

    classifier: Classifier
    targets: Mapping[str, str]
    batch_size: int = 64

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The methods by name."""
        return {name: METHODS[name] for name in self.targets}

    def look(self, images: Images, labels: Labels | None, seeds: Sequence[int] = (), *, cut: bool) -> Look:
        """Make a forward pass, and the maps of the methods that take nothing more than it and its gradient.

        Args:
            images: Pixels in [0, 1], (N, C, H, W).
            labels: Class `true`, (N,); without them the prediction stands for it.
            seeds: Of each image's random numbers; by default its place in the batch.
            cut: No gradient needs to reach the images, unless a method's own does.
        """
        read_off = {name: method for name, method in self.methods.items() if method.needs != "passes"}
        if any(method.at == "pixels" and method.needs == "gradient" for method in read_off.values()):
            images, cut = images if images.requires_grad else images.detach().requires_grad_(), False
        layered = any(method.at == "layer" for method in self.methods.values())
        with torch.enable_grad():
            with capture_activations(self.classifier, cut=cut) if layered else nullcontext([None]) as captured:
                logits = self.classifier(images)
            if not cut or any(method.needs == "gradient" for method in read_off.values()):
                check_gradient(logits)
            predicted = logits.argmax(1)
            classes = {"true": predicted if labels is None else labels, "predicted": predicted}
            seen = ModelPass(
                self.classifier,
                images,
                logits,
                captured.pop(),
                predicted,
                seeds,
                self.batch_size,
            )
            passes = {target: replace(seen, classes=classes[target]) for target in dict.fromkeys(self.targets.values())}
            maps = {name: self._maps(name, passes[self.targets[name]]) for name in read_off}
        own = {self.targets[name] for name in self.targets if name not in read_off}
        return Look(logits, maps, {target: _without_graph(passes[target]) for target in own})

    def finish(self, look: Look) -> dict[str, Maps]:
        """The maps of all methods, in their order; those that make passes of their own make them now."""
        with torch.enable_grad():
            return {
                name: look.maps[name] if name in look.maps else self._maps(name, look.passes[target])
                for name, target in self.targets.items()
            }

    def _maps(self, name: str, seen: ModelPass) -> Maps:
        method = self.methods[name]
        assert method.maps is not None, name
        with full_precision(seen.logits.device):
            maps = method.maps(seen).detach()
        size = tuple(seen.images.shape[2:]) if method.at == "pixels" else self.classifier.map_shape
        if tuple(maps.shape) != (len(seen.images), *size):
            raise UserError(
                f"expected maps of {name} of shape {(len(seen.images), *size)}, at the {method.at}'s resolution "
                f"({name} is registered so), got {tuple(maps.shape)}"
            )
        return maps


def _without_graph(seen: ModelPass) -> ModelPass:
    activations = None if seen.activations is None else seen.activations.detach()
    return replace(seen, images=seen.images.detach(), logits=seen.logits.detach(), activations=activations)
