"""Checks of what a user named: where data meets a model, and a model an option."""

import warnings
from collections import Counter

import torch
from torch import Tensor

from attnlab.data.base import ImageSet, check_unique
from attnlab.data.resizing import Batch
from attnlab.errors import UserError, check_between
from attnlab.failures import naming
from attnlab.models import Classifier, load_model
from attnlab.runs import Run
from attnlab.words import counted, none_usable

#: images or LIME samples a pass, and processes, beyond which no machine goes
LARGEST_BATCH, MOST_WORKERS = 65_536, 1_024


def check_fit(classifier: Classifier, images: ImageSet, name: str = "") -> None:
    """Check that a model takes a data set's images and knows its classes.

    Raises:
        UserError: If colour channels or classes differ, or two images share an id.
    """
    check_unique(images.image_ids, images.name)
    which = f"{name}, " if name else ""
    if images.channels != classifier.channels:
        raise UserError(
            f"expected a model of {counted(images.channels, 'colour channel')} for {images.name}, got {which}one of "
            f"{classifier.channels}; name another with --model"
        )
    if images.classes and len(images.classes) != classifier.classes:
        raise UserError(
            f"expected a model of {counted(len(images.classes), 'class')} for {images.name}, got {which}one of "
            f"{classifier.classes}; name another with --model"
        )


def check_trainable(classifier: Classifier) -> None:
    """Check that a step of training can move a model.

    Raises:
        UserError: If it has no weight that may be trained, or its outputs have no gradient by its weights.
    """
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise UserError("expected a network with weights to train, got one that has none or whose weights are frozen")
    image = torch.full((2, classifier.channels, *classifier.input_size), 0.5, device=classifier.device)
    with torch.random.fork_rng([image.device] if image.device.type == "cuda" else []), naming("a grey image"):
        if not classifier(image).requires_grad:
            raise UserError(
                "expected outputs with a gradient by the network's weights, got none (a torch.no_grad or a detach in "
                "its forward?): there is nothing to train with"
            )


def check_passes(batch_size: int, workers: int, lime_batch_size: int = 1) -> None:
    """Check how a run is divided.

    Raises:
        UserError: If a number is out of range.
    """
    check_between(batch_size, 1, LARGEST_BATCH, "--batch-size")
    check_between(lime_batch_size, 1, LARGEST_BATCH, "--lime-batch-size")
    check_between(workers, 0, MOST_WORKERS, "--workers")


def check_usable(run: Run) -> None:
    """Refuse a run none of whose images could be used, where every number would be of nothing.

    Raises:
        UserError: If so; the text names the commonest reason.
    """
    table = run.table(["image_id", "skipped"])
    # several models see each image
    by_image = dict(zip(table["image_id"].to_pylist(), table["skipped"].to_pylist(), strict=True))
    if None in by_image.values():
        return
    (reason, count), *_ = Counter(by_image.values()).most_common(1) or [("there are none", 0)]
    which = "" if count == len(by_image) else f", {count} of them"
    listed = f"{run.folder / 'skipped.csv'} names {'it' if len(by_image) == 1 else 'them'}"
    raise UserError(f"{none_usable(len(by_image), 'image')}{which}: {reason}; {listed}")


def check_labels(classifier: Classifier, batch: Batch) -> None:
    """Check that the model knows every label of a batch.

    Raises:
        UserError: If it does not; the text names the image.
    """
    for image_id, label in zip(batch.image_ids, batch.labels.tolist(), strict=True):
        if not 0 <= label < classifier.classes:
            raise UserError(f"expected labels from 0 to {classifier.classes - 1}, got {label} for image {image_id}")


def check_finite(logits: Tensor, batch: Batch) -> None:
    """Check a model's answers.

    Raises:
        UserError: If a logit is NaN or infinite; the text names the image.
    """
    finite = logits.isfinite().all(1).tolist()
    if not all(finite):
        raise UserError(f"the model gave logits that are not finite for image {batch.image_ids[finite.index(False)]}")


def load_source(
    option: str, name: str, layer: str | None = None, *, stated: bool = False, trust_code: bool = False
) -> Classifier:
    """A model that makes adversarial images for others, normalised as it says itself.

    Args:
        option: What named it.
        name: As of `load_model`.
        layer: Likewise.
        stated: The user stated --mean and --std, which are for --model alone: warn if this one says nothing itself.
        trust_code: Likewise.

    Raises:
        UserError: If it cannot be had; the text names the option.
    """
    try:
        source = load_model(name, layer=layer, trust_code=trust_code)
    except UserError as error:
        raise UserError(f"{option} {name}: {error}") from None
    said = source.stated or [name for name in ("mean", "std") if getattr(source.network, name, None) is not None]
    if stated and not said:
        warnings.warn(
            f"{option} {name} says no mean and std of its own, so its images are not normalised: --mean and --std are "
            "for --model alone; if it needs others, set mean and std on the network in its FILE.py",
            stacklevel=2,
        )
    return source
