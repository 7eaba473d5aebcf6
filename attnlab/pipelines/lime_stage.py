"""LIME explanations of observed batches, their superpixels cut in worker processes meanwhile."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnlab.attention.lime import BLOCK, PATIENCE, Explanation, LimeSettings, explain, perturbations
from attnlab.attention.lime_package import explain_by_package
from attnlab.attention.masked_inference import MaskedInference, NotFinite
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import AUTO, LimeOptions
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.models.classifier import Classifier
from attnlab.pipelines.fused_pass import BatchOutput
from attnlab.seeding import seed_of
from attnlab.superpixels import FEW, Labels
from attnlab.words import counted

SECOND_SEED = 2**31  # distance of the second seed from the first, for the noise floor: beyond any seed a person picks
Segments = Future[Labels]
Cut = Callable[[Any, str, int], Segments]
Struct = dict[str, Any]  # what the records call an explanation


def lime_settings(options: LimeOptions) -> LimeSettings:
    """Settings of LIME, checked; `auto` superpixels are settled before, or are quickshift's here."""
    settled = options.samples != AUTO
    return LimeSettings(
        int(options.samples) if settled else LimeSettings.samples,
        "quickshift" if options.superpixels == AUTO else options.superpixels,
        options.hide,
        options.features,
        0 if settled else PATIENCE,
        options.sampling,
        options.fit,
    )


class LimeTask(NamedTuple):
    """One explanation to make."""

    number: int  # of the image in its batch
    image_id: str
    eps: int | None  # number of the eps of the adversarial image; None for the clean one
    name: str  # what the record calls the explanation
    image: Tensor  # pixels in [0, 1], (C, H, W)
    class_: Tensor  # to explain, ()
    segments: Segments  # the image's superpixels, on their way
    seed: int  # of what is hidden


class LimeStage:
    """Makes the LIME explanations of one run; `cut` cuts an image into superpixels, see `segmenting`."""

    def __init__(self, classifier: Classifier, config: AnalyzeConfig, cut: Cut) -> None:
        self.classifier = classifier
        self.config = config
        self.lime = lime_settings(config.lime)
        self.cut = cut
        self.batch_size = config.lime.batch_size or 1  # halved for good when memory runs out
        self.warned_of_samples = self.warned_of_superpixels = False

    def order(
        self, clean: BatchOutput, adversarial: list[BatchOutput], batch: Batch, numbers: list[int]
    ) -> list[LimeTask]:
        """Have the images of these numbers in the batch cut, and list the explanations to make.

        All of them are classified correctly, so that the clean image's prediction is the label.
        """
        first, second = self.config.run.seed, self.config.run.seed + SECOND_SEED
        of_label = self.config.target_of("lime") == "true"

        def task(
            number: int, seen: BatchOutput, eps: int | None, name: str, seed: int, cut: Segments | None = None
        ) -> LimeTask:
            image, image_id = seen.images[number], batch.image_ids[number]
            class_ = (clean if of_label else seen).logits[number].argmax()
            cut = cut or self.cut(image.cpu().numpy(), self.lime.superpixels, seed_of(seed, image_id))
            return LimeTask(number, image_id, eps, name, image, class_, cut, seed)

        tasks = []
        for number in numbers:
            own = task(number, clean, None, "lime", first)
            shared = own.segments if self.config.lime.segments == "shared" else None
            tasks += [own, *(task(number, seen, eps, "lime", first, shared) for eps, seen in enumerate(adversarial))]
            if self.config.lime.floor:
                tasks.append(task(number, clean, None, "lime_again", second, shared))
        return tasks

    def make(self, tasks: list[LimeTask]) -> Iterator[list[tuple[LimeTask, Struct]]]:
        """Yield all explanations of some images at a time, as the records hold them: of as many as fill a pass."""
        indices = list(dict.fromkeys(task.number for task in tasks))
        at_once = BLOCK if self.lime.patience else self.lime.samples
        samples = at_once * len(tasks) // max(1, len(indices))  # of one image
        step = max(1, self.batch_size // max(1, samples))
        for start in range(0, len(indices), step):
            group = [task for task in tasks if task.number in indices[start : start + step]]
            yield list(zip(group, self._explain(group), strict=True))

    def _explain(self, tasks: list[LimeTask]) -> list[Struct]:
        segments = [task.segments.result() for task in tasks]
        counts = [int(labels.max()) + 1 for labels in segments]
        self._warn_of_few_samples(max(counts))
        pairs, samples = list(zip(tasks, counts, strict=True)), self.lime.samples
        self._warn_of_few_superpixels({task.image_id: count for task, count in pairs})
        shown = [perturbations(task.image_id, count, samples, task.seed, self.lime.sampling) for task, count in pairs]
        try:
            with naming("perturbed copies of images", list(dict.fromkeys(task.image_id for task in tasks))):
                explanations = self._explained(tasks, segments, shown)
        except NotFinite as error:
            raise NotFinite(error.image, tasks[error.image].image_id) from None
        return [
            {
                "class": int(task.class_),
                "samples": explanation.samples,
                "segments": zlib.compress(labels.tobytes()),
                "weights": explanation.weights.tolist(),
            }
            for task, labels, explanation in zip(tasks, segments, explanations, strict=True)
        ]

    def _explained(self, tasks: list[LimeTask], segments: list[Labels], shown: list[Tensor]) -> list[Explanation]:
        images, classes = (torch.stack(parts) for parts in zip(*((t.image, t.class_) for t in tasks), strict=True))
        if self.config.lime.engine == "lime":
            return explain_by_package(self.classifier, images, classes, segments, shown, self.lime, self.batch_size)
        labels = torch.from_numpy(np.stack(segments).astype(np.int64)).to(self.classifier.device)
        sampler = MaskedInference(self.classifier, images, classes, labels, self.lime.hide, self.batch_size)
        explanations = explain(sampler, shown, self.lime)
        self.batch_size = sampler.batch_size
        return explanations

    def _warn_of_few_superpixels(self, counts: dict[str, int]) -> None:
        few = [image_id for image_id, count in counts.items() if count < FEW]
        if few and not self.warned_of_superpixels:
            self.warned_of_superpixels = True
            method = self.lime.superpixels
            hint = "; --lime-superpixels slic makes about 40" if method != "slic" else ""
            warnings.warn(
                f"{method} cuts {few[0]} into {counts[few[0]]} superpixels: with fewer than {FEW}, an area "
                f"of the 8 or 10 of largest weight is of all that are positive{hint}",
                stacklevel=2,
            )

    def _warn_of_few_samples(self, superpixels: int) -> None:
        samples = self.lime.samples
        if samples < superpixels and not self.warned_of_samples:
            self.warned_of_samples = True
            warnings.warn(
                f"{counted(samples, 'LIME sample')} for an image of {counted(superpixels, 'superpixel')}: "
                "fewer equations than unknowns, so the weights lean on the ridge penalty and change much from seed to "
                "seed; raise --lime-samples",
                stacklevel=2,
            )
