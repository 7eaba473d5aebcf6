"""Records of batches: what attacks make of each image, for one model."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import torch

from attnlab.arrays import Images, Labels, Logits
from attnlab.attacks import Attack, Attacks, OtherAttack
from attnlab.attacks.trajectory import AttackResult, attack_result, attack_results
from attnlab.data.resizing import Batch
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, checked_inputs
from attnlab.pipelines.pending_parts import Row, Rows, skipped_rows


class AttackBatch(NamedTuple):
    """A batch under attack."""

    victim: Classifier  # which is evaluated
    source: Classifier  # whose gradients are climbed
    image_ids: list[str]
    images: Images
    labels: Labels
    clean_logits: Logits  # of the victim
    seeds: list[int]  # of each image's random starts


#: what attacks make of a batch, by their names
AttackRunner = Callable[[AttackBatch], dict[str, AttackResult]]


def accuracy_rows(
    name: str,
    classifier: Classifier,
    source: Classifier | None,
    batch: Batch,
    seed: int,
    attacks: Iterable[str],
    run: AttackRunner,
) -> Rows:
    """Records of a batch; an attack that `run` says nothing of leaves the images as they are."""
    rows = skipped_rows(batch)
    if not batch.positions:
        return rows
    images, labels, seeds = checked_inputs(classifier, batch, seed)
    with naming(f"{name}'s images", batch.image_ids), frozen_eval(classifier), torch.no_grad():
        logits = classifier(images)
    check_finite(logits, batch)
    clean = attack_result(logits, labels, torch.where(logits.argmax(1) == labels, -1, 0))
    target = AttackBatch(classifier, source or classifier, batch.image_ids, images, labels, logits, seeds)
    with naming(f"{name}'s images", batch.image_ids):
        results = run(target)
    for result in results.values():
        check_finite(result.margins[:, None], batch)
    columns = {attack: _columns(results.get(attack, clean)) for attack in attacks}
    clean_columns = _columns(clean)
    del clean_columns["steps_to_success"]
    for index, position in enumerate(batch.positions):
        rows[position] = {
            "image_id": batch.image_ids[index],
            "model": name,
            "label": int(batch.labels[index]),
            **{field: values[index] for field, values in clean_columns.items()},
            "attacks": [
                {"attack": attack, **{field: values[index] for field, values in of_attack.items()}}
                for attack, of_attack in columns.items()
            ],
        }
    return rows


def run_attacks(target: AttackBatch, attacks: Attacks, *, stop: bool = False) -> dict[str, AttackResult]:
    """What each attack makes of a batch; attacks that differ in their number of steps alone share one trajectory.

    With `stop` an image leaves an attack at the first point that is misclassified.
    """
    families: dict[Attack, dict[str, int]] = {}
    for name, attack in attacks.items():
        if isinstance(attack, Attack):
            family = replace(attack, steps=1, step_size=attack.step_length)
            families.setdefault(family, {})[name] = attack.steps
    results: dict[str, AttackResult] = {}
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
        results |= {name: by_steps[number] for name, number in steps.items()}
    for name, attack in attacks.items():
        if isinstance(attack, OtherAttack):
            results[name] = looked_at(target, attack(target.source, target.images, target.labels, target.seeds))
    return results


def looked_at(target: AttackBatch, adversarial: Images, steps: int = 0) -> AttackResult:
    """The outcome of adversarial images after so many steps; 0 where the attack tells of none."""
    with frozen_eval(target.victim), torch.no_grad():
        logits = target.victim(adversarial)
    lost_at = torch.where(logits.argmax(1) == target.labels, -1, steps)
    lost_at = torch.where(target.clean_logits.argmax(1) == target.labels, lost_at, 0)
    return attack_result(logits, target.labels, lost_at)


def _columns(result: AttackResult) -> Row:
    """A value per image of what the records hold of an outcome."""
    return {
        "prediction": result.predictions.tolist(),
        "margin": result.margins.tolist(),
        "loss": result.losses.tolist(),
        "steps_to_success": [None if steps < 0 else steps for steps in result.steps.tolist()],
    }
