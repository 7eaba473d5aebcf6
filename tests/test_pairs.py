"""Models and weights that belong together: a baseline and its defended twin, under names of the user's own."""

import json

import pytest
import torch
from common import error_of
from safetensors.torch import save_file

from attnlab.models import load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.pipelines.pairs import pair_up


def labels(models: list[str], weights: list[str], names: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [tuple(pair) for pair in pair_up(models, weights, names)]


@pytest.mark.parametrize(
    ("models", "weights", "expected"),
    [
        (["resnet8"], [], [("resnet8", "resnet8", "default")]),
        (["resnet8", "runs/aad"], ["none"], [("resnet8", "resnet8", "none"), ("aad", "runs/aad", "none")]),
        (["n.py:f"] * 2, ["x/a.pth", "x/b.pth"], [("a", "n.py:f", "x/a.pth"), ("b", "n.py:f", "x/b.pth")]),
        (["n.py:f"], ["a.pth", "b.v2"], [("a", "n.py:f", "a.pth"), ("b.v2", "n.py:f", "b.v2")]),
        (["n.py:f"], ["x/best.pth", "y/best.pth"], [
            ("x/best.pth", "n.py:f", "x/best.pth"), ("y/best.pth", "n.py:f", "y/best.pth")]),
        (["a.py:f", "b.py:f"], ["w.pth", "w.pth"], [("a.py:f", "a.py:f", "w.pth"), ("b.py:f", "b.py:f", "w.pth")]),
        (["runs/transfer"], [], [("runs/transfer", "runs/transfer", "default")]),
    ],
)  # fmt: skip
def test_pairs_keep_their_order_and_are_called_after_what_parts_them(models, weights, expected):
    assert labels(models, weights) == expected


@pytest.mark.parametrize(
    ("models", "weights", "names", "message"),
    [
        (["a", "b"], ["w.pth"], [],
         "expected a --weights for each --model, or for one --model, got 2 and 1: a with w.pth, b with ?"),
        (["a", "b"], ["u", "v", "w"], [],
         "expected a --weights for each --model, or for one --model, got 2 and 3: a with u, b with v, ? with w"),
        (["a", "a"], [], [], "expected each --model once, or each time with other --weights, got a with default again"),
        (["a", "b"], [], ["one"],
         "expected a --name for each model, got 1 for 2: one for a with default, ? for b with default"),
        (["a", "b"], [], ["one", "one"], "expected names that differ from each other and from 'transfer', got 'one'"),
        (["a"], [], ["transfer"], "expected names that differ from each other and from 'transfer', got 'transfer'"),
        (["a"], [], [" "], "expected names that differ from each other and from 'transfer', got ' '"),
    ],
)  # fmt: skip
def test_what_does_not_pair_is_refused_with_the_pairing(models, weights, names, message):
    assert error_of(pair_up, models, weights, names) == message


NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    network.input_size = (16, 16)
    return network
"""


def test_a_baseline_is_evaluated_against_its_defended_twin_under_their_own_names(attnlab, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    network = load_model("net.py:build")
    ones = {name: torch.ones_like(value) for name, value in network.network.state_dict().items()}
    save_file(ones, "plain.safetensors")
    save_checkpoint(network, tmp_path / "mine", "net.py:build", "madry")
    words = ["evaluate", "--limit", 4, "--attacks", "clean", "--no-check", "--out", "out"]
    pairs = [
        "--model",
        "net.py:build",
        "--model",
        "net.py:build",
        "--weights",
        "plain.safetensors",
        "--weights",
        "mine",
    ]
    named = ["--name", "baseline", "--name", "defended"]
    assert attnlab(*words, *pairs, *named).code == 0
    manifest = json.loads((tmp_path / "out/run.json").read_text())
    assert manifest["options"]["models"] == {
        "baseline": {
            "name": "net.py:build", "weights": "plain.safetensors", "network": "net.py:build", "defense": "none"
        },
        "defended": {"name": "net.py:build", "weights": "mine", "network": "net.py:build", "defense": "madry"},
    }  # fmt: skip
    assert manifest["model"]["defended"]["sha256"] == network.fingerprint() != manifest["model"]["baseline"]["sha256"]
    assert (tmp_path / "out/tables/paired.csv").read_text().splitlines()[1].startswith("clean,baseline,defended,4,")
    assert attnlab(*words, *pairs, *named).code == 0  # the same command is the same run
    assert "other options" in attnlab(*words, *pairs, "--name", "a", "--name", "b").error


def test_one_weights_value_is_written_to_the_manifest_as_before(attnlab, tmp_path):
    words = ["evaluate", "--limit", 2, "--attacks", "clean", "--no-check", "--out", "out", "--weights", "none"]
    assert attnlab(*words).code == 0
    options = json.loads((tmp_path / "out/run.json").read_text())["options"]
    assert (options["weights"], options["models"]) == (
        "none", {"resnet8": {"name": "resnet8", "network": "resnet8", "defense": "none"}}
    )  # fmt: skip
