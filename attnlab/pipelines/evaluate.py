"""Accuracy records: what attacks make of each image, for several models (Tables 6 and 7)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnlab.attacks import Attack, OtherAttack
from attnlab.attacks.outcome import Outcome, outcome, outcomes
from attnlab.data.base import ImageSet
from attnlab.data.geometry import Batch, Prepared, load_batches
from attnlab.errors import UserError
from attnlab.failures import keeping, kept_in, naming
from attnlab.hooks import borrowed
from attnlab.manifests import recorded
from attnlab.models.classifier import Classifier
from attnlab.pipelines.evaluation import Evaluation
from attnlab.pipelines.expect import expect_finite, expect_fit, expect_labels, expect_passes, expect_usable
from attnlab.pipelines.manifest import describe_data, surroundings
from attnlab.pipelines.masking import first_look, is_checked, write_checks, write_found
from attnlab.pipelines.parts import Progress, Row, Rows, work_left
from attnlab.pipelines.runnable import without_gradients
from attnlab.records import skipped_images
from attnlab.runs import Run, opened
from attnlab.schema import EVALUATION
from attnlab.seeds import seed_of


class Target(NamedTuple):
    """A batch under attack.

    Attributes:
        victim: The classifier that is evaluated.
        source: The classifier whose gradients are climbed.
        image_ids: Of the images.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        clean_logits: Of the victim, (N, K).
        seeds: Of each image's random starts.
    """

    victim: Classifier
    source: Classifier
    image_ids: list[str]
    images: Tensor
    labels: Tensor
    clean_logits: Tensor
    seeds: list[int]


#: what attacks make of a batch, by their names
Strike = Callable[[Target, Evaluation], dict[str, Outcome]]


def evaluate(
    models: Mapping[str, Classifier],
    images: ImageSet,
    out: Path,
    evaluation: Evaluation,
    *,
    source: Classifier | None = None,
    strike: Strike | None = None,
    check: bool = True,
    description: dict[str, Any] | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    positions: Sequence[int] | None = None,
    progress: Progress = lambda count: None,
) -> Run:
    """Write a record of every model and image to a run folder, or go on with what is missing there.

    Args:
        models: Name -> classifier, placed on its device; each is given back as it was.
        images: Any image set.
        out: Run folder.
        evaluation: What is done to each image.
        source: Adversarial images are made on this classifier; by default on the one that is evaluated.
        strike: Runs the attacks; by default `run_attacks`.
        check: Look for masked gradients and slips of protocol, and write what is found to checks.csv.
        description: What else the manifest should say under "options", such as the names the user gave.
        batch_size: Images a pass; by default as many as the run was begun with, or 64. It decides the last digits of
            every sum and so signs of tiny gradients, which an attack's steps follow: a run has one (docs/protocol.md).
        workers: Processes that read images; 0 reads them in this one.
        positions: Indices of the images to use, rising; by default all.
        progress: Called with the number of images each time some are done; each model counts its own.

    Returns:
        The finished run.

    Raises:
        UserError: If the folder holds another run or another process works in it, a model and the data do not fit, a
            model gives NaN, no image can be used, or attacks are to stop early whose images are made on another
            classifier.
    """
    if source is not None and evaluation.stop:
        raise UserError("expected --stop or --transfer, got both: a transferred image is looked at after its last step")
    for name, classifier in models.items():
        expect_fit(classifier, images, name)
        for what in ("channels", "input_size", "classes"):
            wanted, got = getattr(classifier, what), getattr(source or classifier, what)
            if wanted != got:
                raise UserError(f"expected --transfer to name a model with {what} {wanted} as {name} has, got {got}")
    used = list(range(len(images.image_ids)) if positions is None else positions)
    batch_size = batch_size or recorded(out, "batch_size") or 64
    expect_passes(batch_size, workers)
    runnable = {
        name: evaluation if strike is not None else without_gradients(name, source or classifier, evaluation)
        for name, classifier in models.items()
    }
    left_out = {
        name: [attack for attack in evaluation.attacks if attack not in own.attacks] for name, own in runnable.items()
    }
    manifest = {
        "kind": "evaluate",
        "options": {**(description or {}), **evaluation.describe(), "images": len(used), "order": list(models)},
        "data": describe_data(images, used),
        "model": {name: classifier.describe() for name, classifier in models.items()},
        **surroundings(next(iter(models.values())).device),
        "batch_size": batch_size,
        "workers": workers,
        **({"left_out": told} if (told := {name: gone for name, gone in left_out.items() if gone}) else {}),
    }
    if source is not None:
        manifest["model"]["transfer"] = source.describe()
    loop = asdict(Attack())
    defaults = {"attacks": {name: loop for name, made in evaluation.attacks.items() if isinstance(made, Attack)}}
    with opened(out, manifest, EVALUATION, defaults) as run:
        start = perf_counter()
        first = 0
        works = {}
        for name in models:
            works[name] = work_left(run, images.image_ids, used, first)
            first += works[name].parts
        if any(work.missing for work in works.values()):
            run.begin_session(manifest)
            if not is_checked(out):
                looked_at = {**models, "transfer": source} if source is not None else dict(models)
                with keeping(kept_in(out)):
                    found = first_look(looked_at, images, used, evaluation.geometry)
                # else they are looked for again at the end, beside others; an empty list would say that those were
                if found and not check:
                    write_found(out, found)
        progress(sum(work.done for work in works.values()))
        for name, classifier in models.items():
            prepared = Prepared(images, classifier.input_size, evaluation.geometry)
            work = works[name]
            batches = load_batches(prepared, work.batches(batch_size), workers)
            own = runnable[name]
            records = (_rows(name, classifier, source, batch, own, strike or run_attacks) for batch in batches)
            with keeping(kept_in(out)):
                work.complete(records, progress)
        run.finish(perf_counter() - start)
        run.write_skipped(skipped_images(run))
        expect_usable(run)
        if check:
            write_checks(run, models, images, evaluation, used[:batch_size], white_box=source is None)
    return run


def _rows(
    name: str,
    classifier: Classifier,
    source: Classifier | None,
    batch: Batch,
    evaluation: Evaluation,
    strike: Strike,
) -> Rows:
    """Records of a batch."""
    rows: Rows = {index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped}
    if not batch.positions:
        return rows
    expect_labels(classifier, batch)
    images, labels = batch.tensors(classifier.device)
    seeds = [seed_of(evaluation.seed, image_id) for image_id in batch.image_ids]
    with naming(f"{name}'s images", batch.image_ids), borrowed(classifier), torch.no_grad():
        logits = classifier(images)
    expect_finite(logits, batch)
    clean = outcome(logits, labels, torch.where(logits.argmax(1) == labels, -1, 0))
    target = Target(classifier, source or classifier, batch.image_ids, images, labels, logits, seeds)
    with naming(f"{name}'s images", batch.image_ids):
        found = strike(target, evaluation)
    for one in found.values():
        expect_finite(one.margins[:, None], batch)
    columns = {attack: _columns(found.get(attack, clean)) for attack in evaluation.attacks}
    clean_columns = _columns(clean)
    for place, position in enumerate(batch.positions):
        rows[position] = {
            "image_id": batch.image_ids[place],
            "model": name,
            "label": int(batch.labels[place]),
            **{field: values[place] for field, values in clean_columns.items() if field != "steps_to_success"},
            "attacks": [
                {"attack": attack, **{field: values[place] for field, values in one.items()}}
                for attack, one in columns.items()
            ],
        }
    return rows


def run_attacks(target: Target, evaluation: Evaluation) -> dict[str, Outcome]:
    """What each attack makes of a batch; attacks that differ in their number of steps alone share one trajectory."""
    families: dict[Attack, dict[str, int]] = {}
    for name, attack in evaluation.attacks.items():
        if isinstance(attack, Attack):
            family = replace(attack, steps=1, step_size=attack.step_length)
            families.setdefault(family, {})[name] = attack.steps
    found: dict[str, Outcome] = {}
    for family, steps in families.items():
        by_steps = outcomes(
            target.victim,
            target.images,
            target.labels,
            family,
            set(steps.values()),
            target.clean_logits,
            target.seeds,
            source=target.source,
            stop=evaluation.stop,
        )
        found |= {name: by_steps[number] for name, number in steps.items()}
    others = {name: attack for name, attack in evaluation.attacks.items() if isinstance(attack, OtherAttack)}
    return found | {name: _after(target, attack) for name, attack in others.items()}


def _after(target: Target, attack: OtherAttack) -> Outcome:
    """The outcome of an attack that tells no steps."""
    adversarial = attack(target.source, target.images, target.labels, target.seeds)
    return looked_at(target, adversarial)


def looked_at(target: Target, adversarial: Tensor, steps: int = 0) -> Outcome:
    """The outcome of adversarial images that took so many steps.

    Args:
        target: Whose victim looks at them.
        adversarial: Pixels in [0, 1], (N, C, H, W).
        steps: Told of the images that are misclassified; 0 of those that are so without an attack.
    """
    with borrowed(target.victim), torch.no_grad():
        logits = target.victim(adversarial)
    lost_at = torch.where(logits.argmax(1) == target.labels, -1, steps)
    lost_at = torch.where(target.clean_logits.argmax(1) == target.labels, lost_at, 0)
    return outcome(logits, target.labels, lost_at)


def _columns(one: Outcome) -> Row:
    """A value per image of what the records tell of an outcome."""
    return {
        "prediction": one.predictions.tolist(),
        "margin": one.margins.tolist(),
        "loss": one.losses.tolist(),
        "steps_to_success": [None if steps < 0 else steps for steps in one.steps.tolist()],
    }
