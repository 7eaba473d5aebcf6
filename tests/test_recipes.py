"""Plans: the paper's values, learning rates by hand, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from trainings import PLAN

from attnlab.errors import UserError
from attnlab.training.optim import learning_rate
from attnlab.training.recipes import Plan, all_plans, plan_for

PLANS = all_plans()


def test_learning_rates_by_hand():
    def rates(schedule: str, epochs: int, steps: int) -> list[float]:
        plan = replace(PLAN, schedule=schedule, epochs=epochs, learning_rate=1.0)
        return [learning_rate(plan, step, steps) for step in range(epochs * steps)]

    assert rates("constant", 2, 2) == [1, 1, 1, 1]
    assert rates("decay", 5, 2) == pytest.approx([1, 1, 1, 1, 0.94, 0.94, 0.94, 0.94, 0.8836, 0.8836])
    # (1 - cos(pi p)) / 2 with p = 1/6, 1/2, 5/6 on the way up, 13/14, 11/14, ..., 1/14 on the way down
    down = [0.98746, 0.89092, 0.71694, 0.5, 0.28306, 0.10908, 0.01254]
    assert rates("one-cycle", 1, 10) == pytest.approx([0.06699, 0.5, 0.93301, *down], abs=1e-5)
    assert rates("one-cycle", 2, 5) == rates("one-cycle", 1, 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "expected --epochs of at least 1, got 0"),
        ({"batch_size": -2}, "expected --batch-size of at least 1, got -2"),
        ({"steps": 0}, "expected --steps of at least 1, got 0"),
        ({"learning_rate": 0.0}, "expected --learning-rate above 0, got 0"),
        ({"learning_rate": float("inf")}, "expected --learning-rate above 0, got inf"),
        ({"ramp": -1.0}, "expected --ramp of at least 0 epochs, got -1"),
        ({"eps": 8.0}, "expected --eps in [0, 1], got 8; did you mean 8/255?"),
        ({"step_size": 2.0}, "expected --step-size in [0, 1], got 2; did you mean 2/255?"),
        ({"optimizer": "adamw"}, "expected --optimizer to be one of adam, sgd, got 'adamw'; did you mean 'adam'?"),
        ({"schedule": "cosine"}, "expected --schedule to be one of constant, one-cycle, decay, got 'cosine'"),
        ({"augment": "flip"}, "expected --augment to be one of none, crop-flip, resized-crop-flip, got 'flip'"),
    ],
)
def test_a_plan_out_of_range_is_refused(values, message):
    with pytest.raises(UserError) as error:
        replace(PLAN, **values)
    assert str(error.value).startswith(message)


def test_the_papers_plans_have_its_values():
    mnist, cifar, imagenet = (plan_for(name, "paper") for name in ("mnist", "cifar10", "imagenet"))
    assert (mnist.model, mnist.batch_size, mnist.learning_rate, mnist.epochs) == ("lenet", 100, 1e-3, 5)
    assert (mnist.eps, mnist.step_size, mnist.steps) == (0.3, 0.01, 40)
    assert (cifar.model, cifar.batch_size, cifar.learning_rate, cifar.epochs) == ("resnet9", 100, 1e-4, 200)
    assert (cifar.eps, cifar.step_size, cifar.steps) == (8 / 255, 2 / 255, 7)
    assert (imagenet.model, imagenet.batch_size, imagenet.learning_rate) == ("resnet50", 128, 0.045)
    assert (imagenet.schedule, imagenet.weights, imagenet.eps) == ("decay", "default", 16 / 255)


def test_the_docs_tell_of_every_plan_what_the_help_does_not():
    page = Path(__file__).resolve().parents[1] / "docs/training.md"
    rows = [line.strip("| \n").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    expected = [
        [data, name, plan.weights, plan.optimizer, f"{plan.weight_decay:g}", plan.augment]
        for data, plans in PLANS.items()
        for name, plan in plans.items()
    ]
    assert [row for row in rows if row[0] in PLANS] == expected


def test_unknown_plans_and_data_are_refused():
    assert plan_for("folder") == plan_for("imagenet")
    with pytest.raises(UserError, match="expected --plan for scenes to be one of short, got 'paper'"):
        plan_for("scenes", "paper")
    with pytest.raises(UserError, match=r"expected --data to be one of scenes, .*, got 'mnits'; did you mean 'mnist'"):
        plan_for("mnits")


@pytest.mark.parametrize("plan", [plan for plans in PLANS.values() for plan in plans.values()], ids=str)
def test_a_plan_is_its_own_provenance(plan):
    assert Plan(**json.loads(json.dumps(vars(plan)))) == plan
