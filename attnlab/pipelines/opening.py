"""Data and models as a configuration names them, opened for a run."""

from pathlib import Path

from attnlab.config.sections import DataOptions, ModelOptions, ModelsOptions, RunOptions
from attnlab.data import load_data
from attnlab.data.base import ImageSet
from attnlab.data.subset import choose
from attnlab.models import Classifier, load_model
from attnlab.pipelines import defaults
from attnlab.training.folder import tell_unfinished


def open_images(options: DataOptions, seed: int, images: ImageSet | None = None) -> tuple[ImageSet, list[int]]:
    """The image set, or the one that is given, and the indices of the images to use, rising.

    Raises:
        UserError: If it cannot be had, or holds no images.
    """
    images = load_data(options.name, options.root, options.split or "val") if images is None else images
    return images, choose(images, options.limit, stratify=options.stratify, seed=seed)


def open_model(name: str, weights: str, options: ModelOptions | ModelsOptions, run: RunOptions) -> Classifier:
    """A model on its device.

    Args:
        name: As of `load_model`, as the weights.
        weights: Likewise.
        options: What else is said of it.
        run: Where and how it runs.

    Raises:
        UserError: If it cannot be had.
    """
    classifier = load_model(
        name,
        weights,
        options.layer,
        mean=options.mean,
        std=options.std,
        weights_key=options.weights_key,
        trust_code=options.trust_code,
    ).place(defaults.choose_device(run.device), run.precision, run.layout)
    tell_unfinished(name if weights == "default" else weights)
    return classifier


def run_folder(*names: str) -> Path:
    """Folder of a run below runs/, named after what it is of."""
    return Path("runs") / "-".join(name.replace(":", "-") for name in names)
