"""Infidelity and max-sensitivity (Yeh et al. 2019) by captum.metrics, perturbed from each image's own seed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Maps, PerImage
from attnlab.attention.map_metrics import is_constant
from attnlab.attention.masked_inference import GREY, in_batches
from attnlab.boxes import mask_of
from attnlab.models.classifier import Classifier

SQUARES = 50  # hidden squares of an image
SIDES = (1 / 8, 1 / 2)  # smallest and largest side of a square, in shares of the image's shorter side
NEAR = 10  # images near an image
RADIUS = 0.02  # how far, in pixels of [0, 1], they differ from it at most

Explain = Callable[[Images, Labels, Sequence[int]], Maps]


def infidelity(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    classes: Labels,
    seeds: Sequence[int],
    batch_size: int = 64,
) -> PerImage:
    """E over squares I of (beta sum of the map on I - drop of the score when I is grey)^2 (Yeh et al. 2019, eq. 1).

    I is a random square, SQUARES an image, the score the softmax probability of the class. As maps have a scale of
    their own, beta = E[sum drop] / E[sum^2] is that at which a map does best (`normalize` of captum).

    Args:
        classifier: In eval mode.
        images: Pixels in [0, 1], (N, C, H, W).
        maps: Signed, at the images' size, (N, H, W).
        classes: That the maps explain, (N,).
        seeds: Of each image's squares.
        batch_size: Images of a forward pass, halved when memory runs out.

    Returns:
        From 0 on, lower is better: (N,), float64, NaN where a map is constant.
    """
    from captum.metrics import infidelity as by_captum

    count, at_once = len(images), max(1, min(SQUARES, batch_size // len(images)))
    size = (images.shape[2], images.shape[3])
    hidden = torch.stack([squares(seed, *size) for seed in seeds])  # (N, SQUARES, 4)
    chunks = iter(torch.split(hidden, at_once, 1))
    sizes = [batch_size]

    def perturb(copies: Images) -> tuple[Tensor, Images]:
        boxes = next(chunks).flatten(0, 1)[:, None]
        areas = torch.stack([mask_of(box, *size) for box in boxes])[:, None].to(images.device)
        return areas.expand(copies.shape).double(), copies.masked_fill(areas, GREY)

    def score(copies: Images) -> PerImage:
        asked = classes.repeat_interleave(len(copies) // count)[:, None]
        answers, sizes[0] = in_batches(
            lambda part: classifier(copies[part]).softmax(1).gather(1, asked[part])[:, 0], len(copies), sizes[0]
        )
        return torch.cat(answers).double()

    # a map is the sum over the channels
    attributions = (maps.double() / images.shape[1])[:, None].expand(images.shape)
    values: Tensor = by_captum(
        score,
        perturb,
        images,
        attributions,
        n_perturb_samples=SQUARES,
        max_examples_per_batch=count * at_once,
        normalize=True,
    )
    return values.double().cpu().masked_fill(is_constant(maps).cpu(), torch.nan)


def max_sensitivity(
    images: Images,
    maps: Maps,
    classes: Labels,
    explain: Explain,
    seeds: Sequence[int],
    batch_size: int = 64,
) -> PerImage:
    """Largest ||g(x') - g(x)|| / ||g(x)|| over NEAR images x' within RADIUS of x (Yeh et al. 2019, eq. 3, relative).

    Each pixel of x' is drawn uniformly from [x - r, x + r] and clipped to [0, 1]; classes stay those of x.

    Args:
        images: Pixels in [0, 1], (N, C, H, W).
        maps: Their maps, as `explain` makes them, (N, H, W).
        classes: That the maps explain, (N,).
        explain: Makes maps of images for classes, with a seed for each image.
        seeds: Of each image; what is random about its method is the same for x and for all x'.
        batch_size: Images that are explained at once, halved when memory runs out.

    Returns:
        From 0 on, lower is better: (N,), float64, NaN where the image's own map is constant.
    """
    from captum.metrics import sensitivity_max

    count, at_once = len(images), max(1, min(NEAR, batch_size // len(images)))
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    sizes = [batch_size]

    def perturb(copies: Images) -> Images:
        each = len(copies) // count
        noise = torch.stack([torch.rand(images.shape[1:], generator=draw) for draw in draws for _ in range(each)])
        return (copies + RADIUS * (2 * noise - 1).to(copies)).clamp(0, 1)

    def explained(copies: Images | tuple[Images]) -> Maps | tuple[Maps]:
        if isinstance(copies, tuple):  # the images themselves
            return (maps.double(),)
        each = len(copies) // count
        asked, own = classes.repeat_interleave(each), [seed for seed in seeds for _ in range(each)]
        answers, sizes[0] = in_batches(
            lambda part: explain(copies[part], asked[part], own[part]), len(copies), sizes[0]
        )
        return torch.cat(answers).double()

    values: Tensor = sensitivity_max(
        explained,
        images,
        perturb_func=perturb,
        n_perturb_samples=NEAR,
        max_examples_per_batch=count * at_once,
    )
    return values.double().cpu().masked_fill(is_constant(maps).cpu(), torch.nan)


def squares(seed: int, height: int, width: int) -> Tensor:
    """Random squares within an image of that size, half-open x0, y0, x1, y1 in pixels, (SQUARES, 4), int64."""
    shorter = min(height, width)
    low, high = (max(1, round(share * shorter)) for share in SIDES)
    sides, across, down = torch.rand(3, SQUARES, generator=torch.Generator().manual_seed(seed)).double()
    side = (low + (sides * (high - low + 1))).long().clamp(max=high)
    left, top = ((share * (length - side + 1)).long() for share, length in ((across, width), (down, height)))
    return torch.stack([left, top, left + side, top + side], 1)
