"""The moving average of weights: by hand, what is judged and exported, resumed to the bit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from trainings import (
    A_STEP,
    PASSES,
    PLAN,
    STEPS,
    assert_same_training,
    during,
    interrupt,
    training,
    weights_of,
)

from attnlab.attacks import Attack
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training.checkpointing import FILE
from attnlab.training.distributed import ProcessGroup
from attnlab.training.log import read_epochs
from attnlab.training.optim import average_of, exchange, exchanged, update
from attnlab.training.validate import validate

AVERAGED = replace(PLAN, ema=0.8)


def by_hand(history: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """0.8 of the average and 0.2 of the new weights and statistics, from the first step's on."""
    average = history[0]
    for weights in history[1:]:
        average = {
            key: 0.8 * average[key] + 0.2 * value if value.is_floating_point() else value
            for key, value in weights.items()
        }
    return average


def test_the_exported_weights_are_the_average_by_hand_and_the_trained_ones_as_without_it(networks, tmp_path):
    ours, history = training(networks, tmp_path / "ours", plan=AVERAGED), []
    ours.run(on_step=lambda _done: history.append(weights_of(ours.classifier)))
    assert len(history) == 3 * STEPS
    exported = load_file(ours.folder / "last" / WEIGHTS)
    for key, value in by_hand(history).items():
        torch.testing.assert_close(exported[key], value, rtol=1e-5, atol=1e-7)
        assert torch.equal(ours.classifier.network.state_dict()[key], exported[key])
    assert not torch.equal(exported["first.weight"], history[-1]["first.weight"])
    plain = training(networks, tmp_path / "plain")
    plain.run()
    state = load_file(ours.folder / FILE)
    for key, value in weights_of(plain.classifier).items():
        assert torch.equal(state[f"network.{key}"], value), key
        assert torch.equal(state[f"network.{key}"], history[-1][key]), key


def test_the_average_is_what_is_judged(networks, tmp_path):
    ours = training(networks, tmp_path, plan=AVERAGED, snapshots=True)
    ours.run()
    attack = Attack(eps=PLAN.eps, steps=PLAN.steps, step_size=PLAN.step_size, random_start=True)
    for number, line in enumerate(read_epochs(tmp_path / "log.jsonl"), 1):
        with pytest.warns(UserWarning, match="--trust-code runs"):
            classifier = load_model(str(tmp_path / "epochs" / f"{number:03d}"), trust_code=True)
        figures = validate(classifier, ours.held_out, attack, PLAN.batch_size, ProcessGroup(), ours.seed)
        assert {name: line[name] for name in figures} == figures


@pytest.mark.parametrize(
    "call",
    [A_STEP + 2, A_STEP * STEPS + 3, PASSES - 1, PASSES + A_STEP * STEPS + 1],  # in a step, in validations
)
def test_a_training_that_is_interrupted_comes_to_the_same_average_to_the_bit(networks, tmp_path, call):
    whole = training(networks, tmp_path / "whole", plan=AVERAGED)
    whole.run()
    first = training(networks, tmp_path / "parts", plan=AVERAGED)
    during(first, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = training(networks, tmp_path / "parts", plan=AVERAGED)
    second.run()
    assert_same_training(second, whole)


def test_a_finished_training_is_prolonged_with_its_average(networks, tmp_path):
    plan = replace(AVERAGED, schedule="constant")
    whole = training(networks, tmp_path / "whole", plan=plan)
    whole.run()
    training(networks, tmp_path / "parts", plan=replace(plan, epochs=2)).run()
    parts = training(networks, tmp_path / "parts", plan=plan)
    parts.run()
    assert_same_training(parts, whole)


def test_an_average_passes_through_a_network_whose_forward_a_copy_would_not_take_along():
    network = nn.Linear(2, 1, bias=False)
    network.forward = lambda x: x @ network.weight.T
    average, ones = average_of(network, 0.5), torch.ones(1, 2)
    for value in (1.0, 3.0):
        network.weight.data.fill_(value)
        update(average, network)
    with exchanged(network, average):
        assert network(ones).item() == 4.0  # 2 ones, each by half of 1 and half of 3
        with exchanged(network, average):
            assert network(ones).item() == 6.0
    assert network(ones).item() == 6.0
    with exchanged(network, None):
        assert network(ones).item() == 6.0
    exchange(network, average)
    assert network(ones).item() == 4.0


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan"), 99.9])
def test_a_decay_that_keeps_all_or_is_none_is_refused(decay):
    with pytest.raises(UserError, match=r"expected --ema in \[0, 1\), such as 0.999, got"):
        replace(PLAN, ema=decay)
