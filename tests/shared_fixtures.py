"""What several tests share: real data where it lies beside the repository, small networks, one finished run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import browser, expect, report, visit  # noqa: F401 - fixtures
from common import NET, Printed, analyze_images, run_here
from sparing import spared  # noqa: F401 - a fixture
from torch import Tensor, nn

from attnlab.data import load_dataset
from attnlab.models import Classifier, load_model
from attnlab.training import trainer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data sets; tests that need it skip in a clone without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def resnet8() -> Classifier:
    return load_model("resnet8").place("cpu")


@pytest.fixture(scope="session")
def scenes_batch() -> tuple[Tensor, Tensor]:
    """Sixteen scenes: pixels in [0, 1] (16, 3, 64, 64) and labels (16,)."""
    images = load_dataset("scenes", split="test")
    examples = [images.read(index) for index in range(16)]
    pixels = torch.stack([torch.tensor(list(example.image.tobytes())).view(64, 64, 3) for example in examples])
    return pixels.permute(0, 3, 1, 2).float() / 255, torch.tensor([example.label for example in examples])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, resnet8: Classifier) -> Path:
    """A finished run of 200 scenes at two budgets: more than one part, and than a page draws before it is scrolled."""
    out = tmp_path_factory.mktemp("runs") / "scenes"
    options = {"split": "val", "model": "resnet8", "memory_format": "channels-last", "eps": "4/255,16/255"}
    options |= {"batch_size": 50, "part_size": 160}
    analyze_images(resnet8, load_dataset("scenes"), out, positions=range(200), **options)
    return out


def in_float64(kind: type[nn.Module], seed: int) -> Classifier:
    """A small network of colour images, with seeded weights."""
    torch.manual_seed(seed)
    network = kind()
    network.input_size = (19, 23)
    network.mean, network.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    return Classifier(network).double().eval()


class TwoConvolutions(nn.Module):
    """A network whose head is not a pooled linear one: a hidden layer lies between, and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2)
        self.second = nn.Conv2d(6, 8, 3, 2)
        self.hidden = nn.Linear(8, 12)
        self.last = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.second(torch.relu_(self.first(x))))
        return self.last(torch.tanh(self.hidden(x.mean((2, 3)))))


@pytest.fixture
def small() -> Classifier:
    """The generic path's small network, in float64."""
    return in_float64(TwoConvolutions, seed=0)


class PooledHead(nn.Module):
    """A network with a linear layer behind a global average pool; class 0 has no positive evidence anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, 2)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, 2)
        self.relu = nn.ReLU()
        self.last = nn.Linear(8, 5)
        self.last.weight.data[0] = -self.last.weight.data[0].abs()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.relu(self.second(self.norm(self.first(x)).relu())).mean((2, 3)))


@pytest.fixture
def pooled() -> Classifier:
    """The closed form's small network, in float64."""
    classifier = in_float64(PooledHead, seed=1)
    assert classifier.head == "last"
    return classifier


@pytest.fixture(params=["small", "pooled"])
def either(request) -> Classifier:
    """A small network in float64, whose maps take the generic path or the closed form."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """For the small networks: clean images, images near them, labels whose maps have an area."""
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(4, 3, 19, 23, generator=generator, dtype=torch.float64)
    noise = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    return images, (images + 0.3 * (noise - 0.5)).clamp(0, 1), torch.tensor([4, 1, 4, 3])


#: a file with networks of a user's own, for grey images of ten classes, colour ones of three, grey ones of four
NETWORKS = """
import torch
from torch import nn

def build(channels=1, classes=10):
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 5, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, classes),
    )
    network.input_size = (28, 28)
    return network

def colour():
    return build(3, 3)

def hidden():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 10),
    )
    network.input_size = (28, 28)
    return network

def few():
    return build(1, 4)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """MNIST's training files with 60 images, and a network for them."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.uint8) % 10
    pixels = draw.integers(0, 80, (60, 28, 28), np.uint8) + 17 * labels[:, None, None]
    shapes = {"images-idx3-ubyte": pixels, "labels-idx1-ubyte": labels}
    for kind, values in shapes.items():
        sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
        (folder / f"train-{kind}").write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())
    (folder / "net.py").write_text(NETWORKS)
    return folder


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> Path:
    """A file with the networks of `trainings`."""
    from trainings import NETWORKS

    path = tmp_path_factory.mktemp("networks") / "net.py"
    path.write_text(NETWORKS)
    return path


@pytest.fixture(scope="session")
def twins() -> dict[str, Classifier]:
    """ResNet8, and the same with noise on its weights."""
    from twins import load_twins

    return load_twins()


@pytest.fixture(scope="session")
def evaluated(twins, tmp_path_factory) -> Path:
    """A finished evaluation of both."""
    from twins import run_evaluation

    out = tmp_path_factory.mktemp("evaluations") / "whole"
    run_evaluation(twins, out)
    return out


@pytest.fixture(scope="session")
def exportable(tmp_path_factory) -> Path:
    """The analysis of `exports`, with its data beside it."""
    from exports import analyzed, lay

    place = tmp_path_factory.mktemp("export")
    return analyzed(lay(place / "data"), place / "run").folder


@pytest.fixture
def copied(exportable, tmp_path) -> Path:
    """That run without what was exported of it; its data may be removed."""
    shutil.copytree(exportable.parent / "data", tmp_path / "data")
    run = Path(shutil.copytree(exportable, tmp_path / "run", ignore=shutil.ignore_patterns("export-*")))
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "root": str(tmp_path / "data")}))
    return run


@pytest.fixture
def attnlab(monkeypatch, capsys, tmp_path) -> Callable[..., Printed]:
    """The command in this process, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: Printed(run_here(words), *capsys.readouterr())


@pytest.fixture
def train(attnlab, place, monkeypatch):
    """A short training into `out`, whatever else is asked for: 5 steps an epoch, 2 epochs."""
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 2, "--held-out", 10]
    words += ["--batch-size", 10, "--steps", 2, "--out", "out", "--device", "cpu"]
    return lambda *more: attnlab("train", *words, *more)


@pytest.fixture
def net(tmp_path) -> Path:
    """A user's own model file."""
    path = tmp_path / "net.py"
    path.write_text(f"from __future__ import annotations\n{NET}")
    return path


@pytest.fixture
def state(net) -> dict[str, Tensor]:
    """Weights for that file's `build`, other than those it starts with."""
    return {name: value + 1 for name, value in load_model(f"{net}:build").network.state_dict().items()}


@pytest.fixture
def plain_net(tmp_path) -> str:
    """A FILE.py with two networks: `Small` states no normalisation, `Said` states mean and std."""
    path = tmp_path / "plain.py"
    path.write_text(
        "from nets import Small\n\nclass Said(Small):\n    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)\n"
    )
    return f"{path}:Small"
