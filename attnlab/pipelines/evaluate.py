"""Accuracy records: what attacks make of each image, for several models (Tables 6 and 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from attnlab.attacks import Attack, Attacks
from attnlab.config import AttackConfig, EvaluateConfig
from attnlab.data import DATASETS
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.failures import keeping
from attnlab.models.checkpoint import trained_as
from attnlab.models.classifier import Classifier
from attnlab.pipelines import hardware
from attnlab.pipelines.accuracy_records import accuracy_rows, only_attack, run_attacks, save_adversarial
from attnlab.pipelines.checks import check_fit, check_passes, check_usable, runnable_attacks
from attnlab.pipelines.opening import load_source, open_images, open_model, ready_attacks, run_folder, settled
from attnlab.pipelines.pairs import RESERVED, Pair, pair_up
from attnlab.pipelines.pending_parts import Progress, pending_parts, quietly
from attnlab.pipelines.provenance import describe_data, environment
from attnlab.pipelines.robustness_checks import first_look, write_checks, write_found
from attnlab.records import read_checks, skipped_images
from attnlab.runs import Run, opened
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
        The finished run.

    Raises:
        UserError: If a name is unknown, something cannot be had, the folder holds another run or another process works
            in it, a model and the data do not fit, a model gives NaN, no image can be used, or attacks are to stop
            early whose images are made on another classifier.
    """
    return open_evaluation(config, models, images, source=source, positions=positions).run(progress)


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that is ready to run."""

    config: EvaluateConfig  # every default is settled
    models: Models  # name -> classifier, on its device
    source: Classifier | None  # on which adversarial images are made, if that is another one
    images: ImageSet
    positions: list[int]  # indices of the images it uses
    attacks: Attacks  # name -> settings
    out: Path
    save: bool  # keep the adversarial images as files
    named: dict[str, Any]  # what the manifest says under "options" of data and models

    @property
    def count(self) -> int:
        """Images to look at, those of each model counted on their own."""
        return len(self.positions) * len(self.models)

    @property
    def known(self) -> Models:
        """The models, and the one that adversarial images are made on, under its reserved name."""
        return {**self.models, **({} if self.source is None else {RESERVED: self.source})}

    def run(self, progress: Progress = quietly) -> Run:
        """Write what is missing of the records; arguments and errors as of `evaluate`."""
        config, models, images, used, out = self.config, self.models, self.images, self.positions, self.out
        size, workers = config.run.batch_size or 1, config.run.workers or 0
        resize, seed = config.data.resize, config.run.seed
        able = dict.fromkeys(models, self.attacks)
        if not self.save:
            able = {name: runnable_attacks(name, self.source or models[name], self.attacks) for name in models}
        loop = {name: asdict(Attack()) for name, attack in self.attacks.items() if isinstance(attack, Attack)}
        manifest = self.manifest(able)
        with opened(out, manifest, EVALUATION, {**EvaluateConfig.defaults(), "attacks": loop}) as run:
            start = perf_counter()
            parts = partial(pending_parts, run, images.image_ids, used, config.run.part_size)
            works = {name: parts(models_before) for models_before, name in enumerate(models)}
            if any(work.missing for work in works.values()):
                run.begin_session(manifest)
                if read_checks(out) is None:
                    with keeping(out):
                        found = first_look(self.known, images, used, resize)
                    # else they are looked for again at the end, beside others; an empty list would say that those were
                    if found and not config.check:
                        write_found(out, found)
            progress(sum(work.done for work in works.values()))
            for name, classifier in models.items():
                prepared = ResizedDataset(images, classifier.input_size, resize)
                batches = load_batches(prepared, works[name].batches(size), workers)
                rows = partial(accuracy_rows, name, classifier, self.source, seed=seed, attacks=able[name])
                attack = (
                    partial(save_adversarial, folder=out, attacks=able[name])
                    if self.save
                    else partial(run_attacks, attacks=able[name], stop=config.attack.stop)
                )
                with keeping(out):
                    works[name].complete((rows(batch, run=attack) for batch in batches), progress)
            run.finish(perf_counter() - start)
            run.write_skipped(skipped_images(run))
            check_usable(run)
            if config.check:
                write_checks(run, models, images, self.attacks, used[:size], resize, white_box=self.source is None)
        return run

    def manifest(self, able: Mapping[str, Attacks]) -> dict[str, Any]:
        """Content of run.json; `able` holds the attacks that each model is put to."""
        left_out = {name: [attack for attack in self.attacks if attack not in own] for name, own in able.items()}
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
        source = source.place(hardware.choose_device(run.device), run.precision, run.memory_format)
    _check_together(models, source, images, stop=config.attack.stop)
    first = next(iter(models))
    out = config.run.out or run_folder(config.data.name, split, "attack" if save else "evaluate", first)
    config = config.having(split=split, **settled(config.run, out, models[first], images, lime=False))
    check_passes(config.run.batch_size or 1, config.run.workers or 0)
    return Evaluation(config, models, source, images, used, attacks, out, save, named)


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


def _check_together(models: Models, source: Classifier | None, images: ImageSet, *, stop: bool) -> None:
    """Check that models, images and the model that images are made on fit each other."""
    if source is not None and stop:
        raise UserError("expected --stop or --transfer, got both: a transferred image is looked at after its last step")
    for name, classifier in models.items():
        check_fit(classifier, images, name)
        for what in ("channels", "input_size", "classes"):
            wanted, got = getattr(classifier, what), getattr(source or classifier, what)
            if wanted != got:
                raise UserError(f"expected --transfer to name a model with {what} {wanted} as {name} has, got {got}")
