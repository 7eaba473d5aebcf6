"""`captum:NAME`: any class of captum.attr that attributes the pixels of an image to a class."""

import inspect
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Maps
from attnlab.attention import METHODS, Cost, Method
from attnlab.attention.activation_modules import ELEMENTWISE, POOLS, ActivationModules
from attnlab.attention.captum_methods import SETTINGS, superpixels_of
from attnlab.attention.captum_passes import Passes, captum, pixel_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError, check_one_of
from attnlab.registry import Lazy

PREFIX = "captum:"
#: captum's class -> the method that is named after it
NAMED: Mapping[str, str] = {
    "Saliency": "saliency",
    "InputXGradient": "input-x-gradient",
    "IntegratedGradients": "integrated-gradients",
    "GuidedBackprop": "guided-backprop",
    "GuidedGradCam": "guided-grad-cam",
    "Deconvolution": "deconvolution",
    "DeepLift": "deep-lift",
    "GradientShap": "gradient-shap",
    "Occlusion": "occlusion",
    "FeatureAblation": "feature-ablation",
    "KernelShap": "kernel-shap",
    "LRP": "lrp",
}
#: classes that could be called, and why they are not
NOT_CALLED: Mapping[str, str] = {
    "FeaturePermutation": "it shuffles superpixels among the images of a batch, so that a map would depend on others",
    "ShapleyValues": "it tries every order of the superpixels, which takes for ever; ShapleyValueSampling draws some",
    "NoiseTunnel": "it wraps another class; smoothgrad is the one around saliency",
}
KNOWN = frozenset({"baselines", "feature_mask", "perturbations_per_eval", "target", "inputs"})  # arguments given here


@cache
def method_of(name: str) -> Method:
    """The method behind `captum:NAME`, the one that has a name of its own where there is one.

    Raises:
        UserError: If captum.attr has no such class, or none that attributes pixels; it names the nearest that does.
    """
    asked = name.removeprefix(PREFIX)
    if asked in NAMED:
        return METHODS[NAMED[asked]]
    if asked in NOT_CALLED:
        raise UserError(
            f"expected --method {PREFIX}NAME of a class that can be called, got {asked}: {NOT_CALLED[asked]}"
        )
    check_one_of(asked, [*NAMED, *callable_names()], f"--method {PREFIX}NAME")
    deep = issubclass(captum(asked), captum("DeepLift"))
    return Method(
        partial(_maps, asked),
        needs="passes",
        at="pixels",
        cost=Cost(None),
        source=f"captum.attr.{asked}",
        allows=Lazy("attnlab.attention.captum_rules:allows_deep_lift") if deep else None,
    )


@cache
def callable_names() -> tuple[str, ...]:
    """Classes of captum.attr that need no more than a network, an image, a class, baselines and superpixels."""
    import captum.attr

    return tuple(
        name
        for name, kind in vars(captum.attr).items()
        if inspect.isclass(kind) and name not in NAMED and name not in NOT_CALLED and _can_be_called(kind)
    )


def _can_be_called(kind: Any) -> bool:
    if not issubclass(kind, captum("Attribution")) or not hasattr(kind, "attribute"):
        return False
    made_of, called_with = _needed(kind.__init__), _needed(kind.attribute)
    return made_of in ({"forward_func"}, {"model"}) and called_with <= KNOWN and "target" in _parameters(kind.attribute)


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(inspect.unwrap(function)).parameters


def _needed(function: Any) -> set[str]:
    """Names of the parameters that have no default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name
        for name, parameter in _parameters(function).items()
        if name != "self" and parameter.default is inspect.Parameter.empty and parameter.kind not in kinds
    }


def _maps(name: str, seen: ModelPass) -> Maps:
    """Maps of a class, with captum's defaults, superpixels, and a black baseline or those of gradient-shap."""

    def attribute(passes: Passes, images: Images, classes: Labels, seeds: list[int]) -> Tensor:
        kind = captum(name)
        if issubclass(kind, captum("DeepLift")):
            attribution = kind(ActivationModules(passes.classifier, ELEMENTWISE | POOLS))
        elif issubclass(kind, captum("GradientAttribution")):
            attribution = kind(passes.classifier)
            attribution.gradient_func = passes.gradient
        else:
            attribution = kind(passes)
        several = torch.cat([torch.full_like(images, value) for value in SETTINGS.baselines])
        wanted = {
            "baselines": several if "baselines" in _needed(kind.attribute) else SETTINGS.baseline,
            "feature_mask": superpixels_of(images, seeds[0]) if "feature_mask" in _parameters(kind.attribute) else None,
            "perturbations_per_eval": passes.size,
        }
        arguments = {key: value for key, value in wanted.items() if key in _parameters(kind.attribute)}
        return attribution.attribute(images, target=classes, **arguments)  # type: ignore[no-any-return]

    return pixel_maps(seen, attribute, each=True)
