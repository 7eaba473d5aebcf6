"""Accuracy records: what attacks make of each image, for several models (Tables 6 and 7)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.others import Attacks, OtherAttack
from attnlab.attacks.targets import shared_target
from attnlab.config import AttackConfig, EvaluateConfig
from attnlab.data import DATASETS
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.files import remove_leftovers
from attnlab.manifests import FORMER_STAGES
from attnlab.models.checkpoint import trained_as
from attnlab.models.classifier import Classifier
from attnlab.pipelines import hardware
from attnlab.pipelines.accuracy_records import ADVERSARIAL, accuracy_rows, only_attack, run_attacks, save_adversarial
from attnlab.pipelines.checks import (
    check_corruptions,
    check_map_attacks,
    check_passes,
    check_regions,
    class_names,
    fitted,
    runnable_attacks,
    seen_by,
)
from attnlab.pipelines.job import Job
from attnlab.pipelines.on_ray import run_on_ray
from attnlab.pipelines.opening import load_source, open_images, open_model, ready_attacks, run_folder, settled
from attnlab.pipelines.pairs import RESERVED, Pair, pair_up
from attnlab.pipelines.pending_parts import Done, PendingParts, Progress, quietly
from attnlab.pipelines.provenance import describe_data, environment
from attnlab.pipelines.robustness_checks import first_look, write_checks, write_found
from attnlab.records import read_checks
from attnlab.runs import Run
from attnlab.schema import EVALUATION

Models = Mapping[str, Classifier]


def evaluate(
    config: EvaluateConfig | AttackConfig,
    models: Models | None = None,
    images: ImageSet | None = None,
    *,
    source: Classifier | None = None,
    positions: Sequence[int] | None = None,
    progress: Progress = quietly,
) -> Run:
    """Write a record of every model and image to a run folder, or resume what is missing there.

    Args:
        config: What is done to each image, and how; an AttackConfig also keeps the adversarial images as files.
        models: Name -> classifier, placed on its device, in place of the configuration's; given back as it was.
        images: Any image set, in place of the configuration's.
        source: Adversarial images are made on this classifier; by default on the configuration's --transfer, or else
            on the one that is evaluated.
        positions: Indices of the images to use, rising; by default those that `config.data` chooses.
        progress: Called with the number of images each time some are done; each model counts its own.

    Returns:
        The run; it is finished unless parts of other shards are missing.

    Raises:
        UserError: If a name is unknown, something cannot be had, the folder holds another run or another process works
            in it, a model and the data do not fit, a model gives NaN, no image can be used, or attacks are to stop
            early whose images are made on another classifier.
    """
    if config.processes.engine == "ray":
        return run_on_ray(config, open_evaluation, progress, models, images, source, positions)
    return open_evaluation(config, models, images, source=source, positions=positions).run(progress)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Job[EvaluateConfig]):
    """An evaluation that is ready to run."""

    SCHEMA = EVALUATION

    models: Models  # name -> classifier, on its device
    source: Classifier | None  # on which adversarial images are made, if that is another one
    attacks: Attacks  # name -> settings
    able: Mapping[str, Attacks]  # what each model is put to: those that climb no gradient where it has none
    save: bool  # keep the adversarial images as files

    @property
    def models_count(self) -> int:
        """Number of models, each of which has records of every image."""
        return len(self.models)

    @property
    def known(self) -> Models:
        """The models, and the one that adversarial images are made on, under its reserved name."""
        return {**self.models, **({} if self.source is None else {RESERVED: self.source})}

    def begin(self, run: Run, work: PendingParts) -> None:
        """Check the models' outputs, unless that is done."""
        if work.missing and read_checks(run.folder) is None:
            found = first_look(self.known, self.images, self.positions, self.config.data.resize)
            # else they are looked for again at the end, beside others; an empty list would say that those were
            if found and not self.config.check:
                write_found(run.folder, found)

    def compute(self, work: PendingParts) -> Iterator[Done]:
        """Compute and write the parts that are missing, model by model."""
        run, seed = self.config.run, self.config.run.seed
        each = len(self.parts) // len(self.models)
        for number, (name, classifier) in enumerate(self.models.items()):
            own = work.among(range(number * each, (number + 1) * each))
            where = check_regions(self.attacks.values(), self.images)
            size, resize = classifier.input_size, self.config.data.resize
            prepared = ResizedDataset(self.images, size, resize, where=where, hashed=True)
            batches = load_batches(prepared, own.batches(run.batch_size or 1), run.workers or 0)
            rows = partial(accuracy_rows, name, classifier, self.source, seed=seed, attacks=self.able[name])
            attack = (
                partial(save_adversarial, folder=self.out, attacks=self.able[name])
                if self.save
                else partial(run_attacks, attacks=self.able[name], stop=self.config.attack.stop)
            )
            yield from own.complete(map(partial(rows, run=attack), batches))

    def conclude(self, run: Run) -> None:
        """Look for masked gradients and slips of protocol in the models and their records."""
        for name in ADVERSARIAL if self.save else ():
            remove_leftovers(self.out / name)
        if self.config.check:
            first = self.positions[: self.config.run.batch_size or 1]
            resize, white_box = self.config.data.resize, self.source is None
            write_checks(run, self.models, self.images, self.attacks, first, resize, white_box=white_box)

    def defaults(self) -> dict[str, Any]:
        """Values of options that manifests of older versions lack."""
        loop = {name: asdict(Attack()) for name, attack in self.attacks.items() if isinstance(attack, Attack)}
        others = {
            name: {"stages": FORMER_STAGES.get(attack.method, ()), "norm": "linf"}
            for name, attack in self.attacks.items()
            if isinstance(attack, OtherAttack)
        }
        return {**EvaluateConfig.defaults(), "attacks": loop | others}

    def manifest(self) -> dict[str, Any]:
        """Content of run.json."""
        left_out = {name: [attack for attack in self.attacks if attack not in own] for name, own in self.able.items()}
        left_out = {name: attacks for name, attacks in left_out.items() if attacks}
        config = self.config
        options = {
            **self.named,
            "attacks": {name: None if attack is None else asdict(attack) for name, attack in self.attacks.items()},
            "resize": config.data.resize,
            "seed": config.run.seed,
            "stop": config.attack.stop,
            "images": len(self.positions),
            "part_size": config.run.part_size,
            "order": list(self.models),
        }
        return {
            "kind": "evaluate",
            "options": options,
            "data": describe_data(self.images, self.positions),
            "model": {name: classifier.describe() for name, classifier in self.known.items()},
            **environment(next(iter(self.models.values())).device),
            "batch_size": config.run.batch_size,
            "workers": config.run.workers,
            **({"left_out": left_out} if left_out else {}),
            "root": str(config.data.root.resolve()) if config.data.root else None,
        }


def open_evaluation(
    config: EvaluateConfig | AttackConfig,
    models: Models | None = None,
    images: ImageSet | None = None,
    *,
    source: Classifier | None = None,
    positions: Sequence[int] | None = None,
) -> Evaluation:
    """Open data and models and settle every default; arguments and errors as of `evaluate`."""
    save = isinstance(config, AttackConfig)
    config = config.evaluation() if isinstance(config, AttackConfig) else config
    attacks = ready_attacks(config.attack, config.data.name)
    attacks = only_attack(attacks) if save else attacks
    split = config.data.split or DATASETS[config.data.name].accuracy_split
    images, used, about = open_images(config.data, config.run.seed, images, positions, split)
    named: dict[str, Any] = {**about}
    if models is None:
        names = config.model.names or [hardware.model_for(config.data.name)]
        pairs = pair_up(names, config.model.weights, config.model.labels)
        models = _open_models(config, pairs)
        named |= _named(config, pairs) | {"saved": save}
    if config.attack.transfer and source is None:
        model, run = config.model, config.run
        stated, trust_code = model.mean is not None, model.trust_code
        source = load_source("--transfer", config.attack.transfer, model.layer, stated=stated, trust_code=trust_code)
        source = source.place(hardware.own_device(run.device), run.precision, run.memory_format)
    images = seen_by(images, *models.values())
    models, source = _fitted_together(models, source, images, stop=config.attack.stop)
    check_corruptions(attacks.values())
    check_map_attacks(attacks.values(), source, *models.values())
    if config.attack.target is not None:
        target = shared_target(config.attack.target, class_names(images, models))
        attacks = {
            name: replace(attack, target=target) if isinstance(attack, Attack) else attack
            for name, attack in attacks.items()
        }
    check_regions(attacks.values(), images)
    first = next(iter(models))
    out = config.run.out or run_folder(config.data.name, split, "attack" if save else "evaluate", first)
    chosen = () if config.run.batch_size else ("batch_size",)
    config = config.having(split=split, **settled(config.run, out, models[first], images, lime=False))
    check_passes(config.run.batch_size or 1, config.run.workers or 0)
    able = {name: attacks if save else runnable_attacks(name, source or models[name], attacks) for name in models}
    return Evaluation(
        config=config,
        images=images,
        positions=used,
        out=out,
        named=named,
        chosen=chosen,
        models=models,
        source=source,
        attacks=attacks,
        able=able,
        save=save,
    )


def _open_models(config: EvaluateConfig, pairs: Sequence[Pair]) -> dict[str, Classifier]:
    """Every model by its label; a key is of the weights that are files, where there are any."""
    from_files = [pair for pair in pairs if pair.weights not in ("default", "none")]
    models = {}
    for pair in pairs:
        keyed = pair in from_files or not from_files
        options = replace(
            config.model,
            layer=None if config.attack.transfer else config.model.layer,
            weights_key=config.model.weights_key if keyed else None,
        )
        models[pair.label] = open_model(pair.model, pair.weights, options, config.run)
    return models


def _named(config: EvaluateConfig, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Names of the models for the manifest, and weights of each where those differ."""
    weights = config.model.weights
    each = ({"weights": pair.weights} if len(weights) > 1 else {} for pair in pairs)
    return {
        "models": {
            pair.label: {"name": pair.model, **more, **trained_as(pair.model, pair.weights)}
            for pair, more in zip(pairs, each, strict=True)
        },
        "weights": ", ".join(weights) or "default",
        **config.model.recorded(),
        "transfer": config.attack.transfer,
        "precision": config.run.precision,
        "memory_format": config.run.memory_format,
    }


def _fitted_together(
    models: Models, source: Classifier | None, images: ImageSet, *, stop: bool
) -> tuple[Models, Classifier | None]:
    """The models, and the one that images are made on, as `fitted` to the images; an error where they do not fit."""
    if source is not None and stop:
        raise UserError("expected --stop or --transfer, got both: a transferred image is looked at after its last step")
    models = {name: fitted(classifier, images, name) for name, classifier in models.items()}
    source = None if source is None else fitted(source, images, "--transfer")
    for name, classifier in models.items():
        for what in ("channels", "input_size", "classes"):
            wanted, got = getattr(classifier, what), getattr(source or classifier, what)
            if wanted != got:
                raise UserError(f"expected --transfer to name a model with {what} {wanted} as {name} has, got {got}")
    return models, source
