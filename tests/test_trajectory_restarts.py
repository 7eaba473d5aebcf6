"""What attacks of several starts, and images made on another model, come to: against plain loops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from trajectories import (
    A3,
    CLEAN,
    COUNT,
    CW,
    IMAGES,
    LABELS,
    LEAST,
    MI,
    NI,
    PGD,
    READINGS,
    SEEDS,
    assert_same,
    by_hand,
    plain,
    wavy,
)

from attnlab.attacks import Attack
from attnlab.attacks.context import start_of
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import attack_result, attack_results
from attnlab.errors import UserError
from attnlab.models import Classifier


@pytest.fixture
def classifier() -> Classifier:
    return wavy()


def starts_by_hand(
    classifier: Classifier, image: Tensor, label: int, attack: Attack, steps: int, seed: int, *, stop: bool
) -> tuple[int, float, int]:
    """Prediction and margin of the start of lowest margin, and steps over all starts, until a last point is wrong."""
    best, first = None, -1
    for restart in range(attack.restarts):
        seen, _ = plain(classifier, classifier, image, label, attack, steps, seed, restart)
        wrong = [number for number, logits in enumerate(seen) if int(logits.argmax()) != label]
        prediction, margin, _, reached = by_hand(seen[: wrong[0] + 1] if wrong and stop else seen, label)
        if first < 0 and reached >= 0:
            first = reached + restart * steps
        if best is None or margin < best[1]:
            best = (prediction, margin)
        if best[0] != label:
            break
    return (*best, first)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("attack", [PGD, MI, NI], ids=["pgd", "mi", "ni"])
def test_restarts_equal_a_plain_loop_over_starts(classifier, attack, stop):
    attack = replace(attack, restarts=4)
    found = attack_results(classifier, IMAGES, LABELS, attack, [3], CLEAN, SEEDS, stop=stop)[3]
    for place in range(COUNT):
        expected = starts_by_hand(classifier, IMAGES[place], int(LABELS[place]), attack, 3, SEEDS[place], stop=stop)
        assert found.predictions[place] == expected[0]
        assert float(found.margins[place]) == pytest.approx(expected[1], abs=1e-9)
        if expected[2] not in (3, 6, 9):  # see the next test
            assert found.steps[place] == expected[2]
    assert (found.steps > 3).any(), "a later start succeeded where the first did not"


def test_a_later_start_that_is_wrong_by_itself_counts_the_steps_of_those_before(classifier):
    attack = replace(PGD, restarts=30, eps=0.02, step_size=0.0)  # nothing but starts
    found = attack_results(classifier, IMAGES, LABELS, attack, [1], CLEAN, SEEDS)[1]
    right = CLEAN.argmax(1) == LABELS
    assert (found.steps > 0).any()
    for place in right.nonzero()[:, 0].tolist():
        tried = [
            int(classifier(start_of(IMAGES[[place]], attack, [SEEDS[place]], restart)).argmax()) != LABELS[place]
            for restart in range(30)
        ]
        assert found.steps[place] == (tried.index(True) if any(tried) else -1)


def test_more_starts_never_raise_a_margin(classifier):
    before = attack_results(classifier, IMAGES, LABELS, PGD, [2, 4], CLEAN, SEEDS)
    for restarts in (2, 4):
        more = attack_results(classifier, IMAGES, LABELS, replace(PGD, restarts=restarts), [2, 4], CLEAN, SEEDS)
        for reading in (2, 4):
            assert (more[reading].margins <= before[reading].margins).all()
            assert ((before[reading].steps < 0) | (more[reading].steps == before[reading].steps)).all()
            assert (more[reading].margins < before[reading].margins).any()
        before = more


@pytest.mark.parametrize("field", ["margins", "steps"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("attack", [PGD, MI, NI], ids=["pgd", "mi", "ni"])
def test_one_trajectory_with_restarts_equals_separate_runs_to_the_bit(classifier, attack, field, stop):
    attack = replace(attack, restarts=4)
    together = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS, stop=stop)
    for reading in READINGS:
        alone = attack_results(classifier, IMAGES, LABELS, attack, [reading], CLEAN, SEEDS, stop=stop)
        torch.testing.assert_close(getattr(together[reading], field), getattr(alone[reading], field), rtol=0, atol=1e-9)


def test_restarts_of_images_that_are_all_lost_change_nothing(classifier):
    wrong = (CLEAN.argmax(1) + 1) % 3
    attack = replace(PGD, eps=1e-6, step_size=1e-6)
    once = attack_results(classifier, IMAGES, wrong, attack, [2], CLEAN, SEEDS)[2]
    assert_same(attack_results(classifier, IMAGES, wrong, replace(attack, restarts=3), [2], CLEAN, SEEDS)[2], once)


# ------------------------------------------------------------------ transfer


@pytest.mark.parametrize("attack", [CW, PGD, LEAST, A3, MI, NI], ids=["cw", "pgd", "iter-stepll", "a3", "mi", "ni"])
def test_transfer_is_making_images_on_the_source_and_showing_them_to_the_victim(classifier, attack):
    source, attack = wavy(seed=1), replace(attack, eps=0.05, step_size=0.015)
    found = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS, source=source)
    right = CLEAN.argmax(1) == LABELS
    for reading in READINGS:
        made = perturb(source, IMAGES, LABELS, replace(attack, steps=reading), seeds=SEEDS)
        with torch.no_grad():
            logits = classifier(made)
        steps = torch.where(right, torch.where(logits.argmax(1) == LABELS, -1, reading), 0)
        assert_same(found[reading], attack_result(logits, LABELS, steps))
    assert (steps > 0).any()


def test_a_transfer_cannot_stop_at_points_that_are_not_looked_at(classifier):
    with pytest.raises(UserError, match="expected stop or a source, got both"):
        attack_results(classifier, IMAGES, LABELS, PGD, READINGS, CLEAN, SEEDS, source=wavy(seed=1), stop=True)


def test_a_transfer_to_itself_ends_where_the_attack_does(classifier):
    own = attack_results(classifier, IMAGES, LABELS, PGD, READINGS, CLEAN, SEEDS)
    twin = attack_results(classifier, IMAGES, LABELS, PGD, READINGS, CLEAN, SEEDS, source=wavy())
    for reading in READINGS:
        assert_same(twin[reading]._replace(steps=own[reading].steps), own[reading])
