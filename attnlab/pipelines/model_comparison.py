"""One or several models and the images that they are compared on: what each makes of them, clean and attacked."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from attnlab.attacks import Attack
from attnlab.attacks.parse import parse_attacks
from attnlab.attacks.pgd import perturb
from attnlab.config import FiguresConfig
from attnlab.data import DATASETS, load_dataset
from attnlab.data.base import ImageSet
from attnlab.data.resizing import Batch, ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import trained_as
from attnlab.pipelines import hardware
from attnlab.pipelines.checks import checked_inputs, fitted, seen_by
from attnlab.pipelines.map_views import compare
from attnlab.training.folder import MANIFEST, read_manifest, tell_unfinished
from attnlab.views import MapSeries, quantile_examples
from attnlab.words import as_fraction, model_title

STEPS = 5  # of the attack of Figs. 2 and 12

Mask = npt.NDArray[np.bool_]


class Answers(NamedTuple):
    """Outputs of M models for N images."""

    positions: npt.NDArray[np.int64]  # indices of the images, (N,)
    clean: Mask  # whether a model classifies an image correctly, (M, N)
    adversarial: Mask  # whether it does so with its own adversarial image, (M, N)
    confidence: npt.NDArray[np.float64]  # in the label, of the first model on the image, (N,)


@dataclass(frozen=True)
class ModelComparison:
    """Models, and the images that they are compared on; `open_comparison` makes it."""

    paths: dict[str, str]  # what each model is called -> as a user writes it
    classifiers: dict[str, Classifier] = field(repr=False)  # likewise -> the classifier
    images: ImageSet = field(repr=False)
    positions: list[int] = field(repr=False)  # indices of the images that figures choose from
    named: bool  # they are to be shown, whatever the rules say
    attack: Attack  # makes the adversarial images, of each model its own
    stepll: Attack  # the attack of Fig. 2, and with A3 of Fig. 12
    setting: str  # data and attack, in words
    step_setting: str  # likewise, of Figs. 2 and 12
    seed: int = 0  # of random starts, together with the image's name
    trust_code: bool = False  # as of `load_model`, for the snapshots

    @property
    def names(self) -> list[str]:
        """Name of each model."""
        return list(self.paths)

    @property
    def first(self) -> Classifier:
        """The first model."""
        return next(iter(self.classifiers.values()))

    @property
    def classes(self) -> list[str]:
        """Class names: of the data, and of the first model's logits behind those."""
        first, names = self.first, list(self.images.classes)
        return names + list(first.labels[len(names) :] if first.class_order else ())

    @property
    def folder(self) -> Path:
        """Folder of the figures: the first checkpoint's figures/, or one below runs/ where it is no folder."""
        first = Path(self.paths[self.names[0]])
        return first / "figures" if first.is_dir() else Path("runs") / f"figures-{self.names[0]}"

    @cached_property
    def answers(self) -> Answers:
        """Outputs of all models for the images, under `attack`."""
        return self.ask(list(self.classifiers.values()), self.attack)

    @cached_property
    def step_answers(self) -> Answers:
        """Outputs of the first model for the images, under `stepll`."""
        return self.ask([self.first], self.stepll)

    def ask(self, classifiers: Sequence[Classifier], attack: Attack) -> Answers:
        """Run classifiers on all images that can be chosen, and on their own adversarial counterparts."""
        none = np.zeros((len(classifiers), 0), bool)
        answers = [Answers(np.zeros(0, int), none, none, np.zeros(0))]
        answers += [_answers(classifiers, batch, attack, self.seed) for batch in self.batches(self.positions)]
        return Answers(*(np.concatenate(values, axis=-1) for values in zip(*answers, strict=True)))

    def typical(self, answers: Answers, which: Mask, count: int) -> list[int]:
        """Positions of images of typical confidence among some; of all of them where the user named the images."""
        indices = np.flatnonzero(which)
        kept = slice(None) if self.named else quantile_examples(answers.confidence[indices], count)
        return [int(position) for position in answers.positions[indices[kept]]]

    def compare(self, classifiers: Sequence[Classifier], positions: list[int]) -> list[MapSeries]:
        """Views of classifiers on those images."""
        batches = self.batches(positions)
        return [series for batch in batches for series in compare(classifiers, batch, self.attack, self.seed)]

    def batches(self, positions: list[int]) -> Iterator[Batch]:
        """Those images at the models' size; a warning names one that cannot be used."""
        size = hardware.batch_size(self.first.device, self.first.input_size)
        cut = [positions[at : at + size] for at in range(0, len(positions), size)]
        prepared = ResizedDataset(self.images, self.first.input_size)
        for batch in load_batches(prepared, cut, hardware.workers(self.images)):
            for image in batch.skipped:
                warnings.warn(f"image {image.image_id} cannot be used and is left out: {image.reason}", stacklevel=2)
            if batch.positions:
                yield batch

    def rule(self, which: str) -> str:
        """How images were chosen, in words."""
        return "Images as named" if self.named else f"Images: of typical confidence among those that {which}"


def _answers(classifiers: Sequence[Classifier], batch: Batch, attack: Attack, seed: int) -> Answers:
    """Outputs of classifiers for a batch and for their own adversarial counterparts of it."""
    clean, adversarial, confidences = [], [], []
    for classifier in classifiers:
        images, labels, seeds = checked_inputs(classifier, batch, seed)
        with naming("images", batch.image_ids), frozen_eval(classifier), torch.no_grad():
            attacked = perturb(classifier, images, labels, attack, seeds=seeds)
            logits = classifier(images)
            adversarial.append((classifier(attacked).argmax(1) == labels).cpu().numpy())
        clean.append((logits.argmax(1) == labels).cpu().numpy())
        confidences.append(logits.softmax(1).gather(1, labels[:, None])[:, 0].cpu().numpy())
    return Answers(np.asarray(batch.positions), np.stack(clean), np.stack(adversarial), confidences[0])


def open_comparison(models: Sequence[str], config: FiguresConfig) -> ModelComparison:
    """Open data and models, one or several, as `attnlab figures` does."""
    data, named, trust = config.data.name, config.images, config.model.trust_code
    split = config.data.split or DATASETS[data].accuracy_split
    images = load_dataset(data, config.data.root, split, config.data.label)
    device = hardware.choose_device(config.model.device)
    for name in models:
        if "/" in name and ".py:" not in name and not Path(name).is_dir():
            raise UserError(f"expected an existing folder, got {name!r}")
    titles = dict(zip(titles_of(models), models, strict=True))
    classifiers = {
        title: load_model(
            name, mean=config.model.mean, std=config.model.std, channels=config.model.channels, trust_code=trust
        ).place(device)
        for title, name in titles.items()
    }
    for name in models:
        tell_unfinished(name)
    images = seen_by(images, *classifiers.values())
    classifiers = {title: fitted(classifier, images, title) for title, classifier in classifiers.items()}
    first = next(iter(classifiers.values()))
    for title, classifier in classifiers.items():
        if classifier.input_size != first.input_size:
            raise UserError(
                f"expected models of one input size, got {first.input_size} and {classifier.input_size} of {title}"
            )
        if classifier.attention_layer is None:
            raise UserError(f"expected models with a spatial feature map, got {title} without one")
    unknown = [name for name in named if name not in set(images.image_ids)]
    if unknown:
        raise UserError(f"{data} {split} has no image {unknown[0]!r}; its names are like {images.image_ids[0]!r}")
    positions = list(range(min(config.data.limit, len(images.image_ids))))
    if named:
        positions = [index for index, image_id in enumerate(images.image_ids) if image_id in set(named)]
    attack, eps, step_size = config.attack.name, config.attack.eps, config.attack.step_size
    parsed = parse_attacks(attack, data, eps=eps, steps=config.attack.steps, step_size=step_size)
    chosen = next(iter(parsed.values()))
    if len(parsed) > 1 or not isinstance(chosen, Attack):
        raise UserError(f"expected --attack to name one attack by gradients, such as pgd or stepll, got {attack!r}")
    stepll = parse_attacks(f"iter-stepll{STEPS}", data, eps=eps, step_size=step_size)[f"iter-stepll{STEPS}"]
    assert isinstance(stepll, Attack)
    setting = f"{data} {split}, {attack}, ε = {as_fraction(chosen.eps)}"
    step_setting = f"{data} {split}, ε = {as_fraction(stepll.eps)}, steps of {as_fraction(stepll.step_length)}"
    return ModelComparison(
        titles,
        classifiers,
        images,
        positions,
        bool(named),
        chosen,
        stepll,
        setting,
        step_setting,
        trust_code=trust,
    )


def titles_of(models: Sequence[str]) -> list[str]:
    """A short name for each model: what it was trained with, where that differs, else its folder's name."""
    if len(set(models)) < len(models):
        raise UserError(f"expected each checkpoint once, got {', '.join(models)}")
    for titles in ([_trained_with(name) for name in models], [model_title(name) for name in models]):
        if len(set(titles)) == len(titles):
            return titles
    return list(models)


def _trained_with(name: str) -> str:
    """Defence of a checkpoint, in the words of Fig. 9."""
    trained = trained_as(name)
    if trained["defense"] == "none":
        return "raw"
    options = read_manifest(Path(name))["options"] if (Path(name) / MANIFEST).is_file() else {}
    alpha, beta = (options.get(f"defense's {weight}", 1) for weight in ("alpha", "beta"))
    if "aad" not in trained["defense"] or (alpha and beta):
        return trained["defense"]
    if alpha:
        return "rectification only"
    return "preservation only" if beta else "neither loss"
