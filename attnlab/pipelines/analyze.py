"""Attention records: what a classifier looks at, on each image and on its adversarial counterpart."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.targets import shared_target
from attnlab.attention import METHODS
from attnlab.attention.lime import LimeSettings
from attnlab.config import AnalyzeConfig
from attnlab.data import DATASETS, TRUTHS
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.manifests import BATCHES
from attnlab.measures import MEASURES, of_one, of_two
from attnlab.models.checkpoint import stated_defense
from attnlab.models.classifier import Classifier
from attnlab.pipelines import hardware
from attnlab.pipelines.attention_records import attention_records
from attnlab.pipelines.checks import (
    check_attackable,
    check_compilable,
    check_corruptions,
    check_map_attacks,
    check_passes,
    check_regions,
    class_names,
    fitted,
    seen_by,
)
from attnlab.pipelines.job import Job
from attnlab.pipelines.lime_stage import LimeStage, lime_settings
from attnlab.pipelines.map_measures import chosen_measures
from attnlab.pipelines.on_ray import run_on_ray
from attnlab.pipelines.opening import open_images, open_model, ready_attack, run_folder, settled
from attnlab.pipelines.own_passes import settle_passes
from attnlab.pipelines.pending_parts import Done, PendingParts, Progress, quietly
from attnlab.pipelines.provenance import describe_data, environment
from attnlab.pipelines.random_weights import write_sanity
from attnlab.pipelines.robustness_checks import first_look, write_found
from attnlab.records import CHECKS, read_checks
from attnlab.runs import Run
from attnlab.schema import ATTENTION
from attnlab.superpixels import segmenting
from attnlab.words import model_title


def analyze(
    config: AnalyzeConfig,
    classifier: Classifier | None = None,
    images: ImageSet | None = None,
    *,
    positions: Sequence[int] | None = None,
    progress: Progress = quietly,
) -> Run:
    """Write a record of every image to a run folder, or resume what is missing there.

    Args:
        config: What is computed, and how.
        classifier: Placed on its device, in place of the configuration's; it is given back as it was. The manifest
            calls it what `config.model` does.
        images: Any image set, in place of the configuration's.
        positions: Indices of the images to use, rising; by default those that `config.data` chooses.
        progress: Called with the number of images each time some are done.

    Returns:
        The run; it is finished unless parts of other shards are missing.

    Raises:
        UserError: If a name is unknown, something cannot be had, the folder holds another run or another process works
            in it, model and data do not fit, the model fails, gives NaN or has no gradient, a worker process is lost,
            or no image can be used.
    """
    if config.processes.engine == "ray":
        return run_on_ray(config, open_analysis, progress, classifier, images, positions)
    return open_analysis(config, classifier, images, positions).run(progress)


@dataclass(frozen=True, kw_only=True)
class Analysis(Job[AnalyzeConfig]):
    """An analysis that is ready to run."""

    SCHEMA = ATTENTION

    classifier: Classifier  # on its device
    attacks: tuple[Attack, ...] | tuple[Corruption]  # one for each eps, or the corruption
    defense: str = ""  # that the model was trained with, where it is a checkpoint, which says so

    def begin(self, run: Run, work: PendingParts) -> None:
        """Check the model's outputs, unless that is done; what is damaged of it is done again."""
        if read_checks(run.folder) is None and (work.missing or (run.folder / CHECKS).exists()):
            models = {self.config.model.name or "model": self.classifier}
            write_found(run.folder, first_look(models, self.images, self.positions, self.config.data.resize))

    def compute(self, work: PendingParts) -> Iterator[Done]:
        """Compute and write the parts that are missing."""
        config, classifier, has_boxes = self.config, self.classifier, self.images.has_boxes
        workers = config.run.workers or 0
        size, where = classifier.input_size, self.attacks[0].where
        prepared = ResizedDataset(self.images, size, config.data.resize, config.data.truth, where, hashed=True)
        with segmenting(workers if config.with_lime else 0) as cut:
            lime = LimeStage(classifier, config, cut) if config.with_lime else None
            batches = load_batches(prepared, work.batches(config.run.batch_size or 1), workers)
            records = attention_records(classifier, batches, config, self.attacks, has_boxes, lime, work.finished)
            yield from work.complete(records)

    def conclude(self, run: Run) -> None:
        """Compare maps under trained and under random weights, where that is asked for and not done."""
        if self.config.sanity:
            write_sanity(run, self.classifier, self.config, self.images, self.positions)

    def defaults(self) -> dict[str, Any]:
        """Values of options that manifests of older versions lack."""
        return AnalyzeConfig.defaults() | measured() | {"attack": asdict(Attack()), "lime": asdict(LimeSettings())}

    def manifest(self) -> dict[str, Any]:
        """Content of run.json."""
        config, root, random_start = self.config, self.config.data.root, self.attacks[0].random_start
        attack, lime = asdict(self.attacks[0]), asdict(lime_settings(config.lime))
        attack.pop("eps", None)
        if not lime["patience"]:  # else the features decide the records too, and not the tables alone
            del lime["features"]
        del lime["sampling"], lime["fit"]  # which `recorded` has
        options = {
            **self.named,
            "methods": list(config.methods),
            "attack": attack,
            "eps": [attack.eps for attack in self.attacks],
            "target": {method: config.target_of(method) for method in config.methods},
            "resize": config.data.resize,
            **({"truth": config.data.truth} if config.data.truth != TRUTHS[0] else {}),
            **(
                {"seed": config.run.seed}
                if random_start or any(map(draws, (*config.methods, *config.measures)))
                else {}
            ),
            **({"keep_maps": True} if config.keep_maps else {}),
            **(measured(config.measures) if config.measures else {}),
            **({"lime": lime, **config.lime.recorded()} if config.with_lime else {}),
            "images": len(self.positions),
            "part_size": config.run.part_size,
        }
        return {
            "kind": "analyze",
            "options": options,
            "data": describe_data(self.images, self.positions),
            "model": self.classifier.describe(),
            **({"defense": self.defense} if self.defense else {}),
            "features": list(config.lime.features),
            "resolutions": {method: METHODS[method].at for method in config.map_methods},
            **environment(self.classifier.device),
            "batch_size": config.run.batch_size,
            "workers": config.run.workers,
            **({"lime_batch_size": config.lime.batch_size} if config.with_lime else {}),
            **({"map_batch_size": config.map_batch_size} if config.own_methods else {}),
            "root": str(root.resolve()) if root else None,
        }


def measured(names: Sequence[str] = ()) -> dict[str, list[str]]:
    """Names of measures for run.json, in the order of the columns of the records that are called so."""
    return {"measures": of_one(names), "pair_measures": of_two(names)}


def draws(name: str) -> bool:
    """Whether a method or a measure may draw random numbers, so that the seed decides its results."""
    if name in MEASURES:
        return MEASURES[name].family == "faithfulness"
    return METHODS[name].needs == "passes" or METHODS[name].at == "pixels"


def open_analysis(
    config: AnalyzeConfig,
    classifier: Classifier | None = None,
    images: ImageSet | None = None,
    positions: Sequence[int] | None = None,
) -> Analysis:
    """Open data and model and settle every default; arguments and errors as of `analyze`."""
    attack = ready_attack(config.attack, config.data.name, config.methods)
    lime_settings(config.lime)  # refuses what it cannot be
    attacks: tuple[Attack, ...] | tuple[Corruption]
    if isinstance(attack, Corruption):
        attacks = (attack,)
    else:
        attacks = tuple(replace(attack, eps=eps) for eps in config.attack.eps or (attack.eps,))
    split = DATASETS[config.data.name].split
    images, used, about = open_images(config.data, config.run.seed, images, positions, split)
    named: dict[str, Any] = dict(about)
    if classifier is None or config.model.name is not None:
        config = config.having(model=config.model.name or hardware.model_for(config.data.name))
        how = config.run
        named |= config.model.recorded() | {"precision": how.precision, "memory_format": how.memory_format}
    name = config.model.name or "model"
    defense = "" if classifier is not None else stated_defense(name, config.model.weights or "default")
    if classifier is None:
        classifier = open_model(name, config.model.weights or "default", config.model, config.run)
    if isinstance(config.attack.name, str):
        named["attack_name"] = config.attack.name
    images = seen_by(images, classifier)
    classifier = fitted(classifier, images)
    for method in config.methods:
        METHODS[method].check(classifier)
    if config.lime.compile:
        check_compilable(classifier)
        classifier.compile_inference()
    if not isinstance(attack, Corruption):
        check_attackable(classifier)
    check_corruptions(attacks)
    check_map_attacks(attacks, classifier)
    if config.attack.target is not None:
        target = shared_target(config.attack.target, class_names(images, {name: classifier}))
        attacks = tuple(replace(one, target=target) for one in attacks if isinstance(one, Attack))
    check_regions(attacks, images)
    out = config.run.out or run_folder(config.data.name, config.data.split or split, model_title(name))
    eps = tuple(attack.eps for attack in attacks)
    chosen = tuple(name for name in BATCHES if config.flat()[name] is None)
    named_measures = chosen_measures(config.measures, images.has_boxes)
    config = config.having(
        eps=eps, measures=named_measures, **settled(config.run, out, classifier, images, lime=config.with_lime)
    )
    analysis = Analysis(
        config=config,
        images=images,
        positions=used,
        out=out,
        named=named,
        chosen=chosen,
        classifier=classifier,
        attacks=attacks,
        defense=defense,
    )
    analysis = settle_passes(analysis, classifier)
    config = analysis.config
    sizes = (config.lime.batch_size or 1, config.map_batch_size or 1)
    check_passes(config.run.batch_size or 1, config.run.workers or 0, *sizes)
    return analysis
