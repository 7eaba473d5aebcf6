"""Attention records: what a classifier looks at, on each image and on its adversarial counterpart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from attnlab.attacks import Attack
from attnlab.attention.lime import LimeSettings
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import AUTO
from attnlab.data import DATASETS
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, load_batches, read_batch
from attnlab.failures import keeping
from attnlab.manifests import recorded
from attnlab.models.classifier import Classifier
from attnlab.pipelines import hardware
from attnlab.pipelines.attention_records import attention_records
from attnlab.pipelines.checks import check_attackable, check_fit, check_passes, check_usable
from attnlab.pipelines.lime_stage import LimeStage, lime_cost, lime_settings
from attnlab.pipelines.opening import open_images, open_model, ready_attack, run_folder, settled
from attnlab.pipelines.pending_parts import Progress, pending_parts, quietly
from attnlab.pipelines.provenance import describe_data, environment
from attnlab.pipelines.robustness_checks import first_look, write_found
from attnlab.records import CHECKS, read_checks, skipped_images
from attnlab.runs import Run, opened
from attnlab.schema import ATTENTION
from attnlab.superpixels import method_for, segmenting

TRIED = 2  # images that are cut for the estimate of what LIME takes


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
        The finished run.

    Raises:
        UserError: If a name is unknown, something cannot be had, the folder holds another run or another process works
            in it, model and data do not fit, the model fails, gives NaN or has no gradient, a worker process is lost,
            or no image can be used.
    """
    return open_analysis(config, classifier, images, positions).run(progress)


@dataclass(frozen=True)
class Analysis:
    """An analysis that is ready to run."""

    config: AnalyzeConfig  # every default is settled
    classifier: Classifier  # on its device
    images: ImageSet
    positions: list[int]  # indices of the images it uses
    attacks: tuple[Attack, ...]  # one for each eps
    out: Path
    cost: str  # what LIME takes at most; empty without LIME, and where its speed was not tried
    named: dict[str, Any]  # what the manifest says under "options" of data and model

    def run(self, progress: Progress = quietly) -> Run:
        """Write what is missing of the records; arguments and errors as of `analyze`."""
        config, classifier, images, used, out = self.config, self.classifier, self.images, self.positions, self.out
        manifest, size, workers = self.manifest(), config.run.batch_size or 1, config.run.workers or 0
        nested = {"attack": asdict(Attack()), "lime": asdict(LimeSettings())}
        with opened(out, manifest, ATTENTION, AnalyzeConfig.defaults() | nested) as run, keeping(out):
            start = perf_counter()
            work = pending_parts(run, images.image_ids, used, config.run.part_size)
            if work.missing:
                run.begin_session(manifest)
            if read_checks(out) is None and (work.missing or (out / CHECKS).exists()):  # what is damaged is made again
                name = config.model.name or "model"
                write_found(out, first_look({name: classifier}, images, used, config.data.resize))
            progress(work.done)
            prepared = ResizedDataset(images, classifier.input_size, config.data.resize)
            with segmenting(workers if config.with_lime else 0) as cut:
                lime = LimeStage(classifier, config, cut) if config.with_lime else None
                batches = load_batches(prepared, work.batches(size), workers)
                done = work.finished
                records = attention_records(classifier, batches, config, self.attacks, images.has_boxes, lime, done)
                work.complete(records, progress)
            run.finish(perf_counter() - start)
            run.write_skipped(skipped_images(run))
            check_usable(run)
        return run

    def manifest(self) -> dict[str, Any]:
        """Content of run.json."""
        config, root, random_start = self.config, self.config.data.root, self.attacks[0].random_start
        attack, lime = asdict(self.attacks[0]), asdict(lime_settings(config.lime))
        del attack["eps"]
        if not lime["patience"]:  # else the features decide the records too, and not the tables alone
            del lime["features"]
        options = {
            **self.named,
            "methods": list(config.methods),
            "attack": attack,
            "eps": [attack.eps for attack in self.attacks],
            "target": {method: config.target_of(method) for method in config.methods},
            "resize": config.data.resize,
            **({"seed": config.run.seed} if config.with_lime or random_start else {}),
            **({"lime": lime, **config.lime.recorded()} if config.with_lime else {}),
            "images": len(self.positions),
            "part_size": config.run.part_size,
        }
        return {
            "kind": "analyze",
            "options": options,
            "data": describe_data(self.images, self.positions),
            "model": self.classifier.describe(),
            "features": list(config.lime.features),
            **environment(self.classifier.device),
            "batch_size": config.run.batch_size,
            "workers": config.run.workers,
            **({"lime_batch_size": config.lime.batch_size} if config.with_lime else {}),
            "root": str(root.resolve()) if root else None,
        }


def open_analysis(
    config: AnalyzeConfig,
    classifier: Classifier | None = None,
    images: ImageSet | None = None,
    positions: Sequence[int] | None = None,
) -> Analysis:
    """Open data and model and settle every default; arguments and errors as of `analyze`."""
    attack = ready_attack(config.attack, config.data.name)
    lime_settings(config.lime)  # refuses what it cannot be
    attacks = tuple(replace(attack, eps=eps) for eps in config.attack.eps or (attack.eps,))
    split = DATASETS[config.data.name].split
    images, used, about = open_images(config.data, config.run.seed, images, positions, split)
    named: dict[str, Any] = dict(about)
    if classifier is None or config.model.name is not None:
        config = config.having(model=config.model.name or hardware.model_for(config.data.name))
        how = config.run
        named |= config.model.recorded() | {"precision": how.precision, "memory_format": how.memory_format}
    name = config.model.name or "model"
    if classifier is None:
        classifier = open_model(name, config.model.weights or "default", config.model, config.run)
    if isinstance(config.attack.name, str):
        named["attack_name"] = config.attack.name
    if config.lime.compile:
        classifier.compile_inference()
    check_fit(classifier, images)
    check_attackable(classifier)
    out = config.run.out or run_folder(config.data.name, config.data.split or split, Path(name).name)
    eps = tuple(attack.eps for attack in attacks)
    config = config.having(eps=eps, **settled(config.run, out, classifier, images, lime=config.with_lime))
    cost = ""
    if config.with_lime:
        config, cost = _settle_lime(config, out, classifier, images, used)
    check_passes(config.run.batch_size or 1, config.run.workers or 0, config.lime.batch_size or 1)
    return Analysis(config, classifier, images, used, attacks, out, cost, named)


def _settle_lime(
    config: AnalyzeConfig, out: Path, classifier: Classifier, images: ImageSet, used: Sequence[int]
) -> tuple[AnalyzeConfig, str]:
    """The way of cutting and the samples a pass, and what LIME takes at most where its speed was tried.

    A run that is resumed keeps its own, so that its last digits do not depend on the interruption.
    """
    note = ""
    if config.lime.superpixels == AUTO:
        before = (recorded(out, "options") or {}).get("lime", {}).get("superpixels")
        config = config.having(lime_superpixels=before or method_for(images.channels, classifier.input_size))
        if config.lime.superpixels == "slic":
            note = "; superpixels by slic, as quickshift finds too few in images this small"
    if size := config.lime.batch_size or recorded(out, "lime_batch_size"):
        return config.having(lime_batch_size=size), ""
    size, speed = hardware.lime_batch_size(classifier)
    tried = read_batch(images, classifier.input_size, used[:TRIED], config.data.resize)
    cutting = hardware.cutting_seconds(tried, config.lime.superpixels)
    cost = lime_cost(config, len(used), speed, cutting, config.run.workers or 0)
    return config.having(lime_batch_size=size), cost + note
