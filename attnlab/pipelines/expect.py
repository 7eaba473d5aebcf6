"""Checks of what a user named: where data meets a model, and a model an option."""

from torch import Tensor

from attnlab.data.base import ImageSet
from attnlab.data.geometry import Batch
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model


def expect_fit(classifier: Classifier, images: ImageSet, name: str = "") -> None:
    """Check that a model takes a data set's images and knows its classes.

    Raises:
        UserError: If colour channels or classes differ.
    """
    which = f"{name}, " if name else ""
    if images.channels != classifier.channels:
        raise UserError(
            f"expected a model of {images.channels} colour channels for {images.name}, got {which}one of "
            f"{classifier.channels}; name another with --model"
        )
    if images.classes and len(images.classes) != classifier.classes:
        raise UserError(
            f"expected a model of {len(images.classes)} classes for {images.name}, got {which}one of "
            f"{classifier.classes}; name another with --model"
        )


def expect_labels(classifier: Classifier, batch: Batch) -> None:
    """Check that the model knows every label of a batch.

    Raises:
        UserError: If it does not; the text names the image.
    """
    for image_id, label in zip(batch.image_ids, batch.labels.tolist(), strict=True):
        if not 0 <= label < classifier.classes:
            raise UserError(f"expected labels from 0 to {classifier.classes - 1}, got {label} for image {image_id}")


def expect_finite(logits: Tensor, batch: Batch) -> None:
    """Check a model's answers.

    Raises:
        UserError: If a logit is NaN or infinite; the text names the image.
    """
    finite = logits.isfinite().all(1).tolist()
    if not all(finite):
        raise UserError(f"the model gave logits that are not finite for image {batch.image_ids[finite.index(False)]}")


def load_source(option: str, name: str, layer: str | None = None) -> Classifier:
    """A model that makes adversarial images for others.

    Args:
        option: What named it.
        name: As of `load_model`.
        layer: Likewise.

    Raises:
        UserError: If it cannot be had; the text names the option.
    """
    try:
        return load_model(name, layer=layer)
    except UserError as error:
        raise UserError(f"{option} {name}: {error}") from None
