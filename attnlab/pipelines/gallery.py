"""Looks of one or several models at the same images, clean and attacked: what the figures of checkpoints show."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.data.base import ImageSet
from attnlab.data.geometry import Batch, Prepared, load_batches
from attnlab.failures import naming
from attnlab.hooks import borrowed
from attnlab.looks import Series, spread
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import trained_as
from attnlab.pipelines import defaults
from attnlab.pipelines.look import compare, on_device, on_the_way

#: epochs of Fig. 6 at most; images of Figs. 6, 7 and 9; images of each part of Figs. 10 and 11
EPOCHS, EXAMPLES, DEFENDED = 6, 2, 4
#: where `attnlab train --snapshots` leaves a checkpoint of each epoch
SNAPSHOTS = "epochs"


class Outcome(NamedTuple):
    """What models made of one image.

    Attributes:
        position: Index of the image.
        label: Class index.
        clean: Prediction of each model on the image.
        adversarial: Prediction of each model on its own adversarial image.
        confidence: In the label, of the first model on the image.
    """

    position: int
    label: int
    clean: list[int]
    adversarial: list[int]
    confidence: float


@dataclass(frozen=True)
class Gallery:
    """Images, and the models that look at them; `open_gallery` makes it.

    Attributes:
        models: What each is called -> as a user writes it.
        classifiers: Likewise -> the classifier.
        images: The data set.
        positions: Indices of the images that figures choose from.
        named: They are to be shown, whatever the rules say.
        attack: Makes the adversarial images, of each model its own.
        told: What was looked at and how it was attacked, for captions.
        stepll: The attack of Fig. 2, and with A3 of Fig. 12.
        augmented: The same with A3.
        told_of_rounds: As `told`, of these two.
        seed: Of random starts, together with the image's name.
        trust_code: As of `load_model`, for the snapshots.
    """

    models: dict[str, str]
    classifiers: dict[str, Classifier] = field(repr=False)
    images: ImageSet = field(repr=False)
    positions: list[int] = field(repr=False)
    named: bool
    attack: Attack
    told: str
    stepll: Attack
    augmented: Attack
    told_of_rounds: str
    seed: int = 0
    trust_code: bool = False

    @property
    def folder(self) -> Path:
        """Where figures go: the first checkpoint's figures/, or below runs/ where it is no folder."""
        first = next(iter(self.models.values()))
        return Path(first) / "figures" if Path(first).is_dir() else Path("runs") / f"figures-{self.names[0]}"

    @property
    def names(self) -> list[str]:
        """What each model is called."""
        return list(self.models)

    @property
    def defenses(self) -> list[str]:
        """What each model was trained with."""
        return [trained_as(name)["defense"] for name in self.models.values()]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.images.classes

    def rounds(self, count: int) -> list[tuple[Series, Series]]:
        """The first model's looks at images on their way through iterated StepLL, and through StepLL with A3.

        The images are those that it classifies correctly and StepLL leads astray, of typical confidence (`spread`);
        where there is none, all that it classifies correctly stand in.

        Args:
            count: How many images.

        Returns:
            For each image two series, whose adversarial looks are those after 1, 2 ... rounds.
        """
        classifier = next(iter(self.classifiers.values()))
        correct = [one for one in self._under_stepll if one.clean[0] == one.label]
        misled = [one for one in correct if one.adversarial[0] != one.label]
        chosen = self._choose(misled or correct, count, self._under_stepll)
        series = []
        for batch in self._batches(chosen):
            for_attacks = [on_the_way(classifier, batch, attack, self.seed) for attack in (self.stepll, self.augmented)]
            series += list(zip(*for_attacks, strict=True))
        return series

    def epochs(self) -> tuple[list[int], list[Series]]:
        """Looks of the first model's snapshots, at most EPOCHS of them, evenly spaced, the first and the last included.

        The images are those that the last one classifies correctly, of typical confidence.

        Returns:
            Numbers of the epochs; a series for each image, a look for each epoch.
        """
        folder = Path(next(iter(self.models.values()))) / SNAPSHOTS
        found = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
        if not found:
            return [], []
        kept = sorted({round(place) for place in np.linspace(0, len(found) - 1, EPOCHS)})
        first = next(iter(self.classifiers.values()))
        loaded = (load_model(str(found[place]), trust_code=self.trust_code) for place in kept)
        snapshots = [snapshot.place(first.device) for snapshot in loaded]
        outcomes = self._survey(snapshots[-1:], self.attack)
        chosen = self._choose([one for one in outcomes if one.clean[0] == one.label], EXAMPLES, outcomes)
        return [int(found[place].name) for place in kept], self._compare(snapshots, chosen)

    def compared(self) -> list[Series]:
        """Looks of all models at images that all of them classify correctly, of typical confidence in the first."""
        correct = [one for one in self._all if all(clean == one.label for clean in one.clean)]
        return self._compare(list(self.classifiers.values()), self._choose(correct, EXAMPLES, self._all))

    def defended(self, model: int) -> tuple[list[Series], list[Series]]:
        """Looks of the first and another model at images where that one holds, and where it does not.

        They are images that both classify correctly and whose adversarial counterparts lead the first astray, of
        typical confidence in the first.

        Args:
            model: Number of the other one.

        Returns:
            Series of two looks: those of successful defence, those of failed defence.
        """
        fooled = [
            one
            for one in self._all
            if one.clean[0] == one.clean[model] == one.label and one.adversarial[0] != one.label
        ]
        held = [one for one in fooled if one.adversarial[model] == one.label]
        lost = [one for one in fooled if one.adversarial[model] != one.label]
        classifiers = list(self.classifiers.values())
        both = [classifiers[0], classifiers[model]]
        first, second = (
            self._compare(both, self._choose(group, len(group) if self.named else DEFENDED, group))
            for group in (held, lost)
        )
        return first, second

    @cached_property
    def _under_stepll(self) -> list[Outcome]:
        return self._survey([next(iter(self.classifiers.values()))], self.stepll)

    @cached_property
    def _all(self) -> list[Outcome]:
        return self._survey(list(self.classifiers.values()), self.attack)

    def _choose(self, outcomes: list[Outcome], count: int, named: list[Outcome]) -> list[int]:
        """Positions of the images to show: typical ones, or those that the user named."""
        if self.named:
            return [one.position for one in named]
        return [outcomes[place].position for place in spread([one.confidence for one in outcomes], count)]

    def _survey(self, classifiers: Sequence[Classifier], attack: Attack) -> list[Outcome]:
        """What classifiers make of all images that can be chosen."""
        return [one for batch in self._batches(self.positions) for one in survey(classifiers, batch, attack, self.seed)]

    def _compare(self, classifiers: Sequence[Classifier], positions: list[int]) -> list[Series]:
        batches = self._batches(positions)
        return [one for batch in batches for one in compare(classifiers, batch, self.attack, self.seed)]

    def _batches(self, positions: list[int]) -> Iterator[Batch]:
        first = next(iter(self.classifiers.values()))
        size = defaults.batch_size(first.device, first.input_size)
        cut = [positions[at : at + size] for at in range(0, len(positions), size)]
        workers = defaults.workers(self.images)
        batches = load_batches(Prepared(self.images, first.input_size), cut, workers)
        for batch in batches:
            for image in batch.skipped:
                warnings.warn(f"image {image.image_id} cannot be used and is left out: {image.reason}", stacklevel=2)
            if batch.positions:
                yield batch


def survey(classifiers: Sequence[Classifier], batch: Batch, attack: Attack, seed: int) -> list[Outcome]:
    """What classifiers make of a batch and of their own adversarial counterparts of it; arguments as for `compare`."""
    clean, adversarial, confidences = [], [], []
    for classifier in classifiers:
        images, labels, seeds = on_device(classifier, batch, seed)
        with naming("images", batch.image_ids), borrowed(classifier), torch.no_grad():
            attacked = perturb(classifier, images, labels, attack, seeds=seeds)
            logits = classifier(images)
            adversarial.append(classifier(attacked).argmax(1).tolist())
        clean.append(logits.argmax(1).tolist())
        confidences.append(logits.softmax(1).gather(1, labels[:, None])[:, 0].tolist())
    return [
        Outcome(
            position,
            int(batch.labels[place]),
            [one[place] for one in clean],
            [one[place] for one in adversarial],
            confidences[0][place],
        )
        for place, position in enumerate(batch.positions)
    ]
