"""Normalisation and size: what a network says of its images, what the user states, and what neither can mean."""

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from common import error_of
from nets import Small
from torch import nn

from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.own_code import build_from_file
from attnlab.pipelines.opening import load_source
from attnlab.pipelines.replay import replay

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def saying(**attributes: object) -> Small:
    network = Small().eval()
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


class NormalisesItself(nn.Module):
    """As robustness code does."""

    input_size = (16, 16)

    def __init__(self, keep):
        super().__init__()
        keep(self, "mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        keep(self, "std", torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1))
        self.network = Small()

    def forward(self, x):
        return self.network((x - self.mean) / self.std)


KEPT = {
    "buffers": nn.Module.register_buffer,
    "parameters": lambda module, name, value: setattr(module, name, nn.Parameter(value, requires_grad=False)),
    "tensors": setattr,
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_a_network_that_holds_mean_and_std_as_tensors_is_taken_to_normalise_itself_and_that_is_told(keep):
    network = NormalisesItself(keep).eval()
    with pytest.warns(
        UserWarning, match="holds mean and std as tensors, so it is taken to normalise its images itself"
    ):
        classifier = Classifier(network).eval()
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    assert torch.equal(classifier(IMAGES), network.network((IMAGES - mean) / std))


def test_mean_and_std_that_are_stated_count_before_all_others_and_are_recorded():
    network = NormalisesItself(nn.Module.register_buffer).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = Classifier(network, mean=0.5, std=(0.25, 0.25, 0.5)).eval()
    std = torch.tensor([0.25, 0.25, 0.5]).view(3, 1, 1)
    torch.testing.assert_close(classifier(IMAGES), network((IMAGES - 0.5) / std))
    assert classifier.describe()["mean"] == [0.5, 0.5, 0.5]
    assert classifier.describe()["std"] == [0.25, 0.25, 0.5]
    assert "mean" not in Classifier(saying(mean=0.5)).describe()


def test_a_checkpoint_keeps_what_was_stated_for_its_model(tmp_path, net):
    first = load_model(f"{net}:build", mean=0.3, std=0.5)
    save_checkpoint(first, tmp_path / "mine", f"{net}:build")
    second = load_model(str(tmp_path / "mine"), trust_code=True)
    assert second.describe() == first.describe()
    assert second.mean.flatten().tolist() == pytest.approx([0.3] * 3)
    third = load_model(str(tmp_path / "mine"), mean=0.1, std=0.2, trust_code=True)
    assert third.std.flatten().tolist() == pytest.approx([0.2] * 3)


def test_a_size_that_is_stated_counts_before_the_networks_own_and_a_checkpoint_keeps_it(tmp_path, net):
    network = build_from_file(f"{net}:build")
    first = Classifier(network, input_size=(48, 32)).eval()
    assert first.input_size == (48, 32) != tuple(network.input_size)
    first.code = load_model(f"{net}:build").code
    save_checkpoint(first, tmp_path / "mine", f"{net}:build")
    second = load_model(str(tmp_path / "mine"), trust_code=True)
    assert second.describe() == first.describe()
    assert second.describe()["input_size"] == [48, 32]
    assert load_model(f"{net}:build", str(tmp_path / "mine")).input_size == (48, 32)
    with pytest.raises(UserError, match="expected input_size of the network to be a whole number"):
        Classifier(network, input_size=(0, 32))


def test_a_method_of_that_name_is_no_normalisation():
    network = saying(mean=lambda: 3)
    assert Classifier(network).as_it_is


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"mean": [0.5, 0.5]},
            "expected mean of the network to be 3 numbers, one for each channel, got 0.5, 0.5; --mean and --std "
            "say others",
        ),
        ({"mean": "0.5"}, "expected mean of the network to be 3 numbers, got '0.5'"),
        ({"mean": True}, "expected mean of the network to be 3 numbers, got True"),
        ({"std": [[0.5] * 3]}, "expected std of the network to be 3 numbers, got [[0.5, 0.5, 0.5]]"),
        ({"std": [0.5, 0, 0.5]}, "expected std of the network above 0, got 0.5, 0, 0.5"),
        ({"std": -0.5}, "expected std of the network above 0, got -0.5, -0.5, -0.5"),
        ({"std": math.nan}, "expected std of the network of finite numbers, got nan"),
        ({"mean": math.inf}, "expected mean of the network of finite numbers, got inf"),
        (
            {"mean": (127.5, 127.5, 127.5), "std": (51, 51, 102)},
            "expected mean of the network for pixels in [0, 1], got 127.5, 127.5, 127.5, which is for pixels from 0 to "
            "255; divide mean and std by 255: 0.5, 0.5, 0.5 and 0.2, 0.2, 0.4",
        ),
        (
            {"mean": 0.5, "std": torch.tensor(0.5)},
            "expected mean and std of the network to be plain numbers, got a tensor as std and numbers as mean: say "
            "with --mean and --std what images are normalised with (0 and 1: nothing)",
        ),
    ],
)
def test_a_normalisation_that_cannot_be_meant_is_refused(said, message):
    assert error_of(Classifier, saying(**said)) == message


def test_a_std_above_one_is_told_with_the_likely_fix():
    with pytest.warns(UserWarning, match="divide it by 255"):
        Classifier(saying(std=58.0))


def test_mean_without_std_is_refused():
    message = error_of(lambda: Classifier(Small(), mean=0.5))
    assert message == "expected --mean and --std together, got --mean alone; say --std too"


@pytest.mark.parametrize("said", [24, (24, 24), [24, 24], torch.Size([24, 24]), (3, 24, 24), torch.Size([3, 24, 24])])
def test_a_size_may_be_one_number_or_come_with_channels(said):
    assert Classifier(saying(input_size=said)).input_size == (24, 24)


@pytest.mark.parametrize("said", [0, -3, 24.0, "24", (24, 0), (24.5, 24), (1, 3, 24, 24), (), True, (True, 24), {}])
def test_a_size_that_is_none_is_refused(said):
    assert error_of(Classifier, saying(input_size=said)) == (
        "expected input_size of the network to be a whole number, (height, width) or (channels, height, width), "
        f"got {said!r}"
    )


def test_a_size_with_its_channels_last_is_refused():
    assert error_of(Classifier, saying(input_size=(24, 24, 3))).endswith(
        "with 3 channels, as its first convolution takes, got 24"
    )


def test_mean_and_std_on_the_command_line_are_used_recorded_and_kept_by_what_sees_the_images_again(attnlab):
    words = ["analyze", "--limit", 2, "--workers", 0, "--out", "out"]
    assert attnlab(*words, "--mean", "0.2,0.3,0.4", "--std", "0.5").code == 0
    model = json.loads(Path("out/run.json").read_text())["model"]
    assert (model["mean"], model["std"]) == ([0.2, 0.3, 0.4], [0.5, 0.5, 0.5])
    resnet8 = load_model("resnet8", mean=(0.2, 0.3, 0.4), std=0.5).place("cpu")
    (first, _second) = replay("out", device="cpu")
    with torch.no_grad():
        logits = resnet8(torch.from_numpy(first.clean).permute(2, 0, 1)[None])
    assert first.record["confidence"] == pytest.approx(float(logits.softmax(1)[0, first.record["label"]]), abs=1e-5)
    assert "model mean was" in attnlab(*words, "--mean", "0.1", "--std", "0.5").error
    assert attnlab(*words, "--mean", "half", "--std", "0.5").code == 2
    assert attnlab("train", "--mean", "0.5", "--out", "t").error == (
        "expected --mean and --std together, got --mean alone; say --std too"
    )


@pytest.mark.parametrize("option", ["--transfer", "--sources"])
def test_mean_and_std_of_the_command_line_are_not_for_a_source_which_is_told_where_it_says_nothing(tmp_path, option):
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "def silent():\n"
        "    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(784, 4))\n"
        "    network.input_size = 16\n"
        "    return network\n"
        "def saying():\n"
        "    network = silent()\n"
        "    network.mean, network.std = 0, 1\n"
        "    return network\n"
    )
    silent, saying = (f"{tmp_path}/nets.py:{name}" for name in ("silent", "saying"))
    with pytest.warns(UserWarning, match=f"{option} .*silent says no mean and std of its own, so its images"):
        assert load_source(option, silent, stated=True).as_it_is
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, stated in ((silent, False), (saying, True), ("resnet8", True)):
            load_source(option, name, stated=stated)


def test_a_source_is_normalised_as_it_says_whatever_the_command_line_states_for_the_model(attnlab):
    words = ["evaluate", "--attacks", "fgsm", "--limit", 4, "--workers", 0, "--transfer", "resnet8", "--out", "out"]
    assert attnlab(*words, "--mean", "0.2", "--std", "0.5").code == 0
    model = json.loads(Path("out/run.json").read_text())["model"]
    assert (model["resnet8"]["mean"], "mean" in model["transfer"]) == ([0.2, 0.2, 0.2], False)
