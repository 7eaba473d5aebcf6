"""From the names a user gives to a training that is ready to run."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from attnlab.attacks.parse import parse_eps
from attnlab.data import load_data
from attnlab.data.base import ImageSet, digest
from attnlab.data.folder import BOXES, has_split
from attnlab.errors import UserError
from attnlab.files import alone_in, is_vacant
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import DESCRIPTION, trained_as
from attnlab.models.preprocessing import Statistic
from attnlab.pipelines import defaults
from attnlab.pipelines.expect import expect_fit, expect_trainable, load_source
from attnlab.pipelines.manifest import describe_data, surroundings
from attnlab.pipelines.masking import first_look, is_checked, write_found
from attnlab.training import AAD, SHORT, Defense
from attnlab.training.board import expect_tensorboard
from attnlab.training.distributed import launched, world
from attnlab.training.folder import MANIFEST, open_training
from attnlab.training.images import expect_batch, hold_out, open_images
from attnlab.training.parse import parse_defense
from attnlab.training.plan import DEFAULT_PLAN, Plan, plan_for
from attnlab.training.sources import expect_sources
from attnlab.training.trainer import Training

#: seed of the images that are held out: the same for every run, so that figures on them can be compared
HELD_OUT_SEED = 0


@contextmanager
def prepare_training(
    *,
    defense: str = "aad",
    data: str = "scenes",
    root: Path | str | None = None,
    model: str | None = None,
    weights: str | None = None,
    weights_key: str | None = None,
    layer: str | None = None,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    plan: str = DEFAULT_PLAN,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    eps: str | None = None,
    step_size: str | None = None,
    steps: int | None = None,
    ramp: float | None = None,
    optimizer: str | None = None,
    schedule: str | None = None,
    weight_decay: float | None = None,
    augment: str | None = None,
    held_out: int | None = None,
    loss_weight: float | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    fill: str | None = None,
    classification: str = "cross-entropy",
    sources: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    layout: str = "channels-last",
    compiled: bool = False,
    cuda_graph: bool = True,
    snapshots: bool = False,
    tensorboard: bool = False,
    workers: int | None = None,
    trust_code: bool = False,
    out: Path | str | None = None,
) -> Iterator[Training]:
    """Open data and model and settle every default; the arguments are the options of `attnlab train`.

    Yields:
        The training; under torchrun this process is one of several until the block ends.

    Raises:
        UserError: If a name is unknown, a value out of range, something cannot be had, the folder holds a training with
            other options, or another process trains in it.
    """
    if not -(2**63) <= seed < 2**63:
        raise UserError("expected --seed of at most 63 bits, got a larger number")
    written, defense = defense, SHORT.get(defense, defense)
    parsed = parse_defense(
        defense, loss_weight=loss_weight, alpha=alpha, beta=beta, fill=fill, classification=classification
    )
    settled = _settled(
        plan_for(data, plan),
        model=model,
        weights=weights,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        eps=None if eps is None else parse_eps(eps, "--eps"),
        step_size=None if step_size is None else parse_eps(step_size, "--step-size"),
        steps=steps,
        ramp=ramp,
        optimizer=optimizer,
        schedule=schedule,
        weight_decay=weight_decay,
        augment=augment,
        held_out=held_out,
    )
    if tensorboard:
        expect_tensorboard()
    if sources and not parsed.ensemble:
        raise UserError(f"expected --sources with the ensemble defense alone, got {written}")
    images = load_data(data, root, "train")
    if data == "folder" and held_out is None:  # of any size, where the plan's is ImageNet's
        settled = replace(settled, held_out=min(settled.held_out, max(1, len(images.image_ids) // 10)))
    train, held = hold_out(images, settled.held_out, HELD_OUT_SEED, limit)
    expect_batch(len(train), settled.batch_size)
    place = defaults.choose_device(device)
    if launched() > 1 and place.index is not None:
        raise UserError(f"expected --device cuda under torchrun, which gives each process its own GPU, got {device}")
    if launched() > 1 and compiled:
        raise UserError("expected --compile in one process, got torchrun: nobody has seen the two together yet")
    if place == torch.device("cuda"):
        place = defaults.choose_device(f"cuda:{defaults.local_rank()}")
    classifier = load_model(
        settled.model,
        settled.weights,
        layer,
        mean=mean,
        std=std,
        seed=seed,
        weights_key=weights_key,
        trust_code=trust_code,
    )
    classifier = classifier.place(place, "fp32", layout)
    expect_fit(classifier, images)
    expect_trainable(classifier)
    if not images.classes:
        _expect_labels(classifier, images)
    if compiled and parsed.attends and classifier.head is None:
        raise UserError(
            f"expected --compile without {AAD}, or a network with a linear layer behind a global average pool, got "
            f"{settled.model}: torch.compile cannot differentiate its maps"
        )
    loaded = (load_source("--sources", name, stated=mean is not None, trust_code=trust_code) for name in sources)
    static = tuple(source.place(place, "fp32", layout) for source in loaded)
    if parsed.ensemble:
        expect_sources(classifier, static)
    folder = Path(out or f"runs/{data}-{Path(settled.model).name.replace(':', '-')}-{written}-{seed}")
    manifest = {
        "kind": "train",
        "options": {
            "data": data,
            "defense": defense,
            **{f"defense's {name}": value for name, value in asdict(parsed).items()},
            **asdict(settled),
            **({} if weights_key is None else {"weights_key": weights_key}),
            "sources": [source.fingerprint() for source in static],
            "seed": seed,
            "limit": limit,
            "precision": precision,
            "layout": layout,
            "compiled": compiled,
        },
        "data": describe_data(images, train) | {"held_out": digest(map(str, held))},
        "model": classifier.describe(),
        "plan": plan,
        **surroundings(place),
    }
    with world(place) as processes, ExitStack() as stack:
        processes.part(settled.batch_size)

        def claim() -> None:
            if is_vacant(folder) or (folder / MANIFEST).exists():
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(alone_in(folder))
            open_training(folder, manifest)
            if not is_checked(folder):
                write_found(folder, first_look({settled.model: classifier}, images, held, gradients=False))
            _tell_doubts(settled, parsed, Path(root) if root and data == "folder" else None)

        processes.lead(claim)
        count = defaults.reading_processes() if workers is None else workers
        yield Training(
            classifier=classifier,
            model=_anywhere(trained_as(settled.model)["network"]),
            name=defense if parsed.attends else defense.removesuffix(AAD),
            defense=parsed,
            plan=settled,
            images=open_images(images, train, classifier.input_size, place, count),
            held_out=open_images(images, held, classifier.input_size, place, count),
            folder=folder,
            seed=seed,
            sources=static,
            bf16=precision == "bf16",
            compiled=compiled,
            cuda_graph=cuda_graph,
            snapshots=snapshots,
            tensorboard=tensorboard,
            world=processes,
        )


def _tell_doubts(plan: Plan, defense: Defense, folder: Path | None) -> None:
    """Warn of what is seldom meant; `folder` holds a user's own images, if they are those."""
    if folder is not None and not (has_split(folder, "train") or has_split(folder, "val")):
        warnings.warn(
            f"this training uses all images of {folder}: evaluate and analyze it on others, or keep these in "
            f"{folder / 'train'} and others in {folder / 'val'}, each with a {BOXES}",
            stacklevel=2,
        )
    if plan.ramp > plan.epochs and "adversarial" in defense.reads:
        warnings.warn(
            f"the attack never has its full eps: --ramp {plan.ramp:g} is longer than --epochs {plan.epochs}",
            stacklevel=2,
        )


def _settled(plan: Plan, **given: Any) -> Plan:
    """The plan with what the user gave in its place; a checkpoint goes on from its own weights."""
    values = {name: value for name, value in given.items() if value is not None}
    if "model" in values and (Path(values["model"]) / DESCRIPTION).is_file():
        values.setdefault("weights", "default")
    return replace(plan, **values)


def _anywhere(model: str) -> str:
    """The model's name as it can be loaded from any folder: a user's own file with its whole path."""
    path, _, function = model.rpartition(":")
    return f"{Path(path).resolve()}:{function}" if path.endswith(".py") else model


def _expect_labels(classifier: Classifier, images: ImageSet) -> None:
    """Check that a model knows all labels of a set that does not name its classes.

    Raises:
        UserError: If it does not; the text names the first image.
    """
    for index, image_id in enumerate(images.image_ids):
        label = images.label_of(index)
        if label is not None and label >= classifier.classes:
            raise UserError(
                f"expected labels from 0 to {classifier.classes - 1}, which the model knows, got {label} for image "
                f"{image_id}; name another with --model"
            )
