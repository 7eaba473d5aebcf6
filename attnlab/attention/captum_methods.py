"""Attributions of pixels by captum (Kokhlikyan et al. 2020), each a function of a `ModelPass` to maps (N, H, W).

Images go in as pixels in [0, 1], normalised inside the classifier, so that baselines and noise are in those units. The
attributions of a pixel's channels are summed, with the sign that captum gives them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attnlab.arrays import Images, Labels, Maps
from attnlab.attention.captum_passes import Passes, captum, pixel_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.superpixels import method_for, superpixels


@dataclass(frozen=True)
class CaptumSettings:
    """What captum's methods are called with.

    Attributes:
        baseline: Pixel that stands for nothing, in [0, 1]: black.
        baselines: Pixels of the three images of one colour that gradient-shap draws from: black, grey, white.
        steps: Of integrated gradients, on the Gauss-Legendre grid.
        noisy: Noisy images of smoothgrad, and random ones of gradient-shap, per image.
        noise: Standard deviation of smoothgrad's noise, in pixels (Smilkov et al. 2017 take .1 to .2).
        samples: Of kernel-shap.
        window: Side of occlusion's square, as a share of the image's shorter side.
        strides: Moves of that square in its own length.
    """

    baseline: float = 0.0
    baselines: tuple[float, ...] = (0.0, 0.5, 1.0)
    steps: int = 50
    noisy: int = 50
    noise: float = 0.15
    samples: int = 1000
    window: float = 1 / 7
    strides: int = 2


SETTINGS = CaptumSettings()


def saliency(seen: ModelPass) -> Maps:
    """Saliency (Simonyan et al. 2014): the absolute gradient of the logit by each pixel, never negative."""
    return _pixel_gradient(seen).abs().sum(1) if seen.create_graph else _by_gradient(seen, "Saliency")


def input_x_gradient(seen: ModelPass) -> Maps:
    """Input x gradient (Shrikumar et al. 2016): pixel times gradient."""
    if seen.create_graph:
        return (seen.images * _pixel_gradient(seen)).sum(1)
    return _by_gradient(seen, "InputXGradient")


def integrated_gradients(seen: ModelPass) -> Maps:
    """Integrated gradients (Sundararajan et al. 2017) from a black image: they sum to the difference of the logits."""
    arguments = {"baselines": SETTINGS.baseline, "n_steps": SETTINGS.steps}
    return _by_gradient(seen, "IntegratedGradients", arguments, samples=SETTINGS.steps)


def smoothgrad(seen: ModelPass) -> Maps:
    """SmoothGrad (Smilkov et al. 2017): the mean of the absolute gradients of noisy copies (captum's NoiseTunnel)."""

    def attribute(passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
        inner = captum("Saliency")(passes.classifier)
        inner.gradient_func = passes.gradient
        settings = {"nt_samples": SETTINGS.noisy, "stdevs": SETTINGS.noise}
        return captum("NoiseTunnel")(inner).attribute(images, target=classes, **settings)  # type: ignore[no-any-return]

    return pixel_maps(seen, attribute, each=True)


def gradient_shap(seen: ModelPass) -> Maps:
    """Gradient SHAP (Lundberg and Lee 2017): the mean of (pixel - baseline) x gradient between image and baseline.

    The baseline is drawn among a black, a grey and a white image, the place between the two uniformly.
    """
    baselines = [torch.full_like(seen.images[:1], value) for value in SETTINGS.baselines]
    arguments = {"baselines": torch.cat(baselines), "n_samples": SETTINGS.noisy}
    return _by_gradient(seen, "GradientShap", arguments, each=True)


def _pixel_gradient(seen: ModelPass) -> Tensor:
    """Gradient of each image's logit by its pixels, (N, C, H, W), itself to be differentiated; captum's is detached."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the kernel that has a second derivative
        score = seen.classifier(seen.images).gather(1, seen.classes[:, None]).sum()
        return torch.autograd.grad(score, seen.images, create_graph=True)[0]


def _by_gradient(
    seen: ModelPass,
    name: str,
    arguments: Mapping[str, object] | None = None,
    *,
    samples: int = 1,
    each: bool = False,
) -> Maps:
    """Maps of a captum class that takes gradients by the pixels alone."""

    def attribute(passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
        attribution = captum(name)(passes.classifier)
        attribution.gradient_func = passes.gradient
        return attribution.attribute(images, target=classes, **(arguments or {}))  # type: ignore[no-any-return]

    return pixel_maps(seen, attribute, samples=samples, each=each)


def occlusion(seen: ModelPass) -> Maps:
    """Occlusion (Zeiler and Fergus 2014): how much the logit falls where a black square moves over a pixel, on average.

    The square has a seventh of the image's shorter side and moves by half its own.
    """
    side = max(1, round(min(seen.images.shape[2:]) * SETTINGS.window))
    stride = max(1, side // SETTINGS.strides)
    channels = seen.images.shape[1]

    def attribute(passes: Passes, images: Images, classes: Labels, _: list[int]) -> Tensor:
        attributions: Tensor = captum("Occlusion")(passes).attribute(
            images,
            (channels, side, side),
            strides=(channels, stride, stride),
            baselines=SETTINGS.baseline,
            target=classes,
            perturbations_per_eval=max(1, passes.size // len(images)),
        )
        return attributions

    return pixel_maps(seen, attribute)


def feature_ablation(seen: ModelPass) -> Maps:
    """Feature ablation: how much the logit falls where a pixel's superpixel is black (superpixels as LIME's)."""
    return pixel_maps(seen, ablated, each=True)


def ablated(passes: Passes, images: Images, classes: Labels, seeds: list[int]) -> Tensor:
    """Attributions of the superpixels of one image, (1, C, H, W)."""
    attributions: Tensor = captum("FeatureAblation")(passes).attribute(
        images,
        baselines=SETTINGS.baseline,
        target=classes,
        feature_mask=superpixels_of(images, seeds[0]),
        perturbations_per_eval=passes.size,
    )
    return attributions


def kernel_shap(seen: ModelPass) -> Maps:
    """Kernel SHAP (Lundberg and Lee 2017): Shapley values of the superpixels, a hidden one being black."""

    def attribute(passes: Passes, images: Images, classes: Labels, seeds: list[int]) -> Tensor:
        mask = superpixels_of(images, seeds[0])
        if not mask.max():  # a single one has the whole difference, which captum's distribution of sizes cannot say
            return ablated(passes, images, classes, seeds)
        attributions: Tensor = captum("KernelShap")(passes).attribute(
            images,
            baselines=SETTINGS.baseline,
            target=classes,
            feature_mask=mask,
            n_samples=SETTINGS.samples,
            perturbations_per_eval=passes.size,
        )
        return attributions

    return pixel_maps(seen, attribute, each=True)


def superpixels_of(images: Images, seed: int) -> Tensor:
    """Superpixel of each pixel of one image, (1, C, H, W) int64, cut as LIME's `auto` cuts them."""
    image = images[0].float().cpu().numpy()
    labels = superpixels(image, method_for(len(image), image.shape[1:]), seed)
    return torch.from_numpy(labels.astype(np.int64)).to(images.device).repeat(1, len(image), 1, 1)
