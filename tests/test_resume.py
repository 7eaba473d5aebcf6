"""Trainings that are cut short, or go wrong, and resumed: to the same weights to the bit."""

from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainings import A_STEP, LOOKS, PASSES, PLAN, STEPS, assert_same_training, die, during, interrupt, training

from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training import trainer
from attnlab.training.checkpointing import FILE, Progress, load_state, save_state
from attnlab.training.log import read_epochs
from attnlab.training.optim import optimizer_of
from attnlab.training.trainer import Training


@pytest.fixture(scope="module", params=["adam", "sgd"])
def whole(request, networks, tmp_path_factory) -> Training:
    """A training that nothing interrupted, of a network with batch norm and dropout."""
    plan = replace(PLAN, optimizer=request.param)
    ours = training(networks, tmp_path_factory.mktemp("whole"), plan=plan)
    counted: list[int] = []
    handle = ours.classifier.network.second.register_forward_hook(lambda *_: counted.append(1))
    ours.run()
    handle.remove()
    assert len(counted) == LOOKS + 3 * PASSES
    return ours


@pytest.mark.parametrize(
    "call",
    [
        0,  # in the first attack
        A_STEP + 2,  # in the second step's forward pass, which moves running statistics
        A_STEP * STEPS - 1,  # in an epoch's last step
        A_STEP * STEPS + 3,  # in its validation
        PASSES - 1,
        2 * PASSES + 2 * A_STEP + 1,
    ],
)
def test_a_training_that_is_interrupted_and_gone_on_with_equals_an_uninterrupted_one_to_the_bit(
    networks, tmp_path, whole, call
):
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_training_that_is_interrupted_again_and_again_equals_an_uninterrupted_one(networks, tmp_path, whole):
    sessions = 0
    finished = False
    while not finished:
        sessions += 1
        assert sessions < 20
        ours = training(networks, tmp_path, plan=whole.plan)
        during(ours, A_STEP, interrupt)  # two steps a session, or a validation and one
        try:
            ours.run()
            finished = True
        except KeyboardInterrupt:
            pass
    assert sessions > 6
    assert_same_training(ours, whole)


@pytest.mark.parametrize("call", [A_STEP + 2, PASSES + A_STEP + 2, PASSES + A_STEP * STEPS + 2])
def test_a_training_that_is_killed_goes_on_from_its_last_epoch(networks, tmp_path, whole, call):
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, call, die)
    with pytest.raises((RuntimeError, UserError), match="killed"):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    optimizer = optimizer_of(second.classifier, whole.plan)
    stands = load_state(tmp_path, {"network": second.classifier.network}, optimizer)
    assert (stands.epoch, stands.step) == (call // PASSES, 0)
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_training_that_is_killed_behind_a_line_of_the_log_has_that_line_once(networks, tmp_path, whole, line):
    lines = iter(range(100))
    with pytest.raises((RuntimeError, UserError), match="killed"):
        training(networks, tmp_path, plan=whole.plan).run(lambda _: die() if next(lines) == line else None)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "st')  # as if it had happened amid a line
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_long_epoch_is_saved_in_between(networks, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_EVERY", -1.0)
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, 3 * A_STEP + 1, die)
    with pytest.raises((RuntimeError, UserError), match="killed"):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    optimizer = optimizer_of(second.classifier, whole.plan)
    assert load_state(tmp_path, {"network": second.classifier.network}, optimizer).step == 3
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_finished_training_is_not_trained_again(networks, tmp_path, whole):
    training(networks, tmp_path, plan=whole.plan).run()
    made = (tmp_path / WEIGHTS).stat().st_mtime_ns
    message: list[dict[str, Any]] = []
    again = training(networks, tmp_path, plan=whole.plan)
    again.run(message.append)
    assert message == []
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == made
    assert_same_training(again, whole)


def test_single_step_and_ensemble_trainings_go_on_to_the_same_weights_too(networks, tmp_path):
    def ensemble(folder: Path) -> Training:
        source = load_model(f"{networks}:plain", "none", seed=9)
        plan = replace(PLAN, augment="resized-crop-flip", schedule="decay")
        return training(networks, folder, defense="ensemble+aad", sources=(source,), plan=plan)

    uninterrupted = ensemble(tmp_path / "whole")
    uninterrupted.run()
    first = ensemble(tmp_path / "parts")
    during(first, 9, interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = ensemble(tmp_path / "parts")
    second.run()
    assert_same_training(second, uninterrupted)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_state_file_cut_short_is_refused_with_a_way_out(networks, tmp_path, whole, keep):
    content = (whole.folder / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:keep])
    with pytest.raises(UserError) as error:
        training(networks, tmp_path, plan=whole.plan).run()
    assert str(error.value).startswith(f"{tmp_path / FILE} is damaged (")
    assert str(error.value).endswith("remove it to start again from the beginning, or choose another --out")


@pytest.mark.parametrize("wrong", [{"epoch": "3"}, {"step": 1.5}, {"epoch": 1.0, "step": 2.0}, {"best": None}])
def test_progress_of_other_than_numbers_is_refused_by_that_reason(tmp_path, wrong):
    network, stands = nn.Linear(2, 2), Progress(1, 2, 0.5)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    save_state(tmp_path, {"network": network}, optimizer, stands)
    assert load_state(tmp_path, {"network": network}, optimizer) == stands
    save_state(tmp_path, {"network": network}, optimizer, replace(stands, **wrong))
    with pytest.raises(UserError, match=r"is damaged \(epoch and step are no numbers\); remove it"):
        load_state(tmp_path, {"network": network}, optimizer)


def test_no_state_is_the_beginning(networks, tmp_path):
    ours = training(networks, tmp_path)
    assert load_state(tmp_path, {"network": ours.classifier.network}, optimizer_of(ours.classifier, PLAN)) == Progress()


def test_an_epoch_whose_checkpoint_could_not_be_written_is_in_no_log(networks, tmp_path, whole, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_checkpoint", full)
        with pytest.raises(OSError, match="No space left"):
            training(networks, tmp_path, plan=whole.plan).run()
    assert read_epochs(tmp_path / "log.jsonl") == []
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)
