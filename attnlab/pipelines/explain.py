"""LIME explanations of observed batches, their superpixels cut in worker processes meanwhile."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnlab.attention.lime import Sampler, explain, perturbations
from attnlab.models.classifier import Classifier
from attnlab.pipelines.observe import Observation
from attnlab.pipelines.settings import Settings
from attnlab.superpixels import Labels

#: distance of the second seed from the first, for the noise floor
SECOND_SEED = 1

Cut = Callable[[Any, str, int], "Future[Labels]"]
#: what the records call an explanation
Struct = dict[str, Any]


class Job(NamedTuple):
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


class Explainer:
    """Makes the LIME explanations of one run."""

    def __init__(self, classifier: Classifier, settings: Settings, cut: Cut, batch_size: int) -> None:
        """Remember what explanations are made of.

        Args:
            classifier: On its device.
            settings: What is computed.
            cut: Cuts an image into superpixels, see `segmenting`.
            batch_size: Samples a forward pass; halved for good when memory runs out.
        """
        self.classifier = classifier
        self.settings = settings
        self.cut = cut
        self.batch_size = batch_size
        self.warned = False

    def order(self, clean: Observation, adversarial: list[Observation], labels: Tensor, places: list[int]) -> list[Job]:
        """Have the images of these places in the batch cut, and list the explanations to make."""
        seed = self.settings.seed
        jobs = []
        for place in places:
            own = self._job(clean, labels, place, None, "lime", seed)
            jobs.append(own)
            for eps, seen in enumerate(adversarial):
                segments = own.segments if self.settings.lime_segments == "shared" else None
                jobs.append(self._job(seen, labels, place, eps, "lime", seed, segments))
            if self.settings.lime_floor:
                jobs.append(self._job(clean, labels, place, None, "lime_again", seed + SECOND_SEED))
        return jobs

    def make(self, jobs: list[Job], image_ids: list[str]) -> Iterator[list[tuple[Job, Struct]]]:
        """Make the explanations, so many images at a time as fill a forward pass.

        Args:
            jobs: As `order` listed them.
            image_ids: Of the whole batch, by place.

        Yields:
            All explanations of some images, as the records hold them.

        Raises:
            UserError: If the model gives NaN.
        """
        places = list(dict.fromkeys(job.place for job in jobs))
        samples = self.settings.lime.samples * len(jobs) // max(1, len(places))  # of one image
        step = max(1, self.batch_size // max(1, samples))
        for start in range(0, len(places), step):
            group = [job for job in jobs if job.place in places[start : start + step]]
            yield list(zip(group, self._explain(group, image_ids), strict=True))

    def _explain(self, jobs: list[Job], image_ids: list[str]) -> list[Struct]:
        segments = [job.segments.result() for job in jobs]
        device = self.classifier.device
        sampler = Sampler(
            self.classifier,
            torch.stack([job.image for job in jobs]),
            torch.stack([job.class_ for job in jobs]),
            torch.from_numpy(np.stack(segments).astype(np.int64)).to(device),
            self.settings.lime.hide,
            self.batch_size,
        )
        shown = [
            perturbations(image_ids[job.place], int(labels.max()) + 1, self.settings.lime.samples, job.seed)
            for job, labels in zip(jobs, segments, strict=True)
        ]
        self._warn_of_few_samples(max(rows.shape[1] for rows in shown))
        explanations = explain(sampler, shown, self.settings.lime)
        self.batch_size = sampler.batch_size
        return [
            {
                "class": int(job.class_),
                "samples": explanation.samples,
                "segments": zlib.compress(labels.tobytes()),
                "weights": explanation.weights.tolist(),
            }
            for job, labels, explanation in zip(jobs, segments, explanations, strict=True)
        ]

    def _warn_of_few_samples(self, superpixels: int) -> None:
        samples = self.settings.lime.samples
        if samples < superpixels and not self.warned:
            self.warned = True
            warnings.warn(
                f"{samples} LIME samples for an image of {superpixels} superpixels: fewer equations than unknowns, so "
                "the weights lean on the ridge penalty and change much from seed to seed; raise --lime-samples",
                stacklevel=2,
            )

    def _job(
        self,
        seen: Observation,
        labels: Tensor,
        place: int,
        eps: int | None,
        name: str,
        seed: int,
        segments: "Future[Labels] | None" = None,
    ) -> Job:
        classes = labels if self.settings.target_of("lime") == "true" else seen.logits.argmax(1)
        if segments is None:
            segments = self.cut(seen.images[place].cpu().numpy(), self.settings.lime.superpixels, seed)
        return Job(place, eps, name, seen.images[place], classes[place], segments, seed)
