"""What attacks come to: one trajectory against separate runs, plain loops, restarts, and leaving early."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.attacks import OBJECTIVES, Attack
from attnlab.attacks.context import start_of
from attnlab.attacks.pgd import perturb
from attnlab.attacks.trajectory import AttackResult, attack_result, attack_results
from attnlab.errors import UserError
from attnlab.models import Classifier

READINGS = (3, 5, 12)
COUNT = 24
CW = Attack("margin", eps=0.008, step_size=0.0024)
PGD = Attack(eps=0.008, step_size=0.0024, random_start=True)
A3 = Attack(eps=0.008, step_size=0.0024, random_start=True, sigma=10.0)
LEAST = Attack("least-likely", eps=0.008, step_size=0.0024)
MI = Attack(eps=0.008, step_size=0.0024, random_start=True, rule="momentum")
NI = Attack(eps=0.008, step_size=0.0024, random_start=True, rule="nesterov")
WILD = Attack(eps=0.3, step_size=0.2, random_start=True)  # it overshoots: what is lost is won again


class Wavy(nn.Module):
    """Logits that go up and down on the way: an attack overshoots, and an image that is lost may be won again."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.input_size = (9, 9)
        self.conv = nn.Conv2d(1, 16, 3)
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sin(60 * self.conv(x)).mean((2, 3)))


IMAGES = torch.rand(COUNT, 1, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SEEDS = [101 * number for number in range(COUNT)]


def wavy(seed: int = 0) -> Classifier:
    classifier = Classifier(Wavy(seed)).double().eval()
    with torch.no_grad():  # so that no class is the prediction everywhere
        classifier.network.last.bias -= classifier(IMAGES).mean(0)
    return classifier


@pytest.fixture
def classifier() -> Classifier:
    return wavy()


@pytest.fixture
def clean(classifier) -> Tensor:
    with torch.no_grad():
        return classifier(IMAGES)


@pytest.fixture
def labels(clean) -> Tensor:
    """The predictions, but for every sixth image."""
    labels = clean.argmax(1)
    labels[::6] = (labels[::6] + 1) % 3
    return labels


def assert_same(first: AttackResult, second: AttackResult) -> None:
    for name, ours, theirs in zip(AttackResult._fields, first, second, strict=True):
        assert (ours is theirs is None) or torch.equal(ours, theirs), name


def assert_close(first: AttackResult, second: AttackResult) -> None:
    for name, ours, theirs in zip(AttackResult._fields, first, second, strict=True):
        assert (ours is theirs is None) or torch.allclose(ours, theirs, rtol=0, atol=1e-9), name


def taken(result: AttackResult, rows: Tensor | slice) -> AttackResult:
    return AttackResult(*(values if values is None else values[rows] for values in result))


def plain(
    victim: Classifier,
    source: Classifier,
    image: Tensor,
    label: int,
    attack: Attack,
    steps: int,
    seed: int,
    restart: int = 0,
) -> tuple[list[Tensor], Tensor]:
    """One start of one image: logits of the victim at every point from the clean image on, and the last point."""
    objective = OBJECTIVES[attack.objective]
    labels = torch.tensor([label])
    point = start_of(image[None], attack, [seed], restart)
    aim = objective.aim(lambda: source(image[None]).detach(), labels)
    total = torch.zeros_like(point)
    seen = [victim(image[None]).detach()[0], victim(point).detach()[0]]
    for _ in range(steps):
        looked = (point + attack.step_length * total if attack.rule == "nesterov" else point).requires_grad_()
        (gradient,) = torch.autograd.grad(objective.value(source(looked), aim, 0.0).sum(), looked)
        if attack.rule != "sign":  # mu is 1
            total = gradient = total + gradient * gradient.numel() / gradient.abs().sum()
        point = point.detach() + attack.step_length * gradient.sign()
        point = torch.minimum(torch.maximum(point, image - attack.eps), image + attack.eps).clamp(0, 1).detach()
        seen.append(victim(point).detach()[0])
    return seen, point


def by_hand(seen: list[Tensor], label: int) -> tuple[int, float, float, int]:
    """Prediction, margin and loss at the last point, and the step of the first point that is misclassified."""
    last = seen[-1]
    others = [float(last[other]) for other in range(len(last)) if other != label]
    wrong = [int(logits.argmax()) != label for logits in seen]
    # the clean image and the start are both step 0
    steps = max(0, wrong.index(True) - 1) if any(wrong) else -1
    return int(last.argmax()), float(last[label]) - max(others), float(last.logsumexp(0) - last[label]), steps


# ------------------------------------------------------------------ one start


def test_an_outcome_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    found = attack_result(logits, torch.tensor([0, 1]), torch.tensor([-1, 0]))
    assert found.predictions.tolist() == [0, 0]
    assert found.margins.tolist() == [1.0, -1.0]
    assert found.losses.tolist() == pytest.approx([0.40760596, 1.40760596])
    assert found.steps.tolist() == [-1, 0]


@pytest.mark.parametrize("attack", [CW, PGD, LEAST, WILD, MI, NI], ids=["cw", "pgd", "iter-stepll", "wild", "mi", "ni"])
def test_outcomes_equal_a_plain_loop_over_images_and_steps(classifier, labels, clean, attack):
    found = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS)
    assert list(found) == list(READINGS)
    steps = set()
    for steps_made in READINGS:
        for place in range(COUNT):
            label = int(labels[place])
            seen, _ = plain(classifier, classifier, IMAGES[place], label, attack, steps_made, SEEDS[place])
            expected = by_hand(seen, label)
            assert found[steps_made].predictions[place] == expected[0]
            assert float(found[steps_made].margins[place]) == pytest.approx(expected[1], abs=1e-9)
            assert float(found[steps_made].losses[place]) == pytest.approx(expected[2], abs=1e-9)
            assert found[steps_made].steps[place] == expected[3]
            steps.add(expected[3])
    if attack is WILD:
        assert ((found[12].steps >= 0) & (found[12].predictions == labels)).any(), "some are lost and won again"
    else:
        assert {-1, 0, 1, 2, 3} <= steps, "images of every fate"


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("attack", [CW, PGD, A3, WILD, MI, NI], ids=["cw", "pgd", "a3", "wild", "mi", "ni"])
def test_one_trajectory_equals_separate_runs_to_the_bit(classifier, labels, clean, attack, stop):
    together = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS, stop=stop)
    for reading in READINGS:
        alone = attack_results(classifier, IMAGES, labels, attack, [reading], clean, SEEDS, stop=stop)
        assert_same(alone[reading], together[reading])


@pytest.mark.parametrize("attack", [CW, PGD, A3, MI, NI], ids=["cw", "pgd", "a3", "mi", "ni"])
def test_the_last_point_is_the_one_that_perturb_returns(classifier, labels, clean, attack):
    found = attack_results(classifier, IMAGES, labels, attack, [4], clean, SEEDS)[4]
    adversarial = perturb(classifier, IMAGES, labels, replace(attack, steps=4), seeds=SEEDS)
    with torch.no_grad():
        logits = classifier(adversarial)
    assert_same(found, attack_result(logits, labels, found.steps))


def test_losses_are_the_labels_cross_entropy_whatever_is_climbed(classifier, labels, clean):
    found = attack_results(classifier, IMAGES, labels, CW, [3], clean, SEEDS)[3]
    adversarial = perturb(classifier, IMAGES, labels, replace(CW, steps=3))
    with torch.no_grad():
        logits = classifier(adversarial)
    torch.testing.assert_close(found.losses, F.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("attack", [CW, PGD, A3, MI, NI], ids=["cw", "pgd", "a3", "mi", "ni"])
@pytest.mark.parametrize("stop", [False, True])
def test_order_and_company_in_the_batch_change_nothing(classifier, labels, clean, attack, stop):
    attack = replace(attack, restarts=2 if attack.random_start else 1)
    together = attack_results(classifier, IMAGES, labels, attack, [2, 4], clean, SEEDS, stop=stop)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    shuffled = attack_results(
        classifier,
        IMAGES[order],
        labels[order],
        attack,
        [2, 4],
        clean[order],
        [SEEDS[place] for place in order.tolist()],
        stop=stop,
    )
    for reading in (2, 4):
        assert_close(shuffled[reading], taken(together[reading], order))
    for place in (0, 1, 7):
        one = slice(place, place + 1)
        alone = attack_results(classifier, IMAGES[one], labels[one], attack, [2, 4], clean[one], SEEDS[one], stop=stop)
        assert_close(alone[4], taken(together[4], one))


def test_a_budget_of_0_gives_the_clean_outcome(classifier, labels, clean):
    for attack in (CW, PGD, A3):
        for stop in (False, True):
            attack = replace(attack, eps=0.0)
            found = attack_results(classifier, IMAGES, labels, attack, [2], clean, SEEDS, stop=stop)[2]
            assert_close(found, attack_result(clean, labels, torch.where(clean.argmax(1) == labels, -1, 0)))


def test_the_largest_budget_with_its_default_step_is_attacked_as_by_perturb(classifier, labels, clean):
    attack = Attack(eps=1.0, steps=2)
    found = attack_results(classifier, IMAGES, labels, attack, [2], clean, SEEDS)[2]
    adversarial = perturb(classifier, IMAGES, labels, attack)
    assert torch.equal(found.predictions, classifier(adversarial).argmax(1))


# ------------------------------------------------------------------ leaving early


@pytest.mark.parametrize("attack", [CW, PGD, A3, WILD, MI, NI], ids=["cw", "pgd", "a3", "wild", "mi", "ni"])
def test_with_stop_an_image_is_wrong_exactly_where_the_full_run_saw_it_wrong_and_after_as_many_steps(
    classifier, labels, clean, attack
):
    full = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS)
    left = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS, stop=True)
    for reading in READINGS:
        assert torch.equal(left[reading].steps, full[reading].steps)
        assert torch.equal(left[reading].predictions != labels, full[reading].steps >= 0)
        held = full[reading].steps < 0
        torch.testing.assert_close(left[reading].margins[held], full[reading].margins[held], rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", [CW, PGD, WILD, MI, NI], ids=["cw", "pgd", "wild", "mi", "ni"])
def test_with_stop_the_outcome_is_of_the_first_point_that_is_wrong_in_a_plain_loop(classifier, labels, clean, attack):
    found = attack_results(classifier, IMAGES, labels, attack, [6], clean, SEEDS, stop=True)[6]
    for place in range(COUNT):
        label = int(labels[place])
        seen, _ = plain(classifier, classifier, IMAGES[place], label, attack, 6, SEEDS[place])
        wrong = [number for number, logits in enumerate(seen) if int(logits.argmax()) != label]
        prediction, margin, loss, steps = by_hand(seen[: wrong[0] + 1] if wrong else seen, label)
        assert found.predictions[place] == prediction
        assert float(found.margins[place]) == pytest.approx(margin, abs=1e-9)
        assert float(found.losses[place]) == pytest.approx(loss, abs=1e-9)
        assert found.steps[place] == steps


@pytest.mark.parametrize("restarts", [1, 3])
def test_images_that_are_all_lost_before_the_first_step_are_not_attacked(classifier, clean, restarts):
    wrong = (clean.argmax(1) + 1) % 3
    passes = []
    handle = classifier.network.register_forward_hook(lambda *_: passes.append(1))
    attack = replace(PGD, restarts=restarts)
    found = attack_results(classifier, IMAGES, wrong, attack, READINGS, clean, SEEDS, stop=True)
    handle.remove()
    assert passes == []
    for reading in READINGS:
        assert_same(found[reading], attack_result(clean, wrong, torch.zeros_like(wrong)))


def test_with_stop_fewer_images_pass_through_the_model(classifier, labels, clean):
    seen = []
    handle = classifier.network.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    counts = []
    for stop in (False, True):
        seen.clear()
        attack_results(classifier, IMAGES, labels, PGD, [12], clean, SEEDS, stop=stop)
        counts.append(sum(seen))
    handle.remove()
    assert counts[0] == 13 * COUNT
    assert counts[1] < 0.7 * counts[0]


# ------------------------------------------------------------------ restarts


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
def test_restarts_equal_a_plain_loop_over_starts(classifier, labels, clean, attack, stop):
    attack = replace(attack, restarts=4)
    found = attack_results(classifier, IMAGES, labels, attack, [3], clean, SEEDS, stop=stop)[3]
    for place in range(COUNT):
        expected = starts_by_hand(classifier, IMAGES[place], int(labels[place]), attack, 3, SEEDS[place], stop=stop)
        assert found.predictions[place] == expected[0]
        assert float(found.margins[place]) == pytest.approx(expected[1], abs=1e-9)
        if expected[2] not in (3, 6, 9):  # see the next test
            assert found.steps[place] == expected[2]
    assert (found.steps > 3).any(), "a later start succeeded where the first did not"


def test_a_later_start_that_is_wrong_by_itself_counts_the_steps_of_those_before(classifier, labels, clean):
    attack = replace(PGD, restarts=30, eps=0.02, step_size=0.0)  # nothing but starts
    found = attack_results(classifier, IMAGES, labels, attack, [1], clean, SEEDS)[1]
    right = clean.argmax(1) == labels
    assert (found.steps > 0).any()
    for place in right.nonzero()[:, 0].tolist():
        tried = [
            int(classifier(start_of(IMAGES[[place]], attack, [SEEDS[place]], restart)).argmax()) != labels[place]
            for restart in range(30)
        ]
        assert found.steps[place] == (tried.index(True) if any(tried) else -1)


def test_more_starts_never_raise_a_margin(classifier, labels, clean):
    before = attack_results(classifier, IMAGES, labels, PGD, [2, 4], clean, SEEDS)
    for restarts in (2, 4):
        more = attack_results(classifier, IMAGES, labels, replace(PGD, restarts=restarts), [2, 4], clean, SEEDS)
        for reading in (2, 4):
            assert (more[reading].margins <= before[reading].margins).all()
            assert ((before[reading].steps < 0) | (more[reading].steps == before[reading].steps)).all()
            assert (more[reading].margins < before[reading].margins).any()
        before = more


@pytest.mark.parametrize("field", ["margins", "steps"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("attack", [PGD, MI, NI], ids=["pgd", "mi", "ni"])
def test_one_trajectory_with_restarts_equals_separate_runs_to_the_bit(classifier, labels, clean, attack, field, stop):
    attack = replace(attack, restarts=4)
    together = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS, stop=stop)
    for reading in READINGS:
        alone = attack_results(classifier, IMAGES, labels, attack, [reading], clean, SEEDS, stop=stop)
        torch.testing.assert_close(getattr(together[reading], field), getattr(alone[reading], field), rtol=0, atol=1e-9)


def test_restarts_of_images_that_are_all_lost_change_nothing(classifier, clean):
    wrong = (clean.argmax(1) + 1) % 3
    attack = replace(PGD, eps=1e-6, step_size=1e-6)
    once = attack_results(classifier, IMAGES, wrong, attack, [2], clean, SEEDS)[2]
    assert_same(attack_results(classifier, IMAGES, wrong, replace(attack, restarts=3), [2], clean, SEEDS)[2], once)


# ------------------------------------------------------------------ transfer


@pytest.mark.parametrize("attack", [CW, PGD, LEAST, A3, MI, NI], ids=["cw", "pgd", "iter-stepll", "a3", "mi", "ni"])
def test_transfer_is_making_images_on_the_source_and_showing_them_to_the_victim(classifier, labels, clean, attack):
    source, attack = wavy(seed=1), replace(attack, eps=0.05, step_size=0.015)
    found = attack_results(classifier, IMAGES, labels, attack, READINGS, clean, SEEDS, source=source)
    right = clean.argmax(1) == labels
    for reading in READINGS:
        made = perturb(source, IMAGES, labels, replace(attack, steps=reading), seeds=SEEDS)
        with torch.no_grad():
            logits = classifier(made)
        steps = torch.where(right, torch.where(logits.argmax(1) == labels, -1, reading), 0)
        assert_same(found[reading], attack_result(logits, labels, steps))
    assert (steps > 0).any()


def test_a_transfer_cannot_stop_at_points_that_are_not_looked_at(classifier, labels, clean):
    with pytest.raises(UserError, match="expected stop or a source, got both"):
        attack_results(classifier, IMAGES, labels, PGD, READINGS, clean, SEEDS, source=wavy(seed=1), stop=True)


def test_a_transfer_to_itself_ends_where_the_attack_does(classifier, labels, clean):
    own = attack_results(classifier, IMAGES, labels, PGD, READINGS, clean, SEEDS)
    twin = attack_results(classifier, IMAGES, labels, PGD, READINGS, clean, SEEDS, source=wavy())
    for reading in READINGS:
        assert_same(twin[reading]._replace(steps=own[reading].steps), own[reading])


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


def test_an_attack_made_where_no_gradients_are_kept_is_the_same(classifier, labels, clean):
    expected = attack_results(classifier, IMAGES, labels, A3, [2], clean, SEEDS)[2]
    with torch.no_grad():
        assert_same(attack_results(classifier, IMAGES, labels, A3, [2], clean, SEEDS)[2], expected)
