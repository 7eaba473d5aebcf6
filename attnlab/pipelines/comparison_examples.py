"""The examples that figures of checkpoints show: which images, chosen by rules, and what models make of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from attnlab.attacks.parse import SIGMA
from attnlab.models import load_model
from attnlab.models.checkpoint import trained_as
from attnlab.pipelines.map_views import attack_steps
from attnlab.pipelines.model_comparison import ModelComparison
from attnlab.training.folder import SNAPSHOTS
from attnlab.views import Examples, LeftOut

EPOCHS = 6  # epochs of Fig. 6 at most


def examples(models: ModelComparison, wanted: Iterable[tuple[str, int]]) -> Iterator[dict[str, Examples] | LeftOut]:
    """Choose the images of figures, one after the other: of each its choice in CHOICES, and how many images.

    Examples are by the part of the figure that they are for, "" where it has but one; or it is said why there are none.
    """

    @cache  # two figures may ask for the same
    def chosen(choice: str, count: int) -> dict[str, Examples] | LeftOut:
        try:
            return CHOICES[choice](models, count)
        except LeftOut as reason:
            return reason

    return (chosen(choice, count) for choice, count in wanted)


def _steps(models: ModelComparison, count: int, *, a3: bool) -> dict[str, Examples]:
    """Figs. 2 and 12: the first model's views after each step of StepLL, and of StepLL with A3.

    Of images that it classifies correctly and StepLL leads astray; where there is none, of all that it classifies
    correctly.
    """
    answers = models.step_answers
    misled = answers.clean[0] & ~answers.adversarial[0]
    among = misled if misled.any() else answers.clean[0]
    batches = list(models.batches(models.typical(answers, among | models.named, count)))
    attacks = {"StepLL": models.stepll} | ({"StepLL + A3": replace(models.stepll, sigma=SIGMA)} if a3 else {})
    groups = [
        (name, [steps for batch in batches for steps in attack_steps(models.first, batch, attack, models.seed)])
        for name, attack in attacks.items()
    ]
    if not groups[0][1]:
        raise LeftOut("no image is classified correctly")
    astray = f"{'StepLL' if a3 else 'the attack'} leads astray"
    rule = models.rule(astray if misled.any() else "the model classifies correctly")
    return {"": Examples(groups, models.classes, setting=models.step_setting, rule=rule)}


def _snapshots(models: ModelComparison, count: int) -> dict[str, Examples]:
    """Fig. 6: at most EPOCHS snapshots of the first model, evenly spaced, the first and the last included.

    Of images that the last one classifies correctly.
    """
    folder = Path(models.paths[models.names[0]]) / SNAPSHOTS
    epochs = sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    if not epochs:
        raise LeftOut("the checkpoint has no snapshots; `attnlab train --snapshots` leaves them")
    kept = [epochs[index] for index in sorted({round(at) for at in np.linspace(0, len(epochs) - 1, EPOCHS)})]
    loaded = [load_model(str(path), trust_code=models.trust_code).place(models.first.device) for path in kept]
    order = models.first.class_order
    loaded = [snapshot.in_order(order) for snapshot in loaded] if order else loaded
    answers = models.ask(loaded[-1:], models.attack)
    images = models.compare(loaded, models.typical(answers, answers.clean[0] | models.named, count))
    if not images:
        raise LeftOut("the last snapshot classifies no image correctly")
    columns = [f"epoch {int(path.name)}" for path in kept]
    rule = models.rule("the last epoch classifies correctly")
    return {"": Examples([("", images)], models.classes, columns, setting=models.setting, rule=rule)}


def _compared(models: ModelComparison, count: int) -> dict[str, Examples]:
    """Figs. 7 and 9: all models, on images that all of them classify correctly."""
    answers = models.answers
    chosen = models.typical(answers, np.logical_and.reduce(answers.clean) | models.named, count)
    images = models.compare(list(models.classifiers.values()), chosen)
    if not images:
        raise LeftOut("there is no image that all models classify correctly")
    rule = models.rule("all models classify correctly")
    return {"": Examples([("", images)], models.classes, models.names, setting=models.setting, rule=rule)}


def _defended(models: ModelComparison, count: int, *, stepll: bool) -> dict[str, Examples]:
    """Figs. 10 and 11: the first and a defended model, of each such pair where the defence holds and where it fails.

    Of images that both classify correctly and whose adversarial counterparts lead the first astray.
    """
    defenses = {name: trained_as(path)["defense"] for name, path in models.paths.items()}
    others = {name: defense for name, defense in list(defenses.items())[1:] if defense.startswith("stepll") == stepll}
    pairs = {}
    for name, defense in others.items():
        number, answers = models.names.index(name), models.answers
        fooled = answers.clean[0] & answers.clean[number] & ~answers.adversarial[0]
        held = answers.adversarial[number]
        both = [models.first, models.classifiers[name]]
        groups = [
            (title, models.compare(both, models.typical(answers, fooled & which, count)))
            for title, which in (("(a) successful", held), ("(b) failed", ~held))
        ]
        columns, rule = [models.names[0], name], models.rule("mislead the first model")
        part = name if len(models.names) > 2 else ""
        if any(images for _, images in groups):
            pairs[part] = Examples(groups, models.classes, columns, defense, models.setting, rule)
    if others and not pairs:
        raise LeftOut("no attack misleads the first model")
    return pairs


#: ways to choose the images of a figure of checkpoints: from models and how many images to Examples
CHOICES: dict[str, Callable[[ModelComparison, int], dict[str, Examples]]] = {
    "steps": partial(_steps, a3=False),
    "steps with A3": partial(_steps, a3=True),
    "snapshots": _snapshots,
    "compared": _compared,
    "defended": partial(_defended, stepll=False),
    "defended by stepll": partial(_defended, stepll=True),
}
