"""Records of batches: what attacks make of each image, for one model."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.attacks import Attack, Attacks, OtherAttack
from attnlab.attacks.trajectory import AttackResult, attack_result, attack_results
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, check_labels
from attnlab.pipelines.pending_parts import Row, Rows
from attnlab.seeding import seed_of


class AttackBatch(NamedTuple):
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
AttackRunner = Callable[[AttackBatch], dict[str, AttackResult]]


def accuracy_rows(
    name: str,
    classifier: Classifier,
    source: Classifier | None,
    batch: Batch,
    seed: int,
    attacks: Iterable[str],
    strike: AttackRunner,
) -> Rows:
    """Records of a batch; an attack that `strike` says nothing of leaves the images as they are."""
    rows: Rows = {index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped}
    if not batch.positions:
        return rows
    check_labels(classifier, batch)
    images, labels = batch.tensors(classifier.device)
    seeds = [seed_of(seed, image_id) for image_id in batch.image_ids]
    with naming(f"{name}'s images", batch.image_ids), frozen_eval(classifier), torch.no_grad():
        logits = classifier(images)
    check_finite(logits, batch)
    clean = attack_result(logits, labels, torch.where(logits.argmax(1) == labels, -1, 0))
    target = AttackBatch(classifier, source or classifier, batch.image_ids, images, labels, logits, seeds)
    with naming(f"{name}'s images", batch.image_ids):
        found = strike(target)
    for one in found.values():
        check_finite(one.margins[:, None], batch)
    columns = {attack: _columns(found.get(attack, clean)) for attack in attacks}
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


def run_attacks(target: AttackBatch, attacks: Attacks, *, stop: bool = False) -> dict[str, AttackResult]:
    """What each attack makes of a batch; attacks that differ in their number of steps alone share one trajectory.

    Args:
        target: The batch.
        attacks: Name -> settings.
        stop: An image leaves an attack at the first point that is misclassified.
    """
    families: dict[Attack, dict[str, int]] = {}
    for name, attack in attacks.items():
        if isinstance(attack, Attack):
            family = replace(attack, steps=1, step_size=attack.step_length)
            families.setdefault(family, {})[name] = attack.steps
    found: dict[str, AttackResult] = {}
    for family, steps in families.items():
        by_steps = attack_results(
            target.victim,
            target.images,
            target.labels,
            family,
            set(steps.values()),
            target.clean_logits,
            target.seeds,
            source=target.source,
            stop=stop,
        )
        found |= {name: by_steps[number] for name, number in steps.items()}
    others = {name: attack for name, attack in attacks.items() if isinstance(attack, OtherAttack)}
    return found | {name: _after(target, attack) for name, attack in others.items()}


def _after(target: AttackBatch, attack: OtherAttack) -> AttackResult:
    """The outcome of an attack that tells no steps."""
    adversarial = attack(target.source, target.images, target.labels, target.seeds)
    return looked_at(target, adversarial)


def looked_at(target: AttackBatch, adversarial: Tensor, steps: int = 0) -> AttackResult:
    """The outcome of adversarial images that took so many steps.

    Args:
        target: Whose victim looks at them.
        adversarial: Pixels in [0, 1], (N, C, H, W).
        steps: Told of the images that are misclassified; 0 of those that are so without an attack.
    """
    with frozen_eval(target.victim), torch.no_grad():
        logits = target.victim(adversarial)
    lost_at = torch.where(logits.argmax(1) == target.labels, -1, steps)
    lost_at = torch.where(target.clean_logits.argmax(1) == target.labels, lost_at, 0)
    return attack_result(logits, target.labels, lost_at)


def _columns(one: AttackResult) -> Row:
    """A value per image of what the records tell of an outcome."""
    return {
        "prediction": one.predictions.tolist(),
        "margin": one.margins.tolist(),
        "loss": one.losses.tolist(),
        "steps_to_success": [None if steps < 0 else steps for steps in one.steps.tolist()],
    }
