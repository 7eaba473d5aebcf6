"""Captum's methods with rules of their own for activations: guided backpropagation, deconvolution, DeepLift.

Every activation of the network is a module of its own while they run, see `activation_modules`.
"""

from collections import Counter

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Maps
from attnlab.attention import NO_LAYER
from attnlab.attention.activation_modules import (
    ELEMENTWISE,
    POOLS,
    RECTIFIERS,
    SMOOTH,
    ActivationModules,
    known_calls,
)
from attnlab.attention.captum_methods import SETTINGS
from attnlab.attention.captum_passes import Passes, captum, pixel_maps
from attnlab.attention.gradcam import grad_cam
from attnlab.attention.map_metrics import resize_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval, moved
from attnlab.models.classifier import Classifier

TOLERANCE = 0.02  # part of the largest difference of logits by which DeepLift's sums may miss theirs


def guided_backprop(seen: ModelPass) -> Maps:
    """Guided backpropagation (Springenberg et al. 2015): the gradient whose negative values each ReLU drops."""
    return pixel_maps(seen, _guided)


def deconvolution(seen: ModelPass) -> Maps:
    """Deconvolution (Zeiler and Fergus 2014): each ReLU is applied to the gradient instead of to the activation."""
    return pixel_maps(seen, lambda *given: _by_rectifiers("Deconvolution", *given))


def guided_grad_cam(seen: ModelPass) -> Maps:
    """Guided Grad-CAM (Selvaraju et al. 2017): guided backpropagation times the positive Grad-CAM map, resized."""

    def attribute(passes: Passes, images: Images, classes: Labels, seeds: list[int]) -> Tensor:
        maps = passes.in_parts(
            len(images), lambda part: grad_cam(passes.classifier, images[part], classes[part]).relu().to(images)
        )
        size = (images.shape[2], images.shape[3])
        return _guided(passes, images, classes, seeds) * resize_maps(maps, size)[:, None]

    return pixel_maps(seen, attribute)


def _guided(passes: Passes, images: Images, classes: Labels, seeds: list[int]) -> Tensor:
    return _by_rectifiers("GuidedBackprop", passes, images, classes, seeds)


def _by_rectifiers(name: str, passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
    attribution = captum(name)(ActivationModules(passes.classifier, RECTIFIERS))
    attribution.gradient_func = passes.gradient
    return attribution.attribute(images, target=classes)  # type: ignore[no-any-return]


def deep_lift(seen: ModelPass) -> Maps:
    """DeepLift (Shrikumar et al. 2017, rescale rule) against a black image: it sums to the difference of the logits."""
    # captum's rule for max pools lets the images of a batch depend on each other
    pools = any(call.function in POOLS for call in known_calls(seen.classifier))
    return pixel_maps(seen, _deep_lift, samples=2, each=pools)


def _deep_lift(passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
    attribution = captum("DeepLift")(ActivationModules(passes.classifier, ELEMENTWISE | POOLS))
    return attribution.attribute(images, baselines=SETTINGS.baseline, target=classes)  # type: ignore[no-any-return]


def allows_rectifier_rules(classifier: Classifier) -> None:
    """Refuse guided backpropagation and deconvolution of networks whose activations are not ReLUs.

    Raises:
        UserError: If there is no ReLU or ReLU6, or there are others beside them.
    """
    calls = [call for call in known_calls(classifier) if call.function in RECTIFIERS | SMOOTH]
    names = Counter(call.name for call in calls if not call.rectifies)
    others = ", ".join(f"{name} ({count})" for name, count in names.items())
    if others or not calls:
        raise UserError(
            "expected a network with ReLUs alone for guided-backprop, guided-grad-cam and deconvolution, whose rules "
            f"are for them, got {others or 'one without any'}; try input-x-gradient or smoothgrad"
        )


def allows_guided_grad_cam(classifier: Classifier) -> None:
    """Refuse guided Grad-CAM where there is no attention layer, or as guided backpropagation.

    Raises:
        UserError: In both cases.
    """
    if classifier.attention_layer is None:
        raise UserError(NO_LAYER)
    allows_rectifier_rules(classifier)


def allows_deep_lift(classifier: Classifier) -> None:
    """Refuse DeepLift of a network in which something has no rule: its attributions then miss the difference of logits.

    Products of activations are such (attention, gates), norms over an image, and max pools that are not over windows.

    Raises:
        UserError: If they miss it for an image of noise.
    """
    image = classifier.noise(1)
    with frozen_eval(classifier), moved(classifier.network):
        with torch.no_grad():
            difference = (classifier(image) - classifier(torch.full_like(image, SETTINGS.baseline)))[0]
        class_ = difference.abs().argmax()
        seen = ModelPass(classifier, image, difference[None], None, class_[None])
        total = float(deep_lift(seen).sum())
    wanted = float(difference[class_])
    if not abs(total - wanted) < TOLERANCE * abs(wanted):
        raise UserError(
            "expected a network whose every part DeepLift has a rule for, got one of which its attributions sum to "
            f"{total:.3g} where the logits differ by {wanted:.3g}, for an image of noise; attention, gates and norms "
            "over an image have no rule: try integrated-gradients"
        )
