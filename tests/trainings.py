"""Small trainings that the tests of training share, and how to cut them short."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training.checkpointing import FILE
from attnlab.training.images import Batch, Resident
from attnlab.training.parse import parse_defense
from attnlab.training.recipes import Plan
from attnlab.training.trainer import Session, Training

#: a file with networks of the users' own: one with all that is random or has a memory, one with nothing of it
NETWORKS = """
from torch import nn

class Net(nn.Module):
    input_size = (10, 10)
    attention_layer = "relu"

    def __init__(self, plain, classes=3):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, 2)
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3)
        self.relu = nn.ReLU()
        self.dropout = nn.Identity() if plain else nn.Dropout(0.3)
        self.last = nn.Linear(6, classes)
        self.unused = nn.Linear(6, classes)  # as auxiliary heads are

    def forward(self, x):
        x = self.relu(self.second(self.norm(self.first(x)).relu()))
        return self.last(self.dropout(x.mean((2, 3))))

def build():
    return Net(plain=False)

def plain():
    return Net(plain=True)
"""
PLAN = Plan(
    "net",
    epochs=3,
    batch_size=4,
    learning_rate=0.02,
    eps=8 / 255,
    step_size=4 / 255,
    steps=2,
    schedule="one-cycle",
    ramp=1,
    augment="crop-flip",
    weight_decay=1e-2,
)
STEPS = 5
#: passes of a step through the network: two of the attack, of adversarial images, of clean ones and of masked ones
A_STEP = 5
#: passes of an epoch: its steps', and eight to validate
PASSES = A_STEP * STEPS + 2 * (2 + 2)
#: passes before the first step of a session that attacks: they find the norms that can be folded
LOOKS = 3


def noise(count: int, seed: int, device: str = "cpu") -> Resident:
    """Images whose labels show in their brightness, so that something can be learnt."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 100, (count, 3, 10, 10), generator=draw) + 70 * labels[:, None, None, None]
    return Resident(pixels.to(device, torch.uint8), labels.to(device))


def own_images(folder: Path, count: int) -> None:
    """A folder of a user's own images, with labels and no boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (28, 28), (6 * number, 90, 90)).save(folder / f"{number}.png")
    rows = "".join(f"{number}.png,{number % 3},,,,\n" for number in range(count))
    (folder / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{rows}")


def training(
    networks: Path, folder: Path, *, build: str = "build", defense: str = "aad", device: str = "cpu", **options: Any
) -> Training:
    """A training of 5 steps an epoch (22 images in batches of 4) that validates on 7 images."""
    names = {"plan": PLAN, "images": noise(22, 0, device), "held_out": noise(7, 1, device), "seed": 3} | options
    model = f"{networks}:{build}"
    classifier = load_model(model, "none", seed=1).place(device, memory_format="contiguous")
    weights = {"alpha": 0.1, "beta": 0.1} if "aad" in defense else {}
    return Training(classifier, model, defense, parse_defense(defense, **weights), folder=folder, **names)


def weights_of(classifier: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in classifier.network.state_dict().items()}


def assert_same_weights(first: Training, second: Training) -> None:
    mine, theirs = weights_of(first.classifier), weights_of(second.classifier)
    assert {name for name in mine if not torch.equal(mine[name], theirs[name])} == set()


def assert_same_training(ours: Training, whole: Training) -> None:
    assert_same_weights(ours, whole)
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}", FILE):
        assert (ours.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def during(training: Training, call: int, act: Callable[[], None]) -> None:
    """Do something in the middle of the network's n-th pass, from the first step on."""
    passes = iter(range(-LOOKS if "adversarial" in training.defense.reads else 0, 10**9))
    training.classifier.network.second.register_forward_hook(
        lambda *_: act() if next(passes) == call else None  # returns nothing, so changes no output
    )


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def die() -> None:
    raise RuntimeError("killed")


def interrupting_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let Ctrl-C be pressed in that step of the next training."""
    steps = iter(range(1, 10**9))
    step_on = Session.step_on

    def pressed(session: Session, batch: Batch) -> None:
        step_on(session, batch)
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Session, "step_on", pressed)
