"""From the names a user gives to a gallery of models and images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attnlab.attacks import Attack
from attnlab.attacks.parse import SIGMA
from attnlab.data import load_data
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import trained_as
from attnlab.models.preprocessing import Statistic
from attnlab.pipelines import defaults
from attnlab.pipelines.budgets import parse_attacks
from attnlab.pipelines.expect import expect_fit
from attnlab.pipelines.gallery import Gallery
from attnlab.records import as_fraction
from attnlab.training.folder import MANIFEST, read_manifest, tell_unfinished

#: rounds of Figs. 2 and 12
ROUNDS = 5


def open_gallery(
    models: Sequence[str],
    *,
    data: str = "scenes",
    root: Path | None = None,
    split: str | None = None,
    limit: int = 100,
    named: Sequence[str] = (),
    attack: str = "pgd",
    eps: str | None = None,
    steps: int | None = None,
    step_size: str | None = None,
    device: str = "auto",
    mean: Statistic | None = None,
    std: Statistic | None = None,
    trust_code: bool = False,
) -> Gallery:
    """Open data and models; the arguments are options of `attnlab figures`.

    Args:
        models: One or several, as for `analyze`, checkpoint folders most of all.
        data: Data set.
        root: Folder of its files.
        split: By default the one that accuracy is told of.
        limit: Images that figures choose from: the first so many.
        named: Names of the images to show, in place of that choice.
        attack: Makes the adversarial images of Figs. 6, 7 and 9-11, see `parse_attacks`, as what follows.
        eps: Also of Figs. 2 and 12, as the step size.
        steps: Of an attack whose name carries none.
        step_size: Of iterative attacks.
        device: Where models run.
        mean: What images are normalised with, see `load_model`; of all models.
        std: Likewise.
        trust_code: As of `load_model`.

    Raises:
        UserError: If a name is unknown, a model cannot be had, or models and data do not fit each other.
    """
    split = split or defaults.SPLITS.get(data, "test")
    images = load_data(data, root, split)
    place = defaults.choose_device(device)
    for name in models:
        if "/" in name and ".py:" not in name and not Path(name).is_dir():
            raise UserError(f"expected an existing folder, got {name!r}")
    titles = dict(zip(titles_of(models), models, strict=True))
    classifiers = {
        title: load_model(name, mean=mean, std=std, trust_code=trust_code).place(place)
        for title, name in titles.items()
    }
    for name in models:
        tell_unfinished(name)
    first = next(iter(classifiers.values()))
    for title, classifier in classifiers.items():
        expect_fit(classifier, images, title)
        if classifier.input_size != first.input_size:
            raise UserError(
                f"expected models of one input size, got {first.input_size} and {classifier.input_size} of {title}"
            )
        if classifier.attention_layer is None:
            raise UserError(f"expected models with a spatial feature map, got {title} without one")
    unknown = [name for name in named if name not in set(images.image_ids)]
    if unknown:
        raise UserError(f"{data} {split} has no image {unknown[0]!r}; its names are like {images.image_ids[0]!r}")
    if named:
        positions = [index for index, image_id in enumerate(images.image_ids) if image_id in set(named)]
    else:
        positions = list(range(min(limit, len(images.image_ids))))
    parsed = parse_attacks(attack, data, eps=eps, steps=steps, step_size=step_size)
    chosen = next(iter(parsed.values()))
    if len(parsed) > 1 or not isinstance(chosen, Attack):
        raise UserError(f"expected --attack to name one attack by gradients, such as pgd or stepll, got {attack!r}")
    plain = parse_attacks(f"iter-stepll{ROUNDS}", data, eps=eps, step_size=step_size)[f"iter-stepll{ROUNDS}"]
    assert isinstance(plain, Attack)
    first_words = f"{data} {split}"
    return Gallery(
        titles,
        classifiers,
        images,
        positions,
        bool(named),
        chosen,
        f"{first_words}, {attack}, ε = {as_fraction(chosen.eps)}",
        plain,
        replace(plain, sigma=SIGMA),
        f"{first_words}, ε = {as_fraction(plain.eps)}, steps of {as_fraction(plain.step_length)}",
        trust_code=trust_code,
    )


def titles_of(models: Sequence[str]) -> list[str]:
    """A short name for each model: what it was trained with, where that tells them apart, else its folder's name."""
    if len(set(models)) < len(models):
        raise UserError(f"expected each checkpoint once, got {', '.join(models)}")
    for titles in ([_trained_with(name) for name in models], [Path(name).name for name in models]):
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
    if not trained["defense"].endswith("aad") or (alpha and beta):
        return trained["defense"]
    return {(True, False): "rectification only", (False, True): "preservation only"}.get(
        (bool(alpha), bool(beta)), "neither loss"
    )
