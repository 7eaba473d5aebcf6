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
from torch.nn.utils.rnn import pad_sequence

from attnlab.attention import FITS, SAMPLINGS
from attnlab.attention.masked_inference import HIDES, MaskedInference
from attnlab.errors import UserError, check_between, check_one_of
from attnlab.hooks import frozen_eval
from attnlab.seeding import seed_of
from attnlab.superpixels import SEGMENTERS, Weights, strongest

KERNEL_WIDTH = 0.25
RIDGE = 1.0
BLOCK = 100  # samples between two looks at whether the areas still change
PATIENCE = 3  # blocks the areas must hold for `auto` to stop
MOST_SAMPLES = 1_000_000  # beyond it, which superpixels are shown fills the memory


@dataclass(frozen=True)
class LimeSettings:
    """Settings of a LIME explanation.

    Attributes:
        samples: Perturbed images, the whole one among them.
        superpixels: A name in SEGMENTERS.
        hide: What a hidden superpixel shows: `grey` (0.5) or its own `mean` colour.
        features: Numbers of superpixels that areas are made of.
        patience: 0 for exactly `samples`; else stop once the areas have stayed the same for so many blocks of BLOCK
            samples, and at `samples` at the latest.
        sampling: Which superpixels the samples show, a name in SAMPLINGS.
        fit: How weights are made of the samples, a name in FITS.
    """

    samples: int = 1000
    superpixels: str = "quickshift"
    hide: str = "grey"
    features: tuple[int, ...] = (8, 10)
    patience: int = 0
    sampling: str = "random"
    fit: str = "ridge"

    def __post_init__(self) -> None:
        check_one_of(self.superpixels, SEGMENTERS, "--lime-superpixels")
        check_one_of(self.hide, HIDES, "--lime-hide")
        SAMPLINGS.expect(self.sampling)
        FITS.expect(self.fit)
        check_between(self.samples, 2, MOST_SAMPLES, "--lime-samples")
        if not self.features or min(self.features) < 1:
            raise UserError(
                f"expected numbers of features from 1 on, got {', '.join(map(str, self.features)) or 'none'}"
            )


def perturbations(image_id: str, superpixels: int, samples: int, seed: int, sampling: str = "random") -> Tensor:
    """Which superpixels each sample shows: (samples, superpixels), bool.

    The rows depend on the image's name, the seed and the sampling, a name in SAMPLINGS, alone, and fewer samples are
    the first of more.
    """
    draws = np.random.default_rng(seed_of(seed, image_id))
    return torch.from_numpy(SAMPLINGS.expect(sampling)(draws, samples, superpixels)).bool()


def similarity(shown: Tensor, superpixels: Tensor) -> Tensor:
    """Weight of each sample, (N, samples): sqrt(exp(-d^2 / 0.25^2)) of its cosine distance d to the whole image.

    With m of n superpixels shown the cosine is m / (sqrt(m) sqrt(n)) = sqrt(m / n); with none it is 0. `shown` is
    (N, samples, superpixels), 0 or 1, padded with 0; `superpixels` their number in each image, (N,).
    """
    cosine = (shown.sum(2).double() / superpixels[:, None]).sqrt()
    return ((1 - cosine).square() / -(KERNEL_WIDTH**2)).exp().sqrt()


def ridge(shown: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Weighted ridge regression with an intercept, one fit per image, solved together in float64: (N, superpixels).

    `shown` is (N, samples, superpixels), 0 or 1; images with fewer superpixels are padded with 0, and so are the
    coefficients. `values` and `weights` are (N, samples); the weight of a sample that an image does not have is 0.
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
    """LIME weights of each image from what its samples show, (samples, superpixels), and the probabilities they got."""
    samples, widest = (max(rows.shape[axis] for rows in shown) for axis in (0, 1))
    table = torch.stack([F.pad(rows, (0, widest - rows.shape[1], 0, samples - len(rows))) for rows in shown]).double()
    target = pad_sequence(list(values), batch_first=True)
    present = pad_sequence([torch.ones_like(value) for value in values], batch_first=True)
    counts = torch.tensor([rows.shape[1] for rows in shown])
    coefficients = ridge(table, target, similarity(table, counts) * present)
    return [row[:count].numpy() for row, count in zip(coefficients, counts.tolist(), strict=True)]


class Explanation(NamedTuple):
    """A LIME explanation of one image."""

    weights: Weights  # of each superpixel
    samples: int  # number of samples it took


def explain(sampler: MaskedInference, shown: Sequence[Tensor], settings: LimeSettings) -> list[Explanation]:
    """LIME explanations of the sampler's images, from the `perturbations` of each; NotFinite where the model gives NaN.

    With `settings.patience` samples are taken in blocks of BLOCK, and an image is done once its `strongest`
    superpixels, for every number in `settings.features`, have stayed the same for that many blocks.
    """
    block = BLOCK if settings.patience else settings.samples
    values: list[Tensor] = [torch.empty(0, dtype=torch.float64) for _ in shown]
    weights: list[Weights] = [np.empty(0) for _ in shown]
    unchanged = [0] * len(shown)
    active = list(range(len(shown)))
    fit_samples = FITS.expect(settings.fit)
    with frozen_eval(sampler.classifier):
        while active:
            asked = [(image, shown[image][len(values[image]) :][:block]) for image in active]
            for image, answer in zip(active, sampler(asked), strict=True):
                values[image] = torch.cat([values[image], answer])
            fitted = fit_samples(
                [shown[image][: len(values[image])] for image in active], [values[image] for image in active]
            )
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
