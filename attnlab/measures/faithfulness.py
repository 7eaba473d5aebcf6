"""Measures of a map by the classifier it explains: what hiding pixels in the map's order does to the class.

`maps` are signed maps at the images' size, (N, H, W), `classes` those they explain, (N,); the classifier is in eval
mode, and its score is the softmax probability of that class. Values are (N,), float64, NaN where a map is constant, or
has no positive value where its positive part is meant. Copies of several images share passes of `batch_size`, halved
when memory runs out.
"""

import torch
import torch.nn.functional as F

from attnlab.arrays import Images, Labels, Maps, PerImage
from attnlab.attention.map_metrics import is_constant, normalize_max
from attnlab.attention.masked_inference import GREY, MaskedInference
from attnlab.measures.one_map import is_blank
from attnlab.models.classifier import Classifier

STEPS = 28  # parts that an image's pixels are shown or hidden in: 8 rows' worth of 224 x 224
BLUR, SIGMA = 11, 5.0  # side and standard deviation, in pixels, of the kernel that Petsiuk et al. 2018 blur with


def insertion(classifier: Classifier, images: Images, maps: Maps, classes: Labels, batch_size: int = 64) -> PerImage:
    """Area under the score while the highest pixels are shown first on the blurred image (Petsiuk et al. 2018).

    AUC = 1/S sum_s (p(x_s) + p(x_s-1)) / 2, x_s being the image blurred by a Gaussian of 11 x 11 pixels and standard
    deviation 5, with the s/S highest pixels as they are; S is 28, of pixels of equal value the lower index comes first.
    """
    return _area(classifier, images, maps, classes, blurred(images), batch_size, shown_first=True)


def deletion(classifier: Classifier, images: Images, maps: Maps, classes: Labels, batch_size: int = 64) -> PerImage:
    """Area under the score while the highest pixels are made grey first (Petsiuk et al. 2018), as of `insertion`."""
    return _area(classifier, images, maps, classes, torch.full_like(images, GREY), batch_size, shown_first=False)


def average_drop(classifier: Classifier, images: Images, maps: Maps, classes: Labels, batch_size: int = 64) -> PerImage:
    """Share of the score that is lost, max(0, p(x) - p(m x)) / p(x), m being the positive map scaled to a maximum of 1.

    Pixels are multiplied, so that what the map leaves out is black. Source: Chattopadhay et al. 2018, section 4.1.
    """
    whole, masked = _whole_and_masked(classifier, images, maps, classes, batch_size)
    return ((whole - masked).relu() / whole).masked_fill(is_blank(maps).cpu(), torch.nan)


def increase(classifier: Classifier, images: Images, maps: Maps, classes: Labels, batch_size: int = 64) -> PerImage:
    """1 where the score rises, p(m x) > p(x), with m as of `average_drop` (Chattopadhay et al. 2018), else 0."""
    whole, masked = _whole_and_masked(classifier, images, maps, classes, batch_size)
    return (masked > whole).double().masked_fill(is_blank(maps).cpu(), torch.nan)


def blurred(images: Images) -> Images:
    """Images after a Gaussian of BLUR x BLUR pixels; beyond the frame its outermost pixels go on."""
    way = torch.arange(BLUR, dtype=images.dtype, device=images.device) - BLUR // 2
    weights = (way / SIGMA).square().div(-2).exp()
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (BLUR // 2,) * 4, mode="replicate")
    across = F.conv2d(padded, weights, groups=images.shape[1])
    return F.conv2d(across, weights.mT, groups=images.shape[1])


def _area(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    classes: Labels,
    hidden: Images,
    batch_size: int,
    *,
    shown_first: bool,
) -> PerImage:
    """Area under the score over the share of the pixels, by trapezoids."""
    pixels = maps[0].numel()
    steps = min(STEPS, pixels)
    ranks = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    step_of_pixel = (ranks * steps // pixels).view(maps.shape)
    highest = torch.ones(steps + 1, steps, dtype=torch.bool).tril(-1)  # row s: the first s steps
    engine = MaskedInference(classifier, images, classes, step_of_pixel, hidden, batch_size)
    shown = highest if shown_first else ~highest
    scores = torch.stack(engine([(image, shown) for image in range(len(images))]))  # (N, S + 1)
    return torch.trapezoid(scores, dx=1 / steps).masked_fill(is_constant(maps).cpu(), torch.nan)


def _whole_and_masked(
    classifier: Classifier, images: Images, maps: Maps, classes: Labels, batch_size: int
) -> tuple[PerImage, PerImage]:
    """Scores of the images and of their products with the positive maps, scaled to a maximum of 1."""
    pixels = torch.arange(maps[0].numel(), device=maps.device).view(maps[0].shape).expand(maps.shape)
    engine = MaskedInference(classifier, images, classes, pixels, torch.zeros_like(images), batch_size)
    shares = torch.stack([torch.ones_like(maps), normalize_max(maps)], 1).flatten(2)  # (N, 2, H W)
    whole, masked = torch.stack(engine(list(enumerate(shares)))).unbind(1)
    return whole, masked
