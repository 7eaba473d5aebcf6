"""Signs of masked gradients and slips of protocol, each told with the figures that raised it.

After Athalye et al. (2018), "Obfuscated gradients give a false sense of security", and Carlini et al. (2019), "On
evaluating adversarial robustness". A sign is no proof, and their absence is none either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.output_checks import NO_GRADIENT, check_outputs
from attnlab.attacks.pgd import perturb
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.words import counted

#: a difference counts as one from this exact one-sided p-value on
SIGNIFICANT = 0.01
#: from this two-sided p-value on, an attack without gradients that does better is weak evidence
WEAK = 0.05
#: at this eps every image can be turned into the same grey one
HALF = 0.5

#: which images a model classifies correctly, (images,)
Right = np.ndarray[Any, np.dtype[np.bool_]]
#: of each attack, in one order of the images
Held = Mapping[str, Right]


def check_model(classifier: Classifier, images: Tensor, labels: Tensor, eps: float) -> list[str]:
    """What is suspicious about a model, from a batch.

    Args:
        classifier: Any; it is given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        eps: L-infinity budget of the attacks, pixels in [0, 1].
    """
    with frozen_eval(classifier):
        found = check_outputs(classifier, images, labels, count=len(images))
        return found if NO_GRADIENT in found else found + _larger_eps(classifier, images, labels, eps)


def _larger_eps(classifier: Classifier, images: Tensor, labels: Tensor, eps: float) -> list[str]:
    budgets = sorted({eps, min(1.0, 2 * eps), max(HALF, eps)})
    counts = []
    for budget in budgets:
        attacked = perturb(classifier, images, labels, Attack(eps=budget, steps=10, step_size=budget / 4))
        with torch.no_grad():
            counts.append(int((classifier(attacked).argmax(1) == labels).sum()))
    told = ", ".join(f"{count} at {budget:.3g}" for budget, count in zip(budgets, counts, strict=True))
    found = []
    if any(after - before > max(2, 0.05 * len(images)) for before, after in pairwise(counts)):
        found.append(
            f"a larger eps does not lower the accuracy: of {counted(len(images), 'image')} right under 10 steps {told}"
        )
    if counts[-1] > 0.5 * len(images):
        found.append(
            "an eps that allows any image does not fool the model: "
            f"of {counted(len(images), 'image')} right under 10 steps {told}"
        )
    return found


def check_accuracies(attacks: Mapping[str, Attack], blind: Sequence[str], held: Held) -> list[str]:
    """What is suspicious about the outcomes of several attacks on one model and the same images.

    An attack with fewer steps counts as better from an exact one-sided p-value of SIGNIFICANT on, for there are many
    pairs of them. One without gradients should never be better, so that each time is told, with its p-value.

    Args:
        attacks: Those that climb a gradient: name -> settings.
        blind: Names of those that use none.
        held: Which images are still right, by the attacks' names.
    """
    found = []
    for weaker, weak in attacks.items():
        for stronger, strong in attacks.items():
            same = replace(weak, steps=1, step_size=None, random_start=False, restarts=1) == replace(
                strong, steps=1, step_size=None, random_start=False, restarts=1
            )
            if same and weak.steps < strong.steps and _lower(held[weaker], held[stronger]):
                kind = "a single step beats many" if weak.steps == 1 else "more steps do not lower the accuracy"
                found.append(f"{kind}: {_told(held, weaker, stronger)}")
    best = min(attacks, key=lambda name: float(held[name].mean()), default=None)
    for name in blind:
        if best is not None and held[name].mean() < held[best].mean():
            found.append(_blind(held, name, best))
    return found


def _blind(held: Held, blind: str, best: str) -> str:
    """What is told of an attack without gradients that leaves fewer images right than the best with gradients."""
    alone, other = int((~held[blind] & held[best]).sum()), int((held[blind] & ~held[best]).sum())
    p = float(stats.binomtest(alone, alone + other).pvalue)
    weak = "" if p < WEAK else ": weak evidence, more images or queries would tell"
    return (
        f"an attack without gradients beats those that have them: {_told(held, blind, best)}; {alone} fall to {blind} "
        f"alone and {other} to {best} alone, exact McNemar p = {p:.3g}{weak}"
    )


def _lower(
    first: "np.ndarray[tuple[int], np.dtype[np.bool_]]", second: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
) -> bool:
    """Whether the first accuracy is lower by more than chance: exact one-sided McNemar."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_second <= only_first:
        return False
    test = stats.binomtest(only_second, only_first + only_second, alternative="greater")
    return float(test.pvalue) < SIGNIFICANT


def _told(held: Held, first: str, second: str) -> str:
    return (
        f"{100 * held[first].mean():.2f} % right under {first}, {100 * held[second].mean():.2f} % under {second}, "
        f"{counted(len(held[first]), 'image')}"
    )
