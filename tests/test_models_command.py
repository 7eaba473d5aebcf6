"""`attnlab models`: what is said of a model agrees with its classifier and with maps that are read one by one."""

import json
import sys
from pathlib import Path

import layout_networks
import pytest
import torch
from torch import nn

from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.describe import describe
from attnlab.models.layers import layers_of


def test_a_model_is_described_in_lines_and_a_table(attnlab):
    done = attnlab("models", "resnet8")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:7] == [
        "model:         resnet8",
        "source:        attnlab",
        f"parameters:    {sum(value.numel() for value in load_model('resnet8').network.parameters()):,}",
        "classes:       10",
        "images:        64x64 pixels (height x width), 3 channels",
        "normalisation: mean 0.5, 0.5, 0.5, std 0.25, 0.25, 0.25; said by the network",
        "layer:         stage3",
    ]
    rows = {row.split()[0]: row.split()[1:] for row in lines if row.startswith("  ")}
    assert rows["stem"] == ["24", "32x32", "1024"]
    assert rows["stage3"] == ["96", "8x8", "64", "yes", "yes"]


def test_json_has_the_same_and_nothing_else_on_standard_output(attnlab):
    found = json.loads(attnlab("models", "resnet8", "--layer", "stage2", "--format", "json").out)
    assert (found["name"], found["classes"], found["input_size"], found["layer"]) == ("resnet8", 10, [64, 64], "stage2")
    read = [layer for layer in found["layers"] if layer["default"]]
    assert [(layer["name"], layer["channels"], layer["height"], layer["head"]) for layer in read] == [
        ("stage2", 48, 16, None)
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["resnet80"], "got 'resnet80'; did you mean 'resnet8'?"),
        (["resnet8", "--layer", "stage9"], "expected a layer of the model, got 'stage9'"),
        (["resnet8", "--mean", "0.5"], "expected --mean and --std together, got --mean alone; say --std too"),
        (["timm:resnet18", "--weights", "none"], "--model timm:NAME needs timm: pip install 'attnlab[timm]'"),
    ],
)
def test_a_wrong_name_layer_or_missing_extra_is_one_line(attnlab, monkeypatch, words, error):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert error in attnlab("models", *words).error


def test_who_says_how_images_are_normalised_is_said(attnlab, net, state):
    def said(*words: object) -> str:
        lines = attnlab("models", *words).out.splitlines()
        return next(line for line in lines if line.startswith("normalisation:")).partition("; ")[2]

    assert said(f"{net}:build") == "said by the network"
    assert said(f"{net}:build", "--mean", "0", "--std", "1") == "said by --mean and --std"
    assert said("squeezenet1_1", "--weights", "none") == "said by torchvision"
    (Path.cwd() / "plain.py").write_text("from layout_networks import Convolutions as build")
    assert said("plain.py:build") == "said by nobody: they are not normalised"
    saved = {"model": layout_networks.Convolutions().state_dict(), "normalize": {}}
    saved["model"] = {f"model.{name}": value for name, value in saved["model"].items()}
    saved["model"] |= {"normalize.mean": torch.full((3,), 0.4), "normalize.std": torch.full((3,), 0.2)}
    torch.save(saved["model"], "mine.pth")
    assert said("plain.py:build", "--weights", "mine.pth") == "said by mine.pth"
    shown = attnlab("models", "plain.py:build", "--weights", "mine.pth")
    assert "note:          images are normalised as mine.pth says: normalize (mean 0.4" in shown.out
    assert shown.err == ""


NETWORKS = ["Convolutions", "channels_last", "hidden_head", "tokens", "three_before", "pooled_tokens", "gated"]


@pytest.mark.parametrize("make", NETWORKS)
def test_each_layer_is_read_as_it_is_where_it_is_named(make):
    classifier = Classifier(getattr(layout_networks, make)())
    layers = layers_of(classifier)
    assert [layer.name for layer in layers if layer.default] == [classifier.layer]
    for layer in layers:
        alone = Classifier(getattr(layout_networks, make)(), layer.name)
        assert (alone.map_shape, alone.head) == ((layer.height, layer.width), layer.head)
        assert alone.feature_map.layout.axes == layer.axes
        unread = any("do not depend on any cell" in doubt for doubt in alone.feature_map.doubts)
        assert unread == ("no cell reaches the logits" in layer.note)
        scrambled = any("row by row" in doubt for doubt in alone.feature_map.doubts)
        assert scrambled == ("do not seem to lie" in layer.note)


def test_a_layer_behind_which_the_class_token_alone_is_read_is_doubtful():
    notes = {layer.name: layer.note for layer in layers_of(Classifier(layout_networks.tokens()))}
    assert notes["norm"] == "no cell reaches the logits: its maps are 0"
    assert notes["blocks.layers.1.norm1"] == ""


def test_a_layer_that_can_be_read_two_ways_is_listed_with_both_unless_the_user_says_which():
    (layer,) = [layer for layer in layers_of(Classifier(layout_networks.cube(), "norm")) if layer.name == "mystery"]
    assert layer.note == "can be read two ways: say mystery:channels-first or mystery:channels-last"
    with pytest.raises(UserError, match="two ways"):
        Classifier(layout_networks.cube(), "mystery")
    said = Classifier(layout_networks.cube(), "mystery:channels-last")
    (layer,) = [layer for layer in layers_of(said) if layer.default]
    assert (layer.name, layer.axes, layer.note) == ("mystery:channels-last", "channels-last", "")


class Reused(nn.Module):
    """A residual block that works in place, with one ReLU for all."""

    input_size = (16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(inplace=True)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.relu(self.first(x))
        out = self.second(x)
        out += x
        return self.fc(self.pool(self.relu(out)).flatten(1))


def test_a_module_that_runs_twice_is_listed_where_it_ran_last_and_pools_are_not():
    network = Reused()
    layers = layers_of(Classifier(network))
    assert [(layer.name, layer.head) for layer in layers] == [("first", None), ("second", None), ("relu", "fc")]
    assert [layer.default for layer in layers] == [False, False, True]


def test_a_description_leaves_the_network_as_it_was():
    classifier = Classifier(layout_networks.tokens())
    before = classifier.fingerprint()
    flags = [parameter.requires_grad for parameter in classifier.parameters()]
    found = describe(classifier, "tokens.py:tokens")
    assert found.parameters == sum(map(torch.numel, classifier.network.parameters()))
    assert classifier.fingerprint() == before
    assert [parameter.requires_grad for parameter in classifier.parameters()] == flags
    assert not any(module._forward_hooks for module in classifier.modules())
