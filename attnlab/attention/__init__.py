"""Attention methods by name: what maps where a classifier looks; no torch before one is used."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from attnlab.errors import UserError
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from attnlab.attention.model_pass import ModelPass
    from attnlab.models import Classifier

#: why there are no maps of a network that has no attention layer
NO_LAYER = "this model has no spatial feature map that can be found by itself; name a layer with --layer"

#: a pass that was just made -> signed map of each image, (N, h, w), detached unless the pass creates a graph: at the
#: attention layer's resolution, or at the images'
MapFunction = Callable[["ModelPass"], "Tensor"]
CLASSES = ("true", "predicted")  # classes that maps may explain: the label, or the image's own prediction
#: what a method takes beside the pass that gives the logits: nothing, a backward pass of it, or passes of its own
Need = Literal["nothing", "gradient", "passes"]


@dataclass(frozen=True)
class Cost:
    """Forward passes of an image that a method takes, about, a backward pass counting as two.

    Attributes:
        most: At most, of one of `each`; None where that is captum's affair.
        least: At least, where the network decides; None where it does not.
        each: What has so many: a `channel` of the attention layer, a `superpixel`, or where it is empty the image.
    """

    most: int | None = 0
    least: int | None = None
    each: Literal["", "channel", "superpixel"] = ""

    def __str__(self) -> str:
        """The number in words: `0 to 1 a channel`."""
        if self.most is None:
            return "as captum's"
        low = "" if self.least is None else f"{self.least} to "
        return f"{low}{self.most}" + (f" a {self.each}" if self.each else "")


@dataclass(frozen=True)
class Method:
    """An attention method.

    Attributes:
        maps: Makes the maps of Tables 1-3, see MapFunction; None of LIME, which has tables of its own.
        target: Class that its maps explain unless the user names one, of CLASSES.
        of_class: Whether its maps depend on that class at all.
        needs: What it takes beside the pass that gives the logits. Where the network's head has a closed form, a
            gradient by the attention layer takes nothing either.
        at: Whether its maps are at the resolution of the attention `layer` or of the images' `pixels`.
        cost: What it takes beyond that pass.
        source: Who published it.
        differentiable: Whether its maps have a gradient by the images, so that an attack can move them.
        allows: Function(classifier) that raises a UserError where the network does not allow the method; that it lacks
            an attention layer is refused without one.
    """

    maps: MapFunction | None
    target: str = "true"
    of_class: bool = True
    needs: Need = "gradient"
    at: Literal["layer", "pixels"] = "layer"
    cost: Cost = Cost()
    source: str = ""
    differentiable: bool = False
    allows: Callable[["Classifier"], None] | None = None

    @property
    def summary(self) -> str:
        """What it takes, where its maps are and whose it is, in a line."""
        needs = {
            "nothing": "the pass alone",
            "gradient": f"its gradient: {self.cost} passes",
            "passes": f"passes of its own: {self.cost}",
        }
        at = {"layer": "the layer's resolution", "pixels": "the images' resolution"}
        return "; ".join(filter(None, (f"needs {needs[self.needs]}", f"maps at {at[self.at]}", self.source)))

    def check(self, classifier: "Classifier") -> None:
        """Refuse a network that does not allow the method, before anything is computed.

        Raises:
            UserError: If it has no attention layer and the maps are at its resolution, or as `allows` says.
        """
        if self.at == "layer" and classifier.attention_layer is None:
            raise UserError(NO_LAYER)
        if self.allows is not None:
            self.allows(classifier)


@dataclass(frozen=True)
class MethodForm(Method):
    """Stands for all methods whose names begin alike.

    Attributes:
        method_of: Function(name) that gives the method of one of these names, or raises a UserError.
    """

    maps: MapFunction | None = None
    method_of: Callable[[str], Method] | None = None

    def of(self, name: str) -> Method:
        """The method of one of these names."""
        assert self.method_of is not None
        return self.method_of(name)


#: a method that makes passes of its own for maps of pixels
_of_pixels = partial(Method, needs="passes", at="pixels")
_CAPTUM, _RULES = "attnlab.attention.captum_methods", "attnlab.attention.captum_rules"

#: a new method is a function and a line here
METHODS = Registry(
    "--method",
    {
        "grad-cam": Method(
            Lazy("attnlab.attention.gradcam:grad_cam_maps"),
            cost=Cost(1, 0),
            source="Selvaraju et al. 2017",
            differentiable=True,
        ),
        "grad-cam++": Method(
            Lazy("attnlab.attention.cams:grad_cam_plus_plus"),
            cost=Cost(1, 0),
            source="Chattopadhay et al. 2018",
            differentiable=True,
        ),
        "layer-cam": Method(
            Lazy("attnlab.attention.cams:layer_cam"), cost=Cost(1, 0), source="Jiang et al. 2021", differentiable=True
        ),
        "hires-cam": Method(
            Lazy("attnlab.attention.cams:hires_cam"),
            cost=Cost(1, 0),
            source="Draelos and Carin 2020",
            differentiable=True,
        ),
        "xgrad-cam": Method(
            Lazy("attnlab.attention.cams:xgrad_cam"), cost=Cost(1, 0), source="Fu et al. 2020", differentiable=True
        ),
        "eigen-cam": Method(
            Lazy("attnlab.attention.cams:eigen_cam"),
            of_class=False,
            needs="nothing",
            source="Muhammad and Yeasin 2020",
            differentiable=True,
        ),
        "score-cam": Method(
            Lazy("attnlab.attention.perturbation_cams:score_cam"),
            needs="passes",
            cost=Cost(1, each="channel"),
            source="Wang et al. 2020",
        ),
        "ablation-cam": Method(
            Lazy("attnlab.attention.perturbation_cams:ablation_cam"),
            needs="passes",
            cost=Cost(1, 0, "channel"),
            source="Desai and Ramaswamy 2020",
        ),
        "saliency": _of_pixels(
            Lazy(f"{_CAPTUM}:saliency"), cost=Cost(3), source="Simonyan et al. 2014", differentiable=True
        ),
        "input-x-gradient": _of_pixels(
            Lazy(f"{_CAPTUM}:input_x_gradient"), cost=Cost(3), source="Shrikumar et al. 2016", differentiable=True
        ),
        "integrated-gradients": _of_pixels(
            Lazy(f"{_CAPTUM}:integrated_gradients"), cost=Cost(150), source="Sundararajan et al. 2017"
        ),
        "smoothgrad": _of_pixels(Lazy(f"{_CAPTUM}:smoothgrad"), cost=Cost(150), source="Smilkov et al. 2017"),
        "gradient-shap": _of_pixels(Lazy(f"{_CAPTUM}:gradient_shap"), cost=Cost(150), source="Lundberg and Lee 2017"),
        "guided-backprop": _of_pixels(
            Lazy(f"{_RULES}:guided_backprop"),
            cost=Cost(3),
            source="Springenberg et al. 2015",
            allows=Lazy(f"{_RULES}:allows_rectifier_rules"),
        ),
        "guided-grad-cam": _of_pixels(
            Lazy(f"{_RULES}:guided_grad_cam"),
            cost=Cost(5, 4),
            source="Selvaraju et al. 2017",
            allows=Lazy(f"{_RULES}:allows_guided_grad_cam"),
        ),
        "deconvolution": _of_pixels(
            Lazy(f"{_RULES}:deconvolution"),
            cost=Cost(3),
            source="Zeiler and Fergus 2014",
            allows=Lazy(f"{_RULES}:allows_rectifier_rules"),
        ),
        "deep-lift": _of_pixels(
            Lazy(f"{_RULES}:deep_lift"),
            cost=Cost(6),
            source="Shrikumar et al. 2017",
            allows=Lazy(f"{_RULES}:allows_deep_lift"),
        ),
        "lrp": _of_pixels(
            Lazy("attnlab.attention.relevance:lrp"),
            cost=Cost(4),
            source="Bach et al. 2015",
            allows=Lazy("attnlab.attention.relevance:allows_lrp"),
        ),
        "occlusion": _of_pixels(Lazy(f"{_CAPTUM}:occlusion"), cost=Cost(170), source="Zeiler and Fergus 2014"),
        "feature-ablation": _of_pixels(
            Lazy(f"{_CAPTUM}:feature_ablation"), cost=Cost(1, each="superpixel"), source="Kokhlikyan et al. 2020"
        ),
        "kernel-shap": _of_pixels(Lazy(f"{_CAPTUM}:kernel_shap"), cost=Cost(1000), source="Lundberg and Lee 2017"),
        "captum:NAME": MethodForm(
            needs="passes",
            at="pixels",
            cost=Cost(None),
            source="Kokhlikyan et al. 2020",
            method_of=Lazy("attnlab.attention.captum_names:method_of"),
        ),
        "attention-rollout": Method(
            Lazy("attnlab.attention.token_methods:attention_rollout"),
            of_class=False,
            needs="passes",
            cost=Cost(1),
            source="Abnar and Zuidema 2020",
            allows=Lazy("attnlab.attention.token_methods:allows_tokens"),
        ),
        "chefer": Method(
            Lazy("attnlab.attention.token_methods:chefer"),
            needs="passes",
            cost=Cost(3),
            source="Chefer et al. 2021",
            allows=Lazy("attnlab.attention.token_methods:allows_tokens"),
        ),
        "centre": Method(
            Lazy("attnlab.attention.blind_maps:centre_maps"),
            of_class=False,
            needs="nothing",
            at="pixels",
            source="a control: the same map for all images, highest in the middle",
        ),
        "random-map": Method(
            Lazy("attnlab.attention.blind_maps:random_maps"),
            of_class=False,
            needs="nothing",
            at="pixels",
            source="a control: noise from each image's seed",
        ),
        "lime": Method(
            None,
            target="predicted",
            needs="passes",
            at="pixels",
            cost=Cost(1000),
            source="Ribeiro et al. 2016",
        ),
    },
)

#: how LIME draws its samples: name -> function(generator, samples, superpixels) -> which superpixels each one shows,
#: (samples, superpixels), 0 or 1; fewer samples are the first of more
SAMPLINGS = Registry(
    "--lime-sampling",
    {
        "random": Lazy("attnlab.attention.lime_samples:random"),
        "paired": Lazy("attnlab.attention.lime_samples:paired"),
        "orthogonal": Lazy("attnlab.attention.lime_samples:orthogonal"),
    },
)

#: how LIME makes weights of its samples: name -> function(what the samples of each image show, their probabilities) ->
#: weights of each image
FITS = Registry(
    "--lime-fit",
    {
        "ridge": Lazy("attnlab.attention.lime:fit"),
        "surrogate": Lazy("attnlab.attention.lime_surrogate:surrogate_fit"),
    },
)
