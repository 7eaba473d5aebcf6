"""When a training's attack is recorded: with a stand-in for the graph, whose own tests are in test_devices.py."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.training import adversary
from attnlab.training.adversary import Adversary, Recording

ATTACK = Attack(eps=0.1, steps=2, step_size=0.06, random_start=True)


class Device(Adversary):
    """An adversary on a device that records: a replay reads the recorded inputs and writes the recorded output."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        self._records, self.recordings, self.replays = True, 0, 0

    def _record(self, images: Tensor, labels: Tensor, draws: Tensor | None, attack: Attack) -> Recording:
        self.recordings += 1
        mine = images.clone(), labels.clone(), None if draws is None else draws.clone()
        output = torch.full_like(images, torch.nan)

        def replay() -> None:
            self.replays += 1
            output.copy_(self._attack(*mine, attack))

        return Recording(SimpleNamespace(replay=replay), mine, output)


@pytest.fixture
def device(monkeypatch) -> Device:
    monkeypatch.setattr(adversary, "is_recordable", lambda work, device: True)
    return Device(load_model("resnet8").double())  # so that no sign of a gradient hangs on rounding


def attacked(device: Device, seed: int, attack: Attack = ATTACK, count: int = 2) -> None:
    """One attack on images of that seed, and the same without a recording."""
    draw = torch.Generator().manual_seed(seed)
    images, draws = torch.rand(2, count, 3, 64, 64, generator=draw)
    labels = torch.randint(10, (count,), generator=draw)
    given = draws if attack.random_start else None
    made = device(images, labels, attack, given)
    torch.testing.assert_close(made, perturb(device.classifier, images, labels, attack, seeds=given))


@pytest.mark.parametrize("start", [True, False])
def test_the_third_attack_of_a_kind_is_recorded_and_replayed_with_each_batchs_own_images(device, start):
    for seed in range(5):
        attacked(device, seed, replace(ATTACK, random_start=start))
    assert (device.recordings, device.replays) == (1, 3)


@pytest.mark.parametrize("change", ["eps", "shape", "address"])
def test_what_changes_is_recorded_anew(device, change):
    for seed in range(4):
        attacked(device, seed)
    attack, count = ATTACK, 2
    if change == "eps":
        attack = replace(ATTACK, eps=0.05)
    elif change == "shape":
        count = 1
    else:
        weight = next(device.classifier.network.parameters())
        weight.data = weight.data.clone()
    for seed in range(2):
        attacked(device, seed, attack, count)
    assert (device.recordings, device.replays) == (1, 2)
    attacked(device, 2, attack, count)
    assert (device.recordings, device.replays) == (2, 3)


def test_what_cannot_be_recorded_is_not(device, monkeypatch):
    tried = []
    monkeypatch.setattr(adversary, "is_recordable", lambda work, device: bool(tried.append(work())))
    for seed in range(5):
        attacked(device, seed)
    assert (len(tried), device.recordings) == (1, 0)


def test_a_cpu_records_nothing(monkeypatch):
    monkeypatch.setattr(adversary, "is_recordable", lambda work, device: pytest.fail("there is no GPU"))
    ours = Adversary(load_model("resnet8").double())
    for seed in range(4):
        attacked(ours, seed)


def test_a_recording_that_fails_is_one_line_with_a_way_out(monkeypatch):
    @contextmanager
    def broken(*_: object, **__: object):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")
        yield

    for name in ("CUDAGraph", "Stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, broken if name == "graph" else lambda *_: None)
    monkeypatch.setattr(adversary, "is_recordable", lambda work, device: True)
    ours = Adversary(load_model("resnet8").double())
    ours._records = True
    attacked(ours, 0)
    attacked(ours, 1)
    with pytest.raises(UserError) as error:
        attacked(ours, 2)
    assert str(error.value) == (
        "the attack cannot be recorded as a CUDA graph (operation not permitted when stream is capturing); "
        "go on with --no-cuda-graph"
    )
