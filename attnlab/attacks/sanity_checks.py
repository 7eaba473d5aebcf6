"""Signs of masked gradients and slips of protocol, each with the figures that raised it.

After Athalye et al. (2018), "Obfuscated gradients give a false sense of security", and Carlini et al. (2019), "On
evaluating adversarial robustness". A sign is no proof, and their absence is none either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any, Literal

import numpy as np
import torch

from attnlab.arrays import Images, Labels
from attnlab.attacks import Attack
from attnlab.attacks.norms import NORMS
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.attacks.output_checks import NO_GRADIENT, check_outputs
from attnlab.attacks.pgd import perturb
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.words import counted

SIGNIFICANT = 0.01  # a difference counts as one from this exact one-sided p-value on
WEAK = 0.05  # from this two-sided p-value on, an attack without gradients that does better is weak evidence
HALF = 0.5  # of the way from black to white: at this eps every image can be turned into the same grey one

ROUNDED = 1e-4  # a distance of maps less another one by this much is rounding

Distances = np.ndarray[Any, np.dtype[np.floating[Any]]]  # of each image's maps, (images,)
Right = np.ndarray[Any, np.dtype[np.bool_]]  # which images a model classifies correctly, (images,)
Held = Mapping[str, Right]  # of each attack, in one order of the images


def check_model(classifier: Classifier, images: Images, labels: Labels, eps: float, norm: str = "linf") -> list[str]:
    """Name what is suspicious about a model, from a batch and a budget; it is given back as it was."""
    with frozen_eval(classifier):
        signs = check_outputs(classifier, images, labels, count=len(images))
        return signs if NO_GRADIENT in signs else signs + _larger_eps(classifier, images, labels, eps, norm)


def _larger_eps(classifier: Classifier, images: Images, labels: Labels, eps: float, norm: str) -> list[str]:
    whole = NORMS[norm].length(torch.ones_like(images[:1])).item()  # from black to white
    budgets = sorted({eps, min(whole, 2 * eps), max(HALF * whole, eps)})
    counts = []
    for budget in budgets:
        attacked = perturb(classifier, images, labels, Attack(eps=budget, steps=10, step_size=budget / 4, norm=norm))
        with torch.no_grad():
            counts.append(int((classifier(attacked).argmax(1) == labels).sum()))
    shares = ", ".join(f"{count} at {budget:.3g}" for budget, count in zip(budgets, counts, strict=True))
    outcome = f"of {counted(len(images), 'image')} right under 10 steps {shares}"
    signs = []
    if any(after - before > max(2, 0.05 * len(images)) for before, after in pairwise(counts)):
        signs.append(f"a larger eps does not lower the accuracy: {outcome}")
    if counts[-1] > 0.5 * len(images):
        signs.append(f"an eps that allows any image does not fool the model: {outcome}")
    return signs


def check_accuracies(attacks: Mapping[str, Attack], blind: Sequence[str], held: Held) -> list[str]:
    """Name what is suspicious about the outcomes of several attacks on one model and the same images.

    An attack with fewer steps counts as better from an exact one-sided p-value of SIGNIFICANT on, for there are many
    pairs of them. One of the `blind`, which use no gradient, should never be better, so that each time is reported with
    its p-value.
    """
    signs = []
    for (weaker, weak), (stronger, strong) in permutations(attacks.items(), 2):
        if weak.steps < strong.steps and _family(weak) == _family(strong) and _lower(held[weaker], held[stronger]):
            kind = "a single step beats many" if weak.steps == 1 else "more steps do not lower the accuracy"
            signs.append(f"{kind}: {_compared(held, weaker, stronger)}")
    best = min(attacks, key=lambda name: float(held[name].mean()), default=None)
    if best is not None:
        signs += [_blind(held, name, best) for name in blind if held[name].mean() < held[best].mean()]
    return signs


def check_suites(attacks: Mapping[str, OtherAttack], at_random: bool) -> list[str]:
    """Name attacks outside the loop that are not for a network that answers at random, or for one that does not."""
    apart = [name for name, attack in attacks.items() if attack.averages != at_random]
    if not apart:
        return []
    if at_random:
        return [
            f"{', '.join(apart)} counts on equal answers to equal images, and the model draws: its figure says little; "
            f"{' or '.join(name for name, attack in OTHER_ATTACKS.items() if attack.averages)} averages over the draws"
        ]
    return [f"{', '.join(apart)} is for models that draw, and this one does not: autoattack is stronger on it"]


def check_maps(attacks: Mapping[str, Attack], kept: Held, distances: Mapping[str, Distances]) -> list[str]:
    """Name what is suspicious about attacks on maps on one model and the same images, each by its own gradients.

    `kept` is which images kept their prediction, `distances` how far their maps have moved. An attack that is left with
    its best point loses no prediction that it holds, and more steps of one never move a map less.
    """
    holding = {name: attack for name, attack in attacks.items() if attack.holds == "prediction"}
    signs = []
    for name in holding:
        count, still = len(kept[name]), int((~(distances[name] > 0)).sum())  # NaN where a map shows nothing
        if lost := int((~kept[name]).sum()):
            signs.append(
                f"{name} lost the prediction of {lost} of {counted(count, 'image')}, which it holds: outputs that "
                "change from pass to pass, or with the batch"
            )
        if still > 0.5 * count:
            signs.append(
                f"{name} moved no map of {still} of {counted(count, 'image')}: the maps' gradient vanishes (ReLUs have "
                "no second derivative: --explain-softplus 10), nothing in the clean maps is positive, or the margin "
                "to be kept leaves no room"
            )
    for (weaker, weak), (stronger, strong) in permutations(holding.items(), 2):
        back = int((distances[stronger] < distances[weaker] - ROUNDED).sum())
        if back and weak.steps < strong.steps and _family(weak) == _family(strong):
            signs.append(f"more steps move the map less: {stronger} than {weaker} for {counted(back, 'image')}")
    return signs


def _family(attack: Attack) -> Attack:
    """The same for attacks that differ in their number of steps and starts alone."""
    return replace(attack, steps=1, step_size=None, random_start=False, restarts=1)


def _blind(held: Held, blind: str, best: str) -> str:
    """Report an attack without gradients that leaves fewer images right than the best with gradients."""
    alone, other = int((~held[blind] & held[best]).sum()), int((held[blind] & ~held[best]).sum())
    p = _sign_test(alone, alone + other)
    weak = "" if p < WEAK else ": weak evidence, more images or queries would decide"
    return (
        f"an attack without gradients beats those that have them: {_compared(held, blind, best)}; {alone} fall to "
        f"{blind} alone and {other} to {best} alone, exact McNemar p = {p:.3g}{weak}"
    )


def _lower(first: Right, second: Right) -> bool:
    """Whether the first accuracy is lower by more than chance: exact one-sided McNemar."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_second <= only_first:
        return False
    return _sign_test(only_second, only_first + only_second, "greater") < SIGNIFICANT


def _sign_test(successes: int, count: int, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
    """P-value of so many successes of a fair coin."""
    from scipy.stats import binomtest  # which takes as long to import as a run to begin

    return float(binomtest(successes, count, alternative=alternative).pvalue)


def _compared(held: Held, first: str, second: str) -> str:
    return (
        f"{100 * held[first].mean():.2f} % right under {first}, {100 * held[second].mean():.2f} % under {second}, "
        f"{counted(len(held[first]), 'image')}"
    )
