"""LIME explanations of observed batches, their superpixels cut in worker processes meanwhile."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnlab.attention.lime import BLOCK, PATIENCE, LimeSettings, explain, perturbations
from attnlab.attention.masked_inference import MaskedInference, NotFinite
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import AUTO, LimeOptions
from attnlab.failures import naming
from attnlab.models.classifier import Classifier
from attnlab.pipelines.fused_pass import BatchOutput
from attnlab.seeding import seed_of
from attnlab.superpixels import FEW, Labels
from attnlab.words import counted

#: distance of the second seed from the first, for the noise floor: beyond any seed a person picks
SECOND_SEED = 2**31

#: bytes of an explanation in the records, at 299 px: compressed superpixels and weights
LIME_BYTES = 4_000

Cut = Callable[[Any, str, int], "Future[Labels]"]
#: what the records call an explanation
Struct = dict[str, Any]


def lime_settings(options: LimeOptions) -> LimeSettings:
    """What LIME is told of its options; `auto` superpixels are settled before, or are quickshift's here.

    Raises:
        UserError: If a value is out of range.
    """
    settled = options.samples != AUTO
    return LimeSettings(
        int(options.samples) if settled else LimeSettings.samples,
        "quickshift" if options.superpixels == AUTO else options.superpixels,
        options.hide,
        options.features,
        0 if settled else PATIENCE,
    )


class LimeTask(NamedTuple):
    """One explanation to make.

    Attributes:
        place: Of the image in its batch.
        eps: Number of the eps of the adversarial image; None for the clean one.
        name: What the record calls the explanation.
        image: Pixels in [0, 1], (C, H, W).
        class_: Class to explain, ().
        segments: The image's superpixels, on their way.
        seed: Of what is hidden.
    """

    place: int
    eps: int | None
    name: str
    image: Tensor
    class_: Tensor
    segments: "Future[Labels]"
    seed: int


class LimeStage:
    """Makes the LIME explanations of one run."""

    def __init__(self, classifier: Classifier, config: AnalyzeConfig, cut: Cut) -> None:
        """Remember what explanations are made of.

        Args:
            classifier: On its device.
            config: What is computed; its LIME samples a pass are halved for good when memory runs out.
            cut: Cuts an image into superpixels, see `segmenting`.
        """
        self.classifier = classifier
        self.config = config
        self.lime = lime_settings(config.lime)
        self.cut = cut
        self.batch_size = config.lime.batch_size or 1
        self.warned = self.told_of_few = False

    def order(
        self,
        clean: BatchOutput,
        adversarial: list[BatchOutput],
        labels: Tensor,
        image_ids: list[str],
        places: list[int],
    ) -> list[LimeTask]:
        """Have the images of these places in the batch cut, and list the explanations to make."""
        first, second = self.config.run.seed, self.config.run.seed + SECOND_SEED
        requests = []
        for place in places:
            ask = partial(self._request, labels, place, image_ids[place])
            own = ask(clean, None, "lime", first)
            shared = own.segments if self.config.lime.segments == "shared" else None
            requests.append(own)
            requests += [ask(seen, eps, "lime", first, shared) for eps, seen in enumerate(adversarial)]
            if self.config.lime.floor:
                requests.append(ask(clean, None, "lime_again", second, shared))
        return requests

    def make(self, requests: list[LimeTask], image_ids: list[str]) -> Iterator[list[tuple[LimeTask, Struct]]]:
        """Make the explanations, so many images at a time as fill a forward pass.

        Args:
            requests: As `order` listed them.
            image_ids: Of the whole batch, by place.

        Yields:
            All explanations of some images, as the records hold them.

        Raises:
            UserError: If the model gives NaN.
        """
        places = list(dict.fromkeys(request.place for request in requests))
        at_once = BLOCK if self.lime.patience else self.lime.samples
        samples = at_once * len(requests) // max(1, len(places))  # of one image
        step = max(1, self.batch_size // max(1, samples))
        for start in range(0, len(places), step):
            group = [request for request in requests if request.place in places[start : start + step]]
            yield list(zip(group, self._explain(group, image_ids), strict=True))

    def _request(
        self,
        labels: Tensor,
        place: int,
        image_id: str,
        seen: BatchOutput,
        eps: int | None,
        name: str,
        seed: int,
        segments: "Future[Labels] | None" = None,
    ) -> LimeTask:
        """One request; the image is cut unless it shares superpixels that are on their way."""
        class_ = labels[place] if self.config.target_of("lime") == "true" else seen.logits[place].argmax()
        if segments is None:
            image = seen.images[place].cpu().numpy()
            segments = self.cut(image, self.lime.superpixels, seed_of(seed, image_id))
        return LimeTask(place, eps, name, seen.images[place], class_, segments, seed)

    def _explain(self, requests: list[LimeTask], image_ids: list[str]) -> list[Struct]:
        segments = [request.segments.result() for request in requests]
        device = self.classifier.device
        sampler = MaskedInference(
            self.classifier,
            torch.stack([request.image for request in requests]),
            torch.stack([request.class_ for request in requests]),
            torch.from_numpy(np.stack(segments).astype(np.int64)).to(device),
            self.lime.hide,
            self.batch_size,
        )
        shown = [
            perturbations(image_ids[request.place], int(labels.max()) + 1, self.lime.samples, request.seed)
            for request, labels in zip(requests, segments, strict=True)
        ]
        self._warn_of_few_samples(max(rows.shape[1] for rows in shown))
        self._warn_of_few_superpixels(
            {image_ids[request.place]: rows.shape[1] for request, rows in zip(requests, shown, strict=True)}
        )
        try:
            names = list(dict.fromkeys(image_ids[request.place] for request in requests))
            with naming("perturbed copies of images", names):
                explanations = explain(sampler, shown, self.lime)
        except NotFinite as error:
            raise NotFinite(error.image, image_ids[requests[error.image].place]) from None
        self.batch_size = sampler.batch_size
        return [
            {
                "class": int(request.class_),
                "samples": explanation.samples,
                "segments": zlib.compress(labels.tobytes()),
                "weights": explanation.weights.tolist(),
            }
            for request, labels, explanation in zip(requests, segments, explanations, strict=True)
        ]

    def _warn_of_few_superpixels(self, counts: dict[str, int]) -> None:
        few = [image_id for image_id, count in counts.items() if count < FEW]
        if few and not self.told_of_few:
            self.told_of_few = True
            method = self.lime.superpixels
            hint = "; --lime-superpixels slic makes about 40" if method != "slic" else ""
            warnings.warn(
                f"{method} cuts {few[0]} into {counts[few[0]]} superpixels: with fewer than {FEW}, an area "
                f"of the 8 or 10 of largest weight is of all that are positive{hint}",
                stacklevel=2,
            )

    def _warn_of_few_samples(self, superpixels: int) -> None:
        samples = self.lime.samples
        if samples < superpixels and not self.warned:
            self.warned = True
            warnings.warn(
                f"{counted(samples, 'LIME sample')} for an image of {counted(superpixels, 'superpixel')}: "
                "fewer equations than unknowns, so the weights lean on the ridge penalty and change much from seed to "
                "seed; raise --lime-samples",
                stacklevel=2,
            )


def lime_cost(config: AnalyzeConfig, images: int, speed: float, cutting: float, workers: int) -> str:
    """What LIME takes at most, if every image is classified correctly, as one line.

    Args:
        config: What is computed.
        images: How many there are.
        speed: Forward passes a second.
        cutting: Seconds that one image takes to be cut into superpixels.
        workers: Processes that cut beside the passes; 0 cuts in turn with them.
    """
    samples = lime_settings(config.lime).samples
    explanations = images * (1 + len(config.attack.eps or [None]) + config.lime.floor)
    forwards = explanations * samples
    cuts = images if config.lime.segments == "shared" else explanations
    passing, cut = forwards / speed, cuts * cutting / max(1, workers)
    where = f" on {counted(workers, 'process')}" if workers else ""
    total = timedelta(seconds=round(max(passing, cut) if workers else passing + cut))
    return (
        f"LIME: at most {total}: {forwards:,} passes ({counted(images, 'image')} x {explanations // max(1, images)} "
        f"explanations x {samples} samples) at {speed:.0f} a second, {cuts:,} cuts into superpixels of "
        f"{cutting:.2f} s{where}; "
        f"records of about {explanations * LIME_BYTES / 1e6:.0f} MB"
    )
