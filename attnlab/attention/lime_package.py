"""LIME by the lime package itself (`--lime-engine lime`), on the batched engine's superpixels and samples."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from attnlab.arrays import Images, Labels
from attnlab.attention.lime import Explanation, LimeSettings
from attnlab.attention.masked_inference import GREY, NotFinite, in_batches
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier

Photograph = np.ndarray[Any, np.dtype[np.float32]]  # (H, W, C)
COLOURS = 3  # channels that lime takes the means of


class GivenSamples:
    """A random state that hands lime the samples of an image, so that they hang on its seed and name alone."""

    def __init__(self, shown: Tensor) -> None:
        self.shown = shown

    def randint(self, _low: int, _high: int, _size: int) -> np.ndarray[Any, Any]:
        """What the samples show, 0 or 1, one sample after the other."""
        return self.shown.numpy().astype(int).ravel()


def explain_by_package(
    classifier: Classifier,
    images: Images,
    classes: Labels,
    segments: Sequence[np.ndarray[Any, Any]],
    shown: Sequence[Tensor],
    settings: LimeSettings,
    batch_size: int,
) -> list[Explanation]:
    """LIME explanations as lime's LimeImageExplainer makes them, one image after the other.

    Args:
        classifier: As it is asked by `MaskedInference`.
        images: Pixels in [0, 1], (N, C, H, W).
        classes: Class to explain per image, (N,).
        segments: Superpixel of each pixel, (H, W), from 0 on without gaps, per image.
        shown: Random `perturbations` per image, (samples, superpixels), the first of which shows all.
        settings: What hides a superpixel.
        batch_size: Samples of a forward pass, halved when memory runs out.

    Raises:
        UserError: If lime cannot take the mean colours of images with so many channels.
        NotFinite: If the model gives NaN.
    """
    from lime import lime_image

    if settings.hide == "mean" and images.shape[1] != COLOURS:
        raise UserError(
            f"expected --lime-hide grey with --lime-engine lime for images of {images.shape[1]} channels, got mean: "
            f"lime takes the means of {COLOURS}"
        )
    explanations = []
    pairs = zip(images, classes.tolist(), segments, shown, strict=True)
    with frozen_eval(classifier), patch.object(lime_image, "tqdm", iter):  # no progress bar an image
        for number, (image, class_, labels, rows) in enumerate(pairs):
            explainer = lime_image.LimeImageExplainer()
            explainer.random_state = GivenSamples(rows)
            explained = explainer.explain_instance(
                image.permute(1, 2, 0).cpu().numpy(),
                _probabilities(classifier, number, batch_size),
                labels=(class_,),
                top_labels=None,
                hide_color=GREY if settings.hide == "grey" else None,
                num_samples=len(rows),
                batch_size=batch_size,
                segmentation_fn=lambda _, labels=labels: labels.astype(np.int64),
                random_seed=0,  # of quickshift, which is not asked
            )
            weights = dict(explained.local_exp[class_])
            explanations.append(Explanation(np.array([weights[key] for key in range(len(weights))]), len(rows)))
    return explanations


def _probabilities(classifier: Classifier, number: int, batch_size: int) -> Any:
    """What lime asks: probabilities of all classes, (B, K), of images (B, H, W, C)."""

    @torch.no_grad()
    def run(images: Photograph) -> np.ndarray[Any, Any]:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(classifier.device)
        answers, _ = in_batches(
            lambda part: classifier.infer(classifier.normalise(pixels[part])).softmax(1), len(pixels), batch_size
        )
        probabilities = torch.cat(answers).double().cpu()
        if not probabilities.isfinite().all():
            raise NotFinite(number)
        return probabilities.numpy()

    return run
