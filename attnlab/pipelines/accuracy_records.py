"""Records of batches: what attacks make of each image, for one model, and adversarial images as files."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits
from attnlab.attacks import CLEAN, Attack
from attnlab.attacks.balls import column
from attnlab.attacks.clean_pass import CleanPass, clean_areas
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.gaze import gaze_results
from attnlab.attacks.norms import NORMS
from attnlab.attacks.others import Attacks, OtherAttack
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import AttackResult, attack_result, attack_results, succeeded
from attnlab.data.resizing import Batch
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.files import file_of, write_whole
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import check_finite, checked_inputs, own_target
from attnlab.pipelines.pending_parts import Row, Rows, skipped_rows
from attnlab.runs import Run
from attnlab.schema import EVALUATION


class AttackBatch(NamedTuple):
    """A batch under attack."""

    victim: Classifier  # which is evaluated
    source: Classifier  # whose gradients are climbed
    image_ids: list[str]
    images: Images
    labels: Labels
    clean_logits: Logits  # of the victim
    seeds: list[int]  # of each image's random starts
    targets: dict[int | str, Labels]  # target of an `Attack` -> class that it moves each image to, (N,)
    truth: Areas | None = None  # ground truth of each image

    def targets_of(self, attack: Attack) -> Labels | None:
        """Class that a targeted attack moves each image to, (N,); None of another attack."""
        return None if attack.target is None else self.targets[attack.target]


ADVERSARIAL = ARRAYS, IMAGES = "arrays", "images"  # folders of a run that keep adversarial images
EIGHT_BIT = " 8-bit"  # what the outcome of 8-bit images is called: the attack's name and this
HALVINGS = 20  # of the share of a perturbation that whole grey levels keep within an L2 ball
AttackRunner = Callable[[AttackBatch], dict[str, AttackResult]]  # what attacks make of a batch, by their names


def accuracy_rows(
    name: str,
    classifier: Classifier,
    source: Classifier | None,
    batch: Batch,
    seed: int,
    attacks: Attacks,
    run: AttackRunner,
) -> Rows:
    """Records of a batch; an attack without a result in `run` leaves the images as they are.

    Images whose label or clean prediction is the target of an attack are attacked with the others of their batch, and
    left out.
    """
    rows = skipped_rows(batch)
    if not batch.positions:
        return rows
    images, labels, seeds = checked_inputs(classifier, batch, seed)
    with naming(f"{name}'s images", batch.image_ids), frozen_eval(classifier), torch.no_grad():
        logits = classifier(images)
    check_finite(logits, batch)
    clean = attack_result(logits, labels, torch.where(logits.argmax(1) == labels, -1, 0))
    targets = _targets(source or classifier, logits if source is None else None, images, labels, attacks)
    made_on, truth = source or classifier, batch.masks
    target = AttackBatch(classifier, made_on, batch.image_ids, images, labels, logits, seeds, targets, truth)
    with naming(f"{name}'s images", batch.image_ids):
        results = run(target)
    for result in results.values():
        check_finite(result.margins[:, None], batch)
    columns = {attack: _columns(results.get(attack, clean)) for attack in attacks}
    clean_columns = {name: values for name, values in _columns(clean).items() if name in EVALUATION.names}
    reasons = [own_target(labels, logits, each, f"{name}'s") for each in targets.values()]
    for index, position in enumerate(batch.positions):
        if reason := next(filter(None, (of_target[index] for of_target in reasons)), None):
            rows[position] = {"image_id": batch.image_ids[index], "skipped": reason}
            continue
        rows[position] = {
            "image_id": batch.image_ids[index],
            "model": name,
            "pixels_sha256": batch.sha256[index],
            "label": int(labels[index]),
            **{field: values[index] for field, values in clean_columns.items()},
            "attacks": [
                {"attack": attack, **{field: values[index] for field, values in of_attack.items()}}
                for attack, of_attack in columns.items()
            ],
        }
    return rows


def _targets(
    source: Classifier, logits: Logits | None, images: Images, labels: Labels, attacks: Attacks
) -> dict[int | str, Labels]:
    """What each target that attacks have means for a batch, by the source's logits of the clean images, if known."""

    def clean_logits() -> Logits:
        if logits is not None:
            return logits
        with frozen_eval(source), torch.no_grad():
            made: Logits = source(images)
        return made

    loop = [attack for attack in attacks.values() if isinstance(attack, Attack)]
    return {attack.target: attack.climbed.aim(clean_logits, labels) for attack in loop if attack.target is not None}


def run_attacks(target: AttackBatch, attacks: Attacks, *, stop: bool = False) -> dict[str, AttackResult]:
    """Run each attack on a batch; attacks that differ in their number of steps alone share one trajectory.

    With `stop` an image leaves an attack on the prediction at the first point at which it succeeds.
    """
    victim, source, _ids, images, labels, clean_logits, seeds, _targets, truth = target
    families: dict[Attack, dict[str, int]] = {}
    for name, attack in attacks.items():
        if isinstance(attack, Attack):
            family = replace(attack, steps=1, step_size=attack.step_length)
            families.setdefault(family, {})[name] = attack.steps
    results: dict[str, AttackResult] = {}
    clean = CleanPass(clean_logits) if source is victim else None
    if any(family.sigma is not None for family in families):  # one pass for every A3
        with frozen_eval(source):
            made = clean_areas(source, images, labels)
        clean = made if clean is None else clean._replace(areas=made.areas)
    for family, steps in families.items():
        plain = partial(attack_results, stop=stop, clean=clean, targets=target.targets_of(family))
        run = plain if family.distance is None else gaze_results
        readings = set(steps.values())
        by_steps = run(victim, images, labels, family, readings, clean_logits, seeds, source=source, truth=truth)
        results |= {name: by_steps[number] for name, number in steps.items()}
    for name, attack in attacks.items():
        if isinstance(attack, OtherAttack):
            results[name] = looked_at(target, attack(source, images, labels, seeds))
        elif isinstance(attack, Corruption):
            results[name] = looked_at(target, attack(images, seeds))
    return results


def save_adversarial(target: AttackBatch, folder: Path, attacks: Attacks) -> dict[str, AttackResult]:
    """Make a batch's adversarial images by the one attack of `only_attack`, and keep them in a run's folder.

    They are in arrays/ID.npy and images/ID.png, or images/ID.npy of as many channels as a PNG does not have; the
    outcomes of both kinds are returned.
    """
    (name, attack), *_ = ((name, attack) for name, attack in attacks.items() if attack is not None)
    if isinstance(attack, Attack):
        steps, targets, truth = attack.steps, target.targets_of(attack), target.truth
        adversarial = perturb(
            target.source, target.images, target.labels, attack, seeds=target.seeds, targets=targets, truth=truth
        )
    elif isinstance(attack, Corruption):
        steps, targets, adversarial = 0, None, attack(target.images, target.seeds)
    else:
        steps, targets = 0, None
        adversarial = attack(target.source, target.images, target.labels, target.seeds)
    Run(folder).existing()
    if isinstance(attack, Corruption):
        pixels = (adversarial * 255).round().byte()  # whole levels as they are
    else:
        pixels = eight_bit(adversarial, target.images, attack.eps, attack.norm)
    for image_id, values, levels in zip(target.image_ids, adversarial.cpu(), pixels.cpu(), strict=True):
        array, picture = BytesIO(), BytesIO()
        np.save(array, values.numpy())
        suffix = ".png" if len(levels) in (1, 3) else ".npy"
        if suffix == ".png":
            Image.fromarray(levels.permute(1, 2, 0).squeeze(2).numpy()).save(picture, "PNG")
        else:
            np.save(picture, np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))
        write_whole(file_of(folder / ARRAYS, image_id, ".npy"), array.getvalue(), sync=False)
        write_whole(file_of(folder / IMAGES, image_id, suffix), picture.getvalue(), sync=False)
    return {
        name: looked_at(target, adversarial, steps, targets),
        name + EIGHT_BIT: looked_at(target, pixels.to(adversarial) / 255, steps, targets),
    }


def looked_at(target: AttackBatch, adversarial: Images, steps: int = 0, targets: Labels | None = None) -> AttackResult:
    """The outcome of adversarial images after so many steps; 0 where the attack counts none."""
    with frozen_eval(target.victim), torch.no_grad():
        logits = target.victim(adversarial)
    lost, before = (succeeded(each.argmax(1), target.labels, targets) for each in (logits, target.clean_logits))
    lost_at = torch.where(lost, steps, -1)
    return attack_result(logits, target.labels, torch.where(before, 0, lost_at), targets)


def _columns(result: AttackResult) -> Row:
    """A value per image of what the records hold of an outcome."""
    nothing, shared = [None] * len(result.steps), result.shared_cells
    distances = nothing if result.distances is None else result.distances.tolist()
    return {
        "prediction": result.predictions.tolist(),
        "margin": result.margins.tolist(),
        "loss": result.losses.tolist(),
        "steps_to_success": [None if steps < 0 else steps for steps in result.steps.tolist()],
        "distance": [None if distance is None or isnan(distance) else distance for distance in distances],
        "shared_cells": nothing if shared is None else [None if cells[0] < 0 else cells for cells in shared.tolist()],
        "target": nothing if result.targets is None else result.targets.tolist(),
    }


def eight_bit(adversarial: Images, images: Images, eps: float, norm: str = "linf") -> Tensor:
    """Adversarial images in whole grey levels, 0 to 255, (N, C, H, W), uint8, still in the ball around `images`.

    Those are whole levels divided by 255; as much of eps is used as whole levels allow.
    """
    centre = (images * 255).round()
    if norm != "linf":
        return _within(adversarial * 255 - centre, centre, 255 * eps, norm)
    levels = int(eps * 255 + 1e-6)
    lowest, highest = (centre - levels).clamp(min=0), (centre + levels).clamp(max=255)
    return torch.clamp((adversarial * 255).round(), lowest, highest).to(torch.uint8)


def _within(levels: Tensor, centre: Tensor, eps: float, norm: str) -> Tensor:
    """Whole levels along each image's perturbation, as far as they lie within eps of the centre, by bisection."""
    none, share = torch.zeros_like(levels[:, 0, 0, 0]), torch.ones_like(levels[:, 0, 0, 0])
    for turn in range(HALVINGS):
        half = (none + share) / 2 if turn else share  # first the whole
        inside = NORMS[norm].length((levels * column(half)).round()) <= eps
        none, share = torch.where(inside, half, none), torch.where(inside, share, half)
    return (centre + (levels * column(none)).round()).clamp(0, 255).to(torch.uint8)


def only_attack(attacks: Attacks) -> Attacks:
    """The one attack that `save_adversarial` makes, with an entry for each of its outcomes."""
    if len(attacks) != 1 or CLEAN in attacks:
        raise UserError(f"expected one attack, got {', '.join(attacks)}")
    ((name, attack),) = attacks.items()
    return {CLEAN: None, name: attack, name + EIGHT_BIT: None}
