"""Results of attacks: one trajectory, read at several numbers of steps."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Logits, PerImage
from attnlab.attacks import Attack, State
from attnlab.attacks.clean_pass import CleanPass
from attnlab.attacks.context import AttackContext, attack_context, start_of
from attnlab.attacks.objectives import lead, margin
from attnlab.attacks.pgd import pgd_steps
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier


class AttackResult(NamedTuple):
    """Result of an attack on a batch, at its last point; of an attack on maps, at the best one."""

    predictions: Labels
    margins: PerImage  # logit of the label less the highest of the others
    losses: PerImage  # cross-entropy of the label
    # gradient steps until the attack succeeded at a point, over all starts; 0: at the clean image or the first start;
    # -1: at none, as far as points were looked at
    steps: PerImage
    distances: PerImage | None = None  # of an attack on maps: of the maps from the clean ones, see `DISTANCES`
    shared_cells: Tensor | None = None  # likewise: as of `topk_intersection` of clean and attacked maps, (N, h * w)
    targets: Labels | None = None  # of a targeted attack
    leads: PerImage | None = None  # as of `lead`; None: the margins are

    def succeeded(self, labels: Labels) -> Tensor:
        """Where the attack has succeeded, (N,), bool."""
        return succeeded(self.predictions, labels, self.targets)


def succeeded(predictions: Labels, labels: Labels, targets: Labels | None) -> Tensor:
    """Where predictions are what an attack is after, (N,), bool: not the label, or of a targeted attack the target."""
    return predictions != labels if targets is None else predictions == targets


def attack_result(logits: Logits, labels: Labels, steps: Tensor, targets: Labels | None = None) -> AttackResult:
    """Outcome from logits at the last points."""
    return AttackResult(
        logits.argmax(1),
        margin(logits, labels),
        F.cross_entropy(logits, labels, reduction="none"),
        steps.clone(),
        targets=targets,
        leads=None if targets is None else lead(logits, labels, targets),
    )


def attack_results(
    victim: Classifier,
    images: Images,
    labels: Labels,
    attack: Attack,
    readings: Collection[int],
    clean_logits: Logits,
    seeds: Sequence[int],
    *,
    source: Classifier | None = None,
    stop: bool = False,
    clean: CleanPass | None = None,
    targets: Labels | None = None,
    truth: Areas | None = None,
) -> dict[int, AttackResult]:
    """Run an attack once and read it at several numbers of steps: equal to separate attacks of so many steps.

    The attack's own number plays no part. With restarts an image keeps the start whose last point has the lowest
    `lead`, for each reading by itself; images that are lost at every reading, where the attack has succeeded, are not
    attacked from another start.

    The gradients of a transfer attack are the `source`'s: the victim then sees the clean image and each reading's last
    point alone, and steps are counted by these. With `stop`, not with a source, an image leaves the attack at the
    first point at which it succeeds, which is then its last. `clean`, of the source, `targets` and `truth` as of
    `perturb`.
    """
    source = victim if source is None else source
    if stop and source is not victim:
        raise UserError("expected stop or a source, got both: a transferred image is looked at after its last step")
    attack = replace(attack, steps=max(readings))
    results: dict[int, AttackResult] = {}
    with frozen_eval(victim), frozen_eval(source):
        aim = attack_context(source, images, labels, attack, clean, targets, truth)._replace(seeds=seeds)
        active = torch.arange(len(images), device=images.device)
        for restart in range(attack.restarts):
            own_seeds = [seeds[index] for index in active.tolist()] if restart else seeds
            of_active = aim.take(active).start(restart)
            start = start_of(of_active.images, attack, own_seeds, restart, of_active.region)
            reached = _one_start(victim, source, start, of_active, attack, readings, clean_logits[active], stop=stop)
            for reading, result in reached.items():
                total = torch.where(result.steps >= 0, result.steps + restart * reading, result.steps)
                new = result._replace(steps=total)
                results[reading] = _worse(results[reading], new, active, labels) if restart else new
            held = torch.stack([~result.succeeded(labels) for result in results.values()]).any(0)
            active = held.nonzero()[:, 0]
            if not len(active):
                break
    return results


def _worse(best: AttackResult, other: AttackResult, rows: Tensor, labels: Labels) -> AttackResult:
    """The outcome so far, and where that is not lost and another start has served the attack better, that one's."""
    of_best, of_other = (result.margins if result.leads is None else result.leads for result in (best, other))
    better = (of_other < of_best[rows]) & ~best.succeeded(labels)[rows]
    first = best.steps[rows] < 0

    def merge(old: Tensor, new: Tensor, where: Tensor) -> Tensor:
        return old.index_copy(0, rows, torch.where(where, new, old[rows]))

    return AttackResult(
        merge(best.predictions, other.predictions, better),
        merge(best.margins, other.margins, better),
        merge(best.losses, other.losses, better),
        merge(best.steps, other.steps, first),
        targets=best.targets,
        leads=None if other.leads is None else merge(of_best, other.leads, better),
    )


def _one_start(
    victim: Classifier,
    source: Classifier,
    start: Images,
    aim: AttackContext,
    attack: Attack,
    readings: Collection[int],
    clean_logits: Logits,
    *,
    stop: bool,
) -> dict[int, AttackResult]:
    """The outcome of one start at each reading."""
    labels, targets = aim.labels, None if attack.target is None else aim.target
    held = clean_logits.clone()  # of each image's last point
    lost = succeeded(clean_logits.argmax(1), labels, targets)
    before = torch.where(lost, 0, -1)
    lost_at = before.clone()
    results: dict[int, AttackResult] = {}

    def note(rows: Tensor, logits: Logits, step: int) -> None:
        wrong = succeeded(logits.argmax(1), labels[rows], None if targets is None else targets[rows])
        kept = lost[rows] if stop else torch.zeros_like(wrong)
        held[rows] = torch.where(kept[:, None], held[rows], logits)
        lost_at[rows] = torch.where(wrong & (lost_at[rows] < 0), step, lost_at[rows])
        lost[rows] |= wrong

    rows = torch.arange(len(labels), device=labels.device)
    if stop:
        rows = rows[~lost]
    made, point, state = 0, start[rows], State()
    while made < attack.steps and len(rows):
        rest = replace(attack, steps=attack.steps - made, step_size=attack.step_length)
        of_rows = aim.take(rows)._replace(turn=aim.turn + made)
        for iterate in pgd_steps(source, point, of_rows, rest, state=state):
            step = made + iterate.step
            if source is victim and iterate.logits is not None:
                note(rows, iterate.logits, step - 1)
            # points at which no gradient is taken need a pass of their own
            if step in readings or (attack.looks_elsewhere and source is victim):
                with torch.no_grad():
                    note(rows, victim(iterate.images), step)
            if step in readings:
                results[step] = attack_result(held, labels, lost_at, targets)
                if source is not victim:  # which has seen nothing on the way to the next reading
                    lost_at = before.clone()
            if stop and 2 * int(lost[rows].sum()) >= len(rows):
                break
        made, point, state = step, iterate.images, iterate.state
        if stop:
            kept = ~lost[rows]
            point, state, rows = point[kept], tuple(part[kept] for part in state), rows[kept]
    return {reading: results.get(reading, attack_result(held, labels, lost_at, targets)) for reading in readings}
