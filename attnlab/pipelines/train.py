"""Train a model as a configuration says."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from attnlab.config import TrainConfig
from attnlab.config.train import TrainingRunOptions
from attnlab.data import DATASETS, load_dataset
from attnlab.data.base import ImageSet, digest
from attnlab.data.boxes_table import BOXES
from attnlab.data.csv_folder import has_split
from attnlab.data.summary import summarise
from attnlab.errors import UserError
from attnlab.files import alone_in, is_vacant, make_folder
from attnlab.models import Classifier
from attnlab.models.checkpoint import DESCRIPTION, trained_as
from attnlab.models.zoos import from_anywhere
from attnlab.pipelines import hardware
from attnlab.pipelines.checks import check_trainable, fitted, seen_by
from attnlab.pipelines.memory import keep_freed
from attnlab.pipelines.opening import load_as_asked, load_source, run_folder
from attnlab.pipelines.provenance import describe_data, environment
from attnlab.pipelines.robustness_checks import first_look, write_found
from attnlab.records import read_checks
from attnlab.shards import launched
from attnlab.stores import StorePath, open_root
from attnlab.training import AAD, ENDINGS, Defense
from attnlab.training.adversary import check_sources
from attnlab.training.distributed import world
from attnlab.training.folder import MANIFEST, open_training
from attnlab.training.images import check_batch, hold_out, open_images
from attnlab.training.log import LOG, OnLog, OnStep, check_tensorboard, read_epochs
from attnlab.training.parse import parse_defense, spelled_out
from attnlab.training.recipes import Plan, plan_for
from attnlab.training.trainer import Training
from attnlab.words import model_title

#: seed of the images that are held out: the same for every run, so that figures on them can be compared
HELD_OUT_SEED = 0
#: shows a training: entered for it, it gives what `Training.run` calls
Watch = Callable[[Training], AbstractContextManager[tuple[OnLog, OnStep]]]


def quietly(_training: Training) -> AbstractContextManager[tuple[OnLog, OnStep]]:
    """Show nothing of a training."""
    return nullcontext((lambda line: None, lambda step: None))


def train(
    config: TrainConfig, classifier: Classifier | None = None, images: ImageSet | None = None, *, watch: Watch = quietly
) -> Path:
    """Train a model, or resume what is missing of the training.

    Args:
        config: What is trained, and how.
        classifier: In place of the configuration's model, whose name then says how to build the network again.
        images: Any image set, in place of the configuration's.
        watch: Shows the training.

    Returns:
        Its folder, which is a checkpoint of the best epoch.

    Raises:
        UserError: If a name is unknown, a value out of range, something cannot be had, the folder holds a training with
            other options, or another process trains in it.
    """
    with prepare_training(config, classifier, images) as training, watch(training) as shown:
        training.run(*shown)
    return training.folder


@contextmanager
def prepare_training(
    config: TrainConfig, classifier: Classifier | None = None, images: ImageSet | None = None
) -> Iterator[Training]:
    """Open data and model and settle every default; arguments and errors as of `train`.

    Under torchrun this process is one of several until the block ends.
    """
    options, run, data = config.defense, config.run, config.data
    names = ["loss_weight", "classification", *(name for ending in ENDINGS.values() for name in ending.options)]
    defense = parse_defense(options.name, **{name: getattr(options, name) for name in names})
    plan = _settled_plan(config)
    if run.tensorboard:
        check_tensorboard()
    if options.sources and not defense.ensemble:
        raise UserError(f"expected --sources with the ensemble defense alone, got {options.name}")
    if classifier is not None and config.model.name is None:
        raise UserError("expected a model's name beside a classifier: checkpoints say with it how to build the network")
    images = load_dataset(data.name, data.root, "train", data.label) if images is None else images
    if not getattr(images, "labelled", True):
        raise UserError(f"expected images with labels to train on, got {images.name}, which has none")
    if DATASETS[data.name].own and config.plan.held_out is None:  # of any size, where the plan's is ImageNet's
        plan = replace(plan, held_out=min(plan.held_out, max(1, len(images.image_ids) // 10)))
    used, held = hold_out(images, plan.held_out, HELD_OUT_SEED, data.limit)
    check_batch(len(used), plan.batch_size)
    device = _device(run)
    if classifier is None:
        classes = len(images.classes) or None
        classifier = load_as_asked(plan.model, plan.weights, config.model, run.seed, classes)
    images = seen_by(images, classifier)
    classifier = fitted(classifier.place(device, "fp32", run.memory_format), images)
    check_trainable(classifier)
    if not images.classes:
        _check_labels(classifier, images)
    if run.compiled and defense.attends and classifier.head is None:
        raise UserError(
            f"expected --compile without {AAD}, or a network with a linear layer behind a global average pool, got "
            f"{plan.model}: torch.compile cannot differentiate its maps"
        )
    stated, trust_code = config.model.mean is not None, config.model.trust_code
    loaded = (load_source("--sources", name, stated=stated, trust_code=trust_code) for name in options.sources)
    sources = tuple(fitted(source.place(device, "fp32", run.memory_format), images, "--sources") for source in loaded)
    if defense.ensemble:
        check_sources(classifier, sources)
    folder = run.out or run_folder(data.name, model_title(plan.model), options.name, str(run.seed))
    manifest = {
        "kind": "train",
        "options": {
            **config.recorded(),
            "defense": spelled_out(options.name),
            **{f"defense's {name}": value for name, value in asdict(defense).items()},
            **asdict(plan),
            "sources": [source.fingerprint() for source in sources],
        },
        "data": describe_data(images, used) | {"held_out": digest(map(str, held))},
        "model": classifier.describe(),
        "plan": config.plan.name,
        **environment(device),
    }
    with world(device) as processes, ExitStack() as stack:
        processes.part(plan.batch_size)

        def claim() -> None:
            if is_vacant(folder) or (folder / MANIFEST).exists():
                make_folder(folder)
                stack.enter_context(alone_in(folder))
            open_training(folder, manifest, training_defaults())
            if read_checks(folder) is None:
                write_found(folder, first_look({plan.model: classifier}, images, held, "squash", gradients=False))
            _warn_of_doubts(plan, defense, open_root(data.root) if data.name == "folder" and data.root else None)

        processes.on_rank_zero(claim)
        done = len(read_epochs(folder / LOG)) >= plan.epochs
        count = hardware.reading_processes() if run.workers is None else run.workers
        yield Training(
            classifier=classifier,
            model=_anywhere(trained_as(plan.model)["network"]),
            name=spelled_out(options.name, defense),
            defense=defense,
            plan=plan,
            images=open_images(images, used, classifier.input_size, device, count),
            held_out=open_images(images, held, classifier.input_size, device, count),
            folder=folder,
            summary="" if done or not processes.first else f"{images.name} train: {summarise(images, used)}",
            seed=run.seed,
            sources=sources,
            bf16=run.precision == "bf16",
            compiled=run.compiled,
            cuda_graph=run.cuda_graph,
            snapshots=run.snapshots,
            tensorboard=run.tensorboard,
            world=processes,
        )


def training_defaults() -> dict[str, Any]:
    """Values that options of a training had before they existed, see `check_same`."""
    plan = {known.name: known.default for known in fields(Plan) if known.default is not MISSING}
    defense = {f"defense's {known.name}": known.default for known in fields(Defense) if known.default is not MISSING}
    return {**TrainConfig.defaults(), **plan, **defense}


def _settled_plan(config: TrainConfig) -> Plan:
    """The plan with what the user gave in its place; a checkpoint is trained on from its own weights."""
    given: dict[str, Any] = {**vars(config.plan), "model": config.model.name, "weights": config.model.weights}
    values = {name: value for name, value in given.items() if value is not None and name != "name"}
    if "model" in values and (Path(values["model"]) / DESCRIPTION).is_file():
        values.setdefault("weights", "default")
    return replace(plan_for(config.data.name, config.plan.name), **values)


def _device(run: TrainingRunOptions) -> torch.device:
    """The device of this process, which is made ready for many batches; a UserError where several cannot train so."""
    keep_freed()
    device = hardware.own_device(run.device)
    if launched() > 1 and run.compiled:
        raise UserError("expected --compile in one process, got torchrun: nobody has seen the two together yet")
    return device


def _warn_of_doubts(plan: Plan, defense: Defense, folder: Path | StorePath | None) -> None:
    """Warn of what is seldom meant; `folder` holds a user's own images, if they are those."""
    doubts = []
    if folder is not None and not (has_split(folder, "train") or has_split(folder, "val")):
        doubts.append(
            f"this training uses all images of {folder}: evaluate and analyze it on others, or keep these in "
            f"{folder / 'train'} and others in {folder / 'val'}, each with a {BOXES}"
        )
    if plan.ramp > plan.epochs and "adversarial" in defense.reads:
        longer = f"--ramp {plan.ramp:g} is longer than --epochs {plan.epochs}"
        doubts.append(f"the attack never has its full eps: {longer}")
    if defense.warmup >= plan.epochs:
        later = f"--awp-warmup {defense.warmup:g} is not below --epochs {plan.epochs}"
        doubts.append(f"no weight is ever perturbed: {later}")
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)


def _anywhere(model: str) -> str:
    """The model's name as it can be loaded from any folder: a user's own file or a zoo's folder with its whole path."""
    path, _, function = model.rpartition(":")
    return f"{Path(path).resolve()}:{function}" if path.endswith(".py") else from_anywhere(model)


def _check_labels(classifier: Classifier, images: ImageSet) -> None:
    """Check that a model knows all labels of a set that does not name its classes."""
    for index, image_id in enumerate(images.image_ids):
        label = images.label_of(index)
        if label is not None and label >= classifier.classes:
            raise UserError(
                f"expected labels from 0 to {classifier.classes - 1}, which the model knows, got {label} for image "
                f"{image_id}; name another with --model"
            )
