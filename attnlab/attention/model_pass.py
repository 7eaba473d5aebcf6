"""One forward pass of a classifier over images, and what attention methods read off it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits
from attnlab.attention import NO_LAYER
from attnlab.errors import UserError
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


@dataclass(frozen=True, eq=False)
class ModelPass:
    """A forward pass that was just made, and the class to explain of each image; its graph is still there.

    Several methods share one: features and gradient are computed once, when the first method asks for them. The
    classifier is in eval mode with frozen parameters while methods run.

    Attributes:
        classifier: Of that pass.
        images: Pixels in [0, 1], (N, C, H, W).
        logits: (N, K).
        activations: The attention layer's output as it was captured; None of a network without such a layer.
        classes: Class to explain of each image, (N,).
        seeds: Of each image's random numbers; by default its place in the batch.
        batch_size: Images of a forward pass that a method makes of its own.
        create_graph: Whether maps are to be differentiated; else they are detached.
    """

    classifier: Classifier
    images: Images
    logits: Logits
    activations: Tensor | None
    classes: Labels
    seeds: Sequence[int] = ()
    batch_size: int = 64
    create_graph: bool = False

    def __post_init__(self) -> None:
        """Let places stand for seeds that are not given."""
        object.__setattr__(self, "seeds", list(self.seeds) or range(len(self.images)))

    @cached_property
    def features(self) -> Tensor:
        """The attention layer's output as (N, C, h, w), in the logits' precision; detached unless `create_graph`.

        Raises:
            UserError: If the network has no attention layer.
        """
        features = self.classifier.spatial(self._captured)
        return (features if self.create_graph else features.detach()).to(self.logits.dtype)

    @cached_property
    def weights(self) -> Tensor:
        """Mean over the cells of the gradient of each image's logit, (N, C): alpha of Grad-CAM (its eq. 1).

        With a linear layer W behind a global average pool, d logit_c / d A_k is W[c, k] / (h w) in every cell, and no
        backward pass is needed.
        """
        if self.classifier.head is not None:
            weights = self.classifier.head_weight()[self.classes] / self.features[0, 0].numel()
            return weights if self.create_graph else weights.detach()
        return self.gradient.mean((2, 3))

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of each image's logit by the layer's output, (N, C, h, w), likewise; the pass's graph is kept."""
        if self.classifier.head is not None:
            return self.weights[..., None, None].expand_as(self.features)
        check_gradient(self.logits)
        with torch.enable_grad():
            score = self.logits.gather(1, self.classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, self._captured, retain_graph=True, create_graph=self.create_graph)
        gradient = gradient if self.create_graph else gradient.detach()
        return self.classifier.spatial(gradient).to(self.logits.dtype)

    @property
    def _captured(self) -> Tensor:
        if self.activations is None:
            raise UserError(NO_LAYER)
        return self.activations
