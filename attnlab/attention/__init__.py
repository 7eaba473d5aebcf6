"""Attention: methods that map what a classifier looks at, and the areas read off their maps."""

from collections.abc import Callable

from torch import Tensor

from attnlab.attention.gradcam import map_from
from attnlab.models.classifier import Classifier

#: (classifier, its logits (N, K), its attention layer's output as captured, class per image (N,)) -> signed map at
#: that layer's resolution, (N, h, w), detached. Called in the pass that made the logits, while its graph is there.
MapMethod = Callable[[Classifier, Tensor, Tensor, Tensor], Tensor]

#: name -> function; a new method is one more line. LIME, which maps superpixels, stands beside them (`lime`).
MAP_METHODS: dict[str, MapMethod] = {"grad-cam": map_from}
