"""Attention methods by name: what maps where a classifier looks; no torch before one is used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from attnlab.models.classifier import Classifier

#: (classifier, its logits (N, K), its attention layer's output as captured, class per image (N,)) -> signed map at
#: that layer's resolution, (N, h, w), detached. Called in the pass that made the logits, while its graph is there.
MapFunction = Callable[["Classifier", "Tensor", "Tensor", "Tensor"], "Tensor"]
CLASSES = ("true", "predicted")  # classes that maps may explain: the label, or the image's own prediction


@dataclass(frozen=True)
class Method:
    """An attention method."""

    # makes the maps of Tables 1-3 in an analysis' pass; None for LIME, whose passes are its own
    maps: MapFunction | None
    target: str = "true"  # class that its maps explain unless the user names one, of CLASSES
    gradient: bool = True  # whether it needs one of the logits


#: a new method is a function and a line here
METHODS = Registry(
    "--method",
    {
        "grad-cam": Method(Lazy("attnlab.attention.gradcam:cam_from_activations")),
        "lime": Method(None, target="predicted", gradient=False),
    },
)


def map_methods() -> list[str]:
    """Names of the methods whose maps Tables 1-3 are about: a run holds those of one."""
    return [name for name, method in METHODS.items() if method.maps is not None]
