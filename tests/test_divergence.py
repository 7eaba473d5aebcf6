"""A training that diverges: it stops, says where, and leaves nothing behind that cannot be gone on from."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from trainings import STEPS, during, interrupt, training

from attnlab.errors import UserError
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training.checkpointing import FILE
from attnlab.training.trainer import Training
from attnlab.training.validate import hits, is_finite

BROKEN = "weights or logits of held-out images became infinite or NaN"


class Breaking(nn.Module):
    """A network whose logits are not finite from some pass on."""

    def __init__(self, network: nn.Module, call: int) -> None:
        super().__init__()
        self.network, self.call, self.passes = network, call, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.network(x) * (torch.nan if self.passes > self.call else 1)


@pytest.mark.parametrize(
    ("step", "good"),
    [(3, "there is no checkpoint yet"), (STEPS + 2, "the last good checkpoint is {folder}/last, after epoch 1")],
)
def test_a_term_that_is_not_finite_stops_with_its_step_its_name_and_the_last_good_checkpoint(
    networks, tmp_path, step, good
):
    ours = training(networks, tmp_path, defense="none")
    epoch, number = divmod(step - 1, STEPS)
    validation = 2 * (1 + 2 + 1)  # two batches: the clean images, two steps of the attack, the attacked images
    ours.classifier.network = Breaking(ours.classifier.network, step - 1 + epoch * validation)
    with pytest.raises(UserError) as error:
        ours.run()
    assert str(error.value) == (
        f"the term clean became nan in epoch {epoch + 1}, step {number + 1}; {good.format(folder=tmp_path)}; "
        "a smaller --learning-rate or a longer --ramp may help, in another --out"
    )
    if epoch:
        assert all(value.isfinite().all() for value in load_file(tmp_path / FILE).values())
        assert all(value.isfinite().all() for value in load_file(tmp_path / "last" / WEIGHTS).values())
    else:
        assert not (tmp_path / FILE).exists()


def test_an_interruption_saves_no_weights_that_are_not_finite(networks, tmp_path):
    ours = training(networks, tmp_path, defense="none")
    during(ours, 3, interrupt)
    ours.classifier.network.forward = lambda x, forward=ours.classifier.network.forward: forward(x) * torch.nan
    with pytest.raises(UserError, match="the term clean became nan in epoch 1, step 1"):
        ours.run()
    assert not (tmp_path / FILE).exists()


def break_gradient(ours: Training, step: int) -> None:
    """Let one gradient of that step, counted from 0, be NaN, behind a loss that is finite."""
    steps = iter(range(10**9))
    ours.classifier.network.second.weight.register_hook(
        lambda gradient: gradient * torch.nan if next(steps) == step else gradient
    )


def test_weights_that_are_not_finite_behind_a_finite_loss_are_not_saved_at_an_interruption(networks, tmp_path):
    ours = training(networks, tmp_path, defense="none")
    break_gradient(ours, 2)
    during(ours, 2, interrupt)
    with pytest.raises(UserError, match="weights became infinite or NaN in epoch 1, step 3; there is no checkpoint"):
        ours.run()
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("epoch", "good"),
    [(1, "there is no checkpoint yet"), (2, "the last good checkpoint is {folder}/last, after epoch 1")],
)
def test_an_epoch_whose_last_step_breaks_the_weights_leaves_no_checkpoint(networks, tmp_path, epoch, good):
    ours = training(networks, tmp_path, defense="none")
    break_gradient(ours, epoch * STEPS - 1)
    with pytest.raises(UserError) as error:
        ours.run()
    assert str(error.value).startswith(f"{BROKEN} in epoch {epoch}; {good.format(folder=tmp_path)}; ")
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors"))
    assert kept == ([] if epoch == 1 else [f"last/{WEIGHTS}", FILE, WEIGHTS])
    assert all(value.isfinite().all() for path in kept for value in load_file(tmp_path / path).values())


def test_a_weight_that_is_infinite_behind_finite_logits_is_in_no_checkpoint(networks, tmp_path):
    ours = training(networks, tmp_path, defense="none")
    steps = iter(range(10**9))

    def switch_off(_done: int) -> None:
        if next(steps) == STEPS - 1:
            ours.classifier.network.second.bias.data[0] = -torch.inf  # the ReLU behind it gives 0

    with pytest.raises(UserError, match=f"{BROKEN} in epoch 1; there is no"):
        ours.run(on_step=switch_off)
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_running_statistics_count_as_weights(networks, tmp_path):
    network = training(networks, tmp_path).classifier.network
    assert is_finite(network)
    network.norm.running_var[0] = torch.inf
    assert not is_finite(network)


def test_finite_weights_of_no_use_are_no_checkpoint_either(attnlab):
    words = ["--limit", 10, "--batch-size", 10, "--held-out", 10, "--epochs", 1, "--steps", 1, "--learning-rate", 1e30]
    # one step; Python 3.12 warns of workers' forks, in lines that a test, unlike a terminal, is shown
    done = attnlab("train", *words, "--workers", 0, "--device", "cpu", "--out", "out")
    assert done.code == 1
    assert done.error.startswith(
        "weights or logits of held-out images became infinite or NaN in epoch 1; there is no checkpoint"
    )
    assert done.error.endswith("a smaller --learning-rate or a longer --ramp may help, in another --out")


def test_hits_are_not_numbers_where_logits_have_no_softmax():
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, -torch.inf], [torch.inf, 1.0], [torch.nan, 1.0]])
    found = hits(logits, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(
        found, torch.tensor([1, 0, 1, torch.nan, torch.nan], dtype=torch.float64), equal_nan=True
    )
