"""Folded batch norms against the network as it was."""

import copy
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from attnlab.attention.gradcam import grad_cam
from attnlab.compat import torchvision
from attnlab.hooks import DRAWN, frozen_eval, moved
from attnlab.models import Classifier, load_model
from attnlab.models.bn_folding import fold_batch_norms, foldable, folded


@cache
def loaded(name: str) -> Classifier:
    """An untrained network at a fraction of its own size, for quicker passes; each test takes a copy."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "inception_v3" else {}
    return Classifier(torchvision.models.get_model(name, weights=None, **options).eval(), input_size=96)


def resnet18() -> nn.Module:
    return copy.deepcopy(loaded("resnet18").network)


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that do something, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


def run_of(network: nn.Module, size: int = 64) -> Callable[[], Tensor]:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return lambda: network(images)


@pytest.mark.parametrize(
    ("name", "norms"), [("resnet18", 20), pytest.param("inception_v3", 94, marks=pytest.mark.slow), ("densenet121", 59)]
)
def test_folding_changes_neither_logits_nor_maps(name, norms):
    classifier = copy.deepcopy(loaded(name)).double()
    with_statistics(classifier.network)
    images = torch.rand(2, 3, *classifier.input_size, generator=torch.Generator().manual_seed(1)).double()
    classes = torch.tensor([1, 5])
    before = classifier(images), grad_cam(classifier, images, classes)
    pairs = classifier.foldable()
    assert len(pairs) == norms
    fold_batch_norms(classifier.network, pairs)
    torch.testing.assert_close(classifier(images), before[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad_cam(classifier, images, classes), before[1], rtol=1e-9, atol=1e-9)


def test_folding_in_double_precision_is_exact_to_double_precision():
    network = load_model("resnet8").network
    plain = Classifier(copy.deepcopy(network)).place("cpu", "fp64", "contiguous")
    folded_ = Classifier(network).place("cpu", "fp64", "folded")
    assert folded_.folded == 7
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(folded_(images), plain(images), rtol=1e-13, atol=1e-13)
    assert folded_.place("cpu", "fp32", "folded")(images.float()).dtype == torch.float32


def test_a_convolution_whose_own_output_is_read_is_not_folded():
    network = resnet18()
    assert len(foldable(network, run_of(network), keep="layer4.1.conv2")) == 19
    assert len(foldable(network, run_of(network), keep="layer4.1.bn2")) == 20


@pytest.mark.parametrize(
    "stem",
    [nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())],
    ids=["a container", "a dropout"],
)
def test_no_norm_is_folded_behind_a_layer_that_passes_the_convolutions_output_on(stem):
    network = nn.Sequential(stem, nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert foldable(network, run_of(network, 8)) == [("1", "0.0")]
    assert foldable(network, run_of(network, 8), keep="0") == []


class Twice(nn.Module):
    """A convolution whose output is read beside its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (x + self.norm(x)).mean((2, 3))


class Hidden(Twice):
    """The same behind a head of zeros, which hides what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 5)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(super().forward(x))


class Looking(Twice):
    """A network that reads more of its norm than its output."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) * self.norm.weight


class Aliased(nn.Module):
    """A norm that has two names and runs under the second."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), self.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


def old_style(change: Callable[..., object], *rest: object) -> nn.Module:
    """A convolution whose parameters a hook makes anew before each pass."""
    conv = nn.Conv2d(3, 4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of weight_norm, which networks out there have
        change(conv, *rest)
    return nn.Sequential(conv, nn.BatchNorm2d(4))


class Sharp(nn.BatchNorm2d):
    """A norm that does more than torch's own, as some of timm's do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "network",
    [
        Twice(),  # fresh: its norm changes nothing yet, so only moved statistics can tell
        Hidden(),
        Looking(),
        Aliased(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)),
        old_style(nn.utils.weight_norm),
        old_style(nn.utils.spectral_norm),
        old_style(prune.random_unstructured, "weight", 0.5),
        old_style(prune.random_unstructured, "bias", 0.5),
        nn.Sequential(nn.Conv2d(3, 4, 3), Sharp(4)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=[
        "read twice",
        "read twice behind zeros",
        "norm looked into",
        "two names",
        "changed in between",
        "weight norm",
        "spectral norm",
        "pruned weight",
        "pruned bias",
        "derived norm",
        "derived convolution",
        "no statistics",
    ],
)
def test_what_would_change_the_logits_is_not_folded(network):
    state = {name: value.clone() for name, value in network.eval().state_dict().items()}
    assert foldable(network, run_of(network, 8)) == []
    run_of(network, 8)()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_one_norm_that_cannot_be_folded_keeps_no_other_from_it():
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), Twice())
    assert foldable(network.eval(), run_of(network, 12)) == [("1", "0")]


def test_folding_for_a_block_gives_everything_back_even_after_an_error():
    network = with_statistics(resnet18())
    images = torch.rand(2, 3, 64, 64)
    with frozen_eval(network):
        pairs, before = foldable(network, lambda: network(images)), network(images)
    modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
    network.train()

    def fail() -> None:
        with folded(network, pairs), frozen_eval(network):
            assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
            torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-5)
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert dict(network.named_modules()).items() == modules.items()  # modules compare by identity
    assert all(parameter is parameters[name] for name, parameter in network.named_parameters())
    assert all(module.training for module in network.modules())


def test_moved_weights_are_the_weights_times_drawn_numbers_plus_others_again_and_again():
    network = nn.Sequential(nn.Linear(400, 300), nn.BatchNorm1d(300))  # 120,000 weights: a turn and a part of one
    own = {name: value.clone() for name, value in network.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    factors, steps = torch.rand(DRAWN, generator=draw) + 0.5, torch.randn(DRAWN, generator=draw)
    weight, variance = torch.arange(120_000) - 1, torch.arange(300) - 6  # the first tensor, and the sixth
    with moved(network):
        now = {name: value.clone() for name, value in network.state_dict().items()}
    expected = own["0.weight"].flatten() * factors[weight % DRAWN] + 0.1 / 20 * steps[weight % DRAWN]
    torch.testing.assert_close(now["0.weight"].flatten(), expected)
    torch.testing.assert_close(now["1.running_var"], factors[variance % DRAWN])
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def passing(network: nn.Module) -> list[int]:
    """Sizes of the batches that the network meets from now on."""
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _network, inputs: sizes.append(len(inputs[0])))
    return sizes


def test_one_pass_shows_the_layer_its_closed_form_and_the_norms():
    network = resnet18()
    network.input_size = (64, 64)
    sizes = passing(network)
    classifier = Classifier(network)
    assert classifier.head == "fc"
    assert sizes == [2, 2, 2]  # up to the first convolution, as it is, and with moved weights
    assert len(classifier.foldable()) == 20
    assert sizes == [2] * 5  # with moved weights, before and after


def test_norms_are_looked_for_again_where_a_module_is_another_one():
    network = resnet18()
    network.input_size = (64, 64)
    classifier = Classifier(network)
    network.layer1[0].bn1 = nn.Identity()
    assert len(classifier.foldable()) == 19


def test_placing_tells_what_was_folded_and_keeps_the_weights_hash():
    classifier = load_model("resnet8")
    before = classifier.describe()
    after = classifier.place("cpu", "bf16", "folded").describe()
    assert (before["folded_batch_norms"], after["folded_batch_norms"]) == (0, 7)
    assert before["sha256"] == after["sha256"]


def test_analyses_and_evaluations_fold_unless_told_otherwise(attnlab):
    for command, *short in (("analyze",), ("evaluate", "--attacks", "clean")):
        folded_norms = []
        for number, words in enumerate([(), ("--memory-format", "channels-last")]):
            out = f"{command}-{number}"
            assert attnlab(command, "--limit", 4, "--workers", 0, "--out", out, *short, *words).code == 0
            manifest = json.loads(Path(out, "run.json").read_text())
            model = manifest["model"] if command == "analyze" else manifest["model"]["resnet8"]
            folded_norms.append((manifest["options"]["memory_format"], model["folded_batch_norms"]))
        assert folded_norms == [("folded", 7), ("channels-last", 0)]
