"""Attention: methods that map what a classifier looks at, and the areas read off their maps."""

from collections.abc import Callable

from torch import Tensor

from attnlab.attention.gradcam import grad_cam
from attnlab.models.classifier import Classifier

#: name -> function(classifier, images, classes) -> signed maps (N, h, w)
METHODS: dict[str, Callable[[Classifier, Tensor, Tensor], Tensor]] = {"grad-cam": grad_cam}
