"""LIME for images (Ribeiro et al. 2016), batched: lime 0.2.0.1's algorithm without its loops.

An image is cut into superpixels; samples hide a random half of them; a weighted ridge regression of the class's
probability on which superpixels are shown gives each superpixel its weight. Samples of several images share a batch,
whole batches are composed by one gather on the device, and all fits are one batched solve in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.errors import UserError, expect_one_of
from attnlab.hooks import borrowed, out_of_memory
from attnlab.models.classifier import Classifier
from attnlab.superpixels import SEGMENTERS, Weights, seed_of, strongest

KERNEL_WIDTH = 0.25
RIDGE = 1.0
GREY = 0.5
HIDES = ("grey", "mean")
#: samples between two looks at whether the areas still change
BLOCK = 100
#: blocks the areas must hold for `auto` to stop
PATIENCE = 3


@dataclass(frozen=True)
class LimeSettings:
    """What a LIME explanation is made of.

    Attributes:
        samples: Perturbed images, the whole one among them.
        superpixels: A name in SEGMENTERS.
        hide: What a hidden superpixel shows: `grey` (0.5) or its own `mean` colour.
        features: Numbers of superpixels that areas are made of.
        patience: 0 for exactly `samples`; else stop once the areas have stayed the same for so many blocks of BLOCK
            samples, and at `samples` at the latest.
    """

    samples: int = 1000
    superpixels: str = "quickshift"
    hide: str = "grey"
    features: tuple[int, ...] = (8, 10)
    patience: int = 0

    def __post_init__(self) -> None:
        """Check every value once."""
        expect_one_of(self.superpixels, SEGMENTERS, "--lime-superpixels")
        expect_one_of(self.hide, HIDES, "--lime-hide")
        if self.samples < 2:
            raise UserError(f"expected at least 2 LIME samples, got {self.samples}")
        if not self.features or min(self.features) < 1:
            raise UserError(
                f"expected numbers of features from 1 on, got {', '.join(map(str, self.features)) or 'none'}"
            )


def parse_samples(text: str) -> tuple[int, int]:
    """`samples` and `patience` of LimeSettings from `1000` or `auto` (at most 1000, until 3 blocks change nothing).

    Raises:
        UserError: If it is neither.
    """
    if text == "auto":
        return LimeSettings.samples, PATIENCE
    if not text.isdecimal():
        raise UserError(f"expected --lime-samples to be a whole number or auto, got {text!r}")
    return int(text), 0


def perturbations(image_id: str, superpixels: int, samples: int, seed: int) -> Tensor:
    """Which superpixels each sample shows: (samples, superpixels), bool; the first sample shows all.

    The rows depend on the image's name and the seed alone, and fewer samples are the first of more.
    """
    draws = np.random.default_rng(seed_of(seed, image_id)).integers(0, 2, (samples, superpixels), dtype=np.uint8)
    draws[0] = 1
    return torch.from_numpy(draws).bool()


def similarity(shown: Tensor, superpixels: Tensor) -> Tensor:
    """Weight of each sample: sqrt(exp(-d^2 / 0.25^2)) of its cosine distance d to the whole image.

    With m of n superpixels shown the cosine is m / (sqrt(m) sqrt(n)) = sqrt(m / n); with none it is 0.

    Args:
        shown: (N, samples, superpixels), 0 or 1, padded with 0.
        superpixels: Number of superpixels of each image, (N,).

    Returns:
        (N, samples), float64.
    """
    cosine = (shown.sum(2).double() / superpixels[:, None]).sqrt()
    weights: Tensor = ((1 - cosine).square() / -(KERNEL_WIDTH**2)).exp().sqrt()
    return weights


def ridge(shown: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Weighted ridge regression with an intercept, one fit per image, solved together in float64.

    Args:
        shown: (N, samples, superpixels), 0 or 1; images with fewer superpixels are padded with 0.
        values: (N, samples).
        weights: (N, samples); 0 for samples an image does not have.

    Returns:
        Coefficient of each superpixel, (N, superpixels), float64; 0 for the padding.
    """
    share = weights / weights.sum(1, keepdim=True)
    centred = shown - torch.einsum("ns,nsd->nd", share, shown)[:, None]
    target = values - (share * values).sum(1, keepdim=True)
    weighted = centred * weights[..., None]
    gram = weighted.mT @ centred
    gram.diagonal(dim1=1, dim2=2).add_(RIDGE)
    coefficients: Tensor = torch.linalg.solve(gram, (weighted.mT @ target[..., None])[..., 0])
    return coefficients


def fit(shown: Sequence[Tensor], values: Sequence[Tensor]) -> list[Weights]:
    """LIME weights from samples and what the model made of them.

    Args:
        shown: Of each image, (samples, superpixels), bool.
        values: The explained class's probability for them, of each image, (samples,).

    Returns:
        Weight of each superpixel, of each image, (superpixels,), float64.
    """
    samples, widest = (max(rows.shape[axis] for rows in shown) for axis in (0, 1))
    table = torch.zeros(len(shown), samples, widest, dtype=torch.float64)
    target = torch.zeros(len(shown), samples, dtype=torch.float64)
    there = torch.zeros(len(shown), samples, dtype=torch.float64)
    for image, (rows, value) in enumerate(zip(shown, values, strict=True)):
        table[image, : len(rows), : rows.shape[1]] = rows
        target[image, : len(rows)] = value
        there[image, : len(rows)] = 1
    counts = torch.tensor([rows.shape[1] for rows in shown])
    coefficients = ridge(table, target, similarity(table, counts) * there)
    return [row[:count].numpy() for row, count in zip(coefficients, counts.tolist(), strict=True)]


class NotFinite(UserError):  # noqa: N818 - named after what the model gave
    """The model gave NaN for a perturbed image; `image` is the number of that image."""

    def __init__(self, image: int, name: str = "") -> None:
        super().__init__(f"the model gave NaN for a perturbed copy of image {name or image}")
        self.image = image


class Sampler:
    """Asks a classifier for the explained class's probability of perturbed images."""

    def __init__(
        self, classifier: Classifier, images: Tensor, classes: Tensor, segments: Tensor, hide: str, batch_size: int
    ) -> None:
        """Normalise the images and what hides them, once for all samples.

        Args:
            classifier: On the device of the images, in eval mode.
            images: Pixels in [0, 1], (N, C, H, W).
            classes: Class to explain per image, (N,).
            segments: Superpixel of each pixel, (N, H, W), labels from 0 on.
            hide: A name in HIDES.
            batch_size: Samples a forward pass; halved for good when memory runs out.
        """
        self.classifier = classifier
        self.classes = classes.to(images.device)
        self.batch_size = batch_size
        self.segments = segments.long().flatten(1)  # (N, H W)
        # normalisation works pixel by pixel, so it may come before the images are composed
        self.images = classifier.normalise(images)
        self.hidden = classifier.normalise(hidden_images(images, segments.long(), hide))

    @torch.no_grad()
    def __call__(self, samples: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """Probabilities of samples, which may belong to several images.

        Args:
            samples: Pairs of an image's number and what its samples show, (samples, superpixels) bool.

        Returns:
            Probability of each sample, (samples,), float64 on the CPU, per pair.

        Raises:
            NotFinite: If the model gives NaN.
        """
        widest = max(rows.shape[1] for _, rows in samples)
        shown = torch.cat([F.pad(rows, (0, widest - rows.shape[1])) for _, rows in samples])
        owners = torch.cat([torch.full((len(rows),), image) for image, rows in samples])
        shown = shown.to(self.images.device)
        values: list[Tensor] = []
        start = 0
        while start < len(shown):
            part = slice(start, start + self.batch_size)
            try:
                values.append(self._probabilities(shown[part], owners[part]))
                start += self.batch_size
            except RuntimeError as error:
                if self.batch_size == 1 or not out_of_memory(error):
                    raise
                self.batch_size //= 2
        probabilities = torch.cat(values).double().cpu()
        finite = probabilities.isfinite()
        if not finite.all():
            raise NotFinite(int(owners[~finite][0]))
        return list(torch.split(probabilities, [len(rows) for _, rows in samples]))

    def _probabilities(self, shown: Tensor, owners: Tensor) -> Tensor:
        """Compose one batch and run it: (B,); the owners are on the CPU, so that nothing waits for the device."""
        first = int(owners[0])
        if bool((owners == first).all()):  # the images need not be repeated
            mask = shown[:, self.segments[first]]
            image, hidden = self.images[first : first + 1], self.hidden[first : first + 1]
            classes = self.classes[first].expand(len(shown))
        else:
            owners = owners.to(self.images.device)
            classes = self.classes[owners]
            mask = shown.gather(1, self.segments[owners])
            image, hidden = self.images[owners], self.hidden[owners]
        composed = torch.where(mask.view(len(shown), 1, *image.shape[2:]), image, hidden)
        logits = self.classifier.logits(composed)
        return logits.softmax(1).gather(1, classes[:, None])[:, 0]


def hidden_images(images: Tensor, segments: Tensor, hide: str) -> Tensor:
    """What hidden superpixels show: grey, or each superpixel's own mean colour, (N, C, H, W)."""
    if hide == "grey":
        return torch.full_like(images, GREY)
    flat = segments.flatten(1)[:, None].expand(-1, images.shape[1], -1)  # (N, C, H W)
    sums = torch.zeros(*images.shape[:2], int(segments.max()) + 1, dtype=torch.float64, device=images.device)
    counts = torch.zeros_like(sums).scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.float64))
    sums.scatter_add_(2, flat, images.flatten(2).double())
    return (sums / counts.clamp(min=1)).gather(2, flat).view(images.shape).to(images.dtype)


class Explanation(NamedTuple):
    """A LIME explanation of one image.

    Attributes:
        weights: Of each superpixel, (superpixels,), float64.
        samples: Number of samples it took.
    """

    weights: Weights
    samples: int


def explain(sampler: Sampler, shown: Sequence[Tensor], settings: LimeSettings) -> list[Explanation]:
    """LIME explanations of the sampler's images.

    With `settings.patience` samples are taken in blocks of BLOCK, and an image is done once its `strongest`
    superpixels, for every number in `settings.features`, have stayed the same for that many blocks.

    Args:
        sampler: Holds the images.
        shown: `perturbations` of each image.
        settings: Says when to stop.

    Raises:
        NotFinite: If the model gives NaN.
    """
    block = BLOCK if settings.patience else settings.samples
    values: list[Tensor] = [torch.empty(0, dtype=torch.float64) for _ in shown]
    weights: list[Weights] = [np.empty(0) for _ in shown]
    unchanged = [0] * len(shown)
    active = list(range(len(shown)))
    with borrowed(sampler.classifier):
        while active:
            asked = [(image, shown[image][len(values[image]) :][:block]) for image in active]
            for image, answer in zip(active, sampler(asked), strict=True):
                values[image] = torch.cat([values[image], answer])
            fitted = fit([shown[image][: len(values[image])] for image in active], [values[image] for image in active])
            for image, new in zip(active, fitted, strict=True):
                same = _same_areas(new, weights[image], settings.features)
                unchanged[image] = unchanged[image] + 1 if same else 0
                weights[image] = new
            active = [
                image
                for image in active
                if len(values[image]) < len(shown[image]) and not 0 < settings.patience <= unchanged[image]
            ]
    return [Explanation(*pair) for pair in zip(weights, map(len, values), strict=True)]


def _same_areas(first: Weights, second: Weights, features: Sequence[int]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(strongest(first, count), strongest(second, count)) for count in features
    )
