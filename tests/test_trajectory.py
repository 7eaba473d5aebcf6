"""What attacks come to: one trajectory against separate runs, plain loops, and leaving early."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
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
    WILD,
    assert_close,
    assert_same,
    by_hand,
    plain,
    taken,
    wavy,
)

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import attack_result, attack_results
from attnlab.models import Classifier


@pytest.fixture
def classifier() -> Classifier:
    return wavy()


# ------------------------------------------------------------------ one start


def test_an_outcome_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    found = attack_result(logits, torch.tensor([0, 1]), torch.tensor([-1, 0]))
    assert found.predictions.tolist() == [0, 0]
    assert found.margins.tolist() == [1.0, -1.0]
    assert found.losses.tolist() == pytest.approx([0.40760596, 1.40760596])
    assert found.steps.tolist() == [-1, 0]


@pytest.mark.parametrize("attack", [CW, PGD, LEAST, WILD, MI, NI], ids=["cw", "pgd", "iter-stepll", "wild", "mi", "ni"])
def test_outcomes_equal_a_plain_loop_over_images_and_steps(classifier, attack):
    found = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS)
    assert list(found) == list(READINGS)
    steps = set()
    for steps_made in READINGS:
        for place in range(COUNT):
            label = int(LABELS[place])
            seen, _ = plain(classifier, classifier, IMAGES[place], label, attack, steps_made, SEEDS[place])
            expected = by_hand(seen, label)
            assert found[steps_made].predictions[place] == expected[0]
            assert float(found[steps_made].margins[place]) == pytest.approx(expected[1], abs=1e-9)
            assert float(found[steps_made].losses[place]) == pytest.approx(expected[2], abs=1e-9)
            assert found[steps_made].steps[place] == expected[3]
            steps.add(expected[3])
    if attack is WILD:
        assert ((found[12].steps >= 0) & (found[12].predictions == LABELS)).any(), "some are lost and won again"
    else:
        assert {-1, 0, 1, 2, 3} <= steps, "images of every fate"


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("attack", [CW, PGD, A3, WILD, MI, NI], ids=["cw", "pgd", "a3", "wild", "mi", "ni"])
def test_one_trajectory_equals_separate_runs_to_the_bit(classifier, attack, stop):
    together = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS, stop=stop)
    for reading in READINGS:
        alone = attack_results(classifier, IMAGES, LABELS, attack, [reading], CLEAN, SEEDS, stop=stop)
        assert_same(alone[reading], together[reading])


@pytest.mark.parametrize("attack", [CW, PGD, A3, MI, NI], ids=["cw", "pgd", "a3", "mi", "ni"])
def test_the_last_point_is_the_one_that_perturb_returns(classifier, attack):
    found = attack_results(classifier, IMAGES, LABELS, attack, [4], CLEAN, SEEDS)[4]
    adversarial = perturb(classifier, IMAGES, LABELS, replace(attack, steps=4), seeds=SEEDS)
    with torch.no_grad():
        logits = classifier(adversarial)
    assert_same(found, attack_result(logits, LABELS, found.steps))


def test_losses_are_the_labels_cross_entropy_whatever_is_climbed(classifier):
    found = attack_results(classifier, IMAGES, LABELS, CW, [3], CLEAN, SEEDS)[3]
    adversarial = perturb(classifier, IMAGES, LABELS, replace(CW, steps=3))
    with torch.no_grad():
        logits = classifier(adversarial)
    torch.testing.assert_close(found.losses, F.cross_entropy(logits, LABELS, reduction="none"))


@pytest.mark.parametrize("attack", [CW, PGD, A3, MI, NI], ids=["cw", "pgd", "a3", "mi", "ni"])
@pytest.mark.parametrize("stop", [False, True])
def test_order_and_company_in_the_batch_change_nothing(classifier, attack, stop):
    attack = replace(attack, restarts=2 if attack.random_start else 1)
    together = attack_results(classifier, IMAGES, LABELS, attack, [2, 4], CLEAN, SEEDS, stop=stop)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    shuffled = attack_results(
        classifier,
        IMAGES[order],
        LABELS[order],
        attack,
        [2, 4],
        CLEAN[order],
        [SEEDS[place] for place in order.tolist()],
        stop=stop,
    )
    for reading in (2, 4):
        assert_close(shuffled[reading], taken(together[reading], order))
    for place in (0, 1, 7):
        one = slice(place, place + 1)
        alone = attack_results(classifier, IMAGES[one], LABELS[one], attack, [2, 4], CLEAN[one], SEEDS[one], stop=stop)
        assert_close(alone[4], taken(together[4], one))


def test_a_budget_of_0_gives_the_clean_outcome(classifier):
    for attack in (CW, PGD, A3):
        for stop in (False, True):
            attack = replace(attack, eps=0.0)
            found = attack_results(classifier, IMAGES, LABELS, attack, [2], CLEAN, SEEDS, stop=stop)[2]
            assert_close(found, attack_result(CLEAN, LABELS, torch.where(CLEAN.argmax(1) == LABELS, -1, 0)))


def test_the_largest_budget_with_its_default_step_is_attacked_as_by_perturb(classifier):
    attack = Attack(eps=1.0, steps=2)
    found = attack_results(classifier, IMAGES, LABELS, attack, [2], CLEAN, SEEDS)[2]
    adversarial = perturb(classifier, IMAGES, LABELS, attack)
    assert torch.equal(found.predictions, classifier(adversarial).argmax(1))


# ------------------------------------------------------------------ leaving early


@pytest.mark.parametrize("attack", [CW, PGD, A3, WILD, MI, NI], ids=["cw", "pgd", "a3", "wild", "mi", "ni"])
def test_with_stop_an_image_is_wrong_where_the_full_run_saw_it_wrong_and_after_as_many_steps(classifier, attack):
    full = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS)
    left = attack_results(classifier, IMAGES, LABELS, attack, READINGS, CLEAN, SEEDS, stop=True)
    for reading in READINGS:
        assert torch.equal(left[reading].steps, full[reading].steps)
        assert torch.equal(left[reading].predictions != LABELS, full[reading].steps >= 0)
        held = full[reading].steps < 0
        torch.testing.assert_close(left[reading].margins[held], full[reading].margins[held], rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", [CW, PGD, WILD, MI, NI], ids=["cw", "pgd", "wild", "mi", "ni"])
def test_with_stop_the_outcome_is_of_the_first_point_that_is_wrong_in_a_plain_loop(classifier, attack):
    found = attack_results(classifier, IMAGES, LABELS, attack, [6], CLEAN, SEEDS, stop=True)[6]
    for place in range(COUNT):
        label = int(LABELS[place])
        seen, _ = plain(classifier, classifier, IMAGES[place], label, attack, 6, SEEDS[place])
        wrong = [number for number, logits in enumerate(seen) if int(logits.argmax()) != label]
        prediction, margin, loss, steps = by_hand(seen[: wrong[0] + 1] if wrong else seen, label)
        assert found.predictions[place] == prediction
        assert float(found.margins[place]) == pytest.approx(margin, abs=1e-9)
        assert float(found.losses[place]) == pytest.approx(loss, abs=1e-9)
        assert found.steps[place] == steps


@pytest.mark.parametrize("restarts", [1, 3])
def test_images_that_are_all_lost_before_the_first_step_are_not_attacked(classifier, restarts):
    wrong = (CLEAN.argmax(1) + 1) % 3
    passes = []
    handle = classifier.network.register_forward_hook(lambda *_: passes.append(1))
    attack = replace(PGD, restarts=restarts)
    found = attack_results(classifier, IMAGES, wrong, attack, READINGS, CLEAN, SEEDS, stop=True)
    handle.remove()
    assert passes == []
    for reading in READINGS:
        assert_same(found[reading], attack_result(CLEAN, wrong, torch.zeros_like(wrong)))


def test_with_stop_fewer_images_pass_through_the_model(classifier):
    seen = []
    handle = classifier.network.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    counts = []
    for stop in (False, True):
        seen.clear()
        attack_results(classifier, IMAGES, LABELS, PGD, [12], CLEAN, SEEDS, stop=stop)
        counts.append(sum(seen))
    handle.remove()
    assert counts[0] == 13 * COUNT
    assert counts[1] < 0.7 * counts[0]


# ------------------------------------------------------------------ what is borrowed


def state_of(classifier: Classifier) -> tuple[list[bool], ...]:
    return (
        [module.training for module in classifier.modules()],
        [bool(module._forward_hooks) for module in classifier.modules()],
        [parameter.requires_grad for parameter in classifier.parameters()],
        [parameter.grad is None for parameter in classifier.parameters()],
    )


@pytest.mark.parametrize("attack", [PGD, A3], ids=["pgd", "a3"])
@pytest.mark.parametrize("fails", [False, True])
def test_victim_and_source_are_given_back_as_they_were(pooled, attack, fails):
    torch.manual_seed(2)
    source = Classifier(type(pooled.network)(), layer="second").double()
    source.input_size = pooled.input_size
    images, labels = torch.rand(3, 3, 19, 23, dtype=torch.float64), torch.tensor([1, 2, 4])
    for classifier in (pooled, source):
        classifier.train()
        classifier.network.norm.eval()
        classifier.network.second.weight.requires_grad_(False)
    source.network.last.bias.grad = torch.ones(5, dtype=torch.float64)
    means = [classifier.network.norm.running_mean.clone() for classifier in (pooled, source)]
    before = [state_of(pooled), state_of(source)]
    readings = [2, 3]
    if fails:
        handle = pooled.network.norm.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attack_results(
                pooled, images, labels, attack, readings, torch.zeros(3, 5).double(), [1, 2, 3], source=source
            )
        handle.remove()
    else:
        attack_results(pooled, images, labels, attack, readings, torch.zeros(3, 5).double(), [1, 2, 3], source=source)
    assert [state_of(pooled), state_of(source)] == before
    assert source.network.last.bias.grad.tolist() == [1.0] * 5
    for classifier, mean in zip((pooled, source), means, strict=True):
        assert torch.equal(classifier.network.norm.running_mean, mean)


def test_an_attack_made_where_no_gradients_are_kept_is_the_same(classifier):
    expected = attack_results(classifier, IMAGES, LABELS, A3, [2], CLEAN, SEEDS)[2]
    with torch.no_grad():
        assert_same(attack_results(classifier, IMAGES, LABELS, A3, [2], CLEAN, SEEDS)[2], expected)
