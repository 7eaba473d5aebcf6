"""A network that raises, has no gradient or looks wrong, and workers that are killed: what each command reports."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from common import error_of, last
from nets import Small

from attnlab.data import load_dataset
from attnlab.failures import NetworkFailed, naming
from attnlab.models import Classifier, load_model

#: networks for the scenes
NETWORKS = """
import torch
from torch import nn

class Small(nn.Module):
    input_size = (64, 64)

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

class Later(Small):
    calls = 0

    def forward(self, x):
        self.calls += 1
        if len(x) == 3 and self.calls > 12:
            raise RuntimeError("a shape that this network cannot take")
        return super().forward(x)

class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no way back")

class Forward(Small):
    def forward(self, x):
        return super().forward(Backward.apply(x) if x.requires_grad and len(x) == 3 else x)

class Without(Small):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)

class Crowded(Small):
    def forward(self, x):
        if len(x) > 3:
            raise ValueError
        return super().forward(x)

class Fewer(Small):
    def forward(self, x):
        return super().forward(x)[:, : 10 if len(x) < 3 else 3]

class Sparse(Small):
    def forward(self, x):
        return super().forward(x).to_sparse()

class Untrainable(Small):
    def forward(self, x):
        if self.training:
            raise RuntimeError("not in train mode")
        return super().forward(x)

class Softmax(Small):
    def forward(self, x):
        return super().forward(x).softmax(1)
"""


@pytest.fixture
def command(attnlab, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    words = ["--limit", 8, "--batch-size", 3, "--workers", 0, "--out", "out"]
    return lambda name, network, *more: attnlab(name, "--model", f"nets.py:{network}", *words, *more)


@pytest.mark.parametrize(
    "words", [("analyze",), ("analyze", "--method", "lime", "--lime-samples", 20, "--target", "true")]
)
def test_a_network_that_fails_in_an_analysis_is_told_with_its_images_and_what_is_kept(command, words):
    line = last(command(words[0], "Later", *words[1:]))
    assert line.startswith("the network failed on images ")
    assert "(RuntimeError: a shape that this network cannot take)" in line
    assert line.endswith("; what is finished is kept in out: repeat the command to resume")


@pytest.mark.parametrize("words", [("evaluate", "--attacks", "clean,pgd40"), ("attack", "--attack", "pgd40")])
def test_a_network_that_fails_under_attack_is_told_with_its_images_and_what_is_kept(command, words):
    line = last(command(words[0], "Later", *words[1:]))
    assert line.startswith("the network failed on nets.py:Later's images ")
    assert "(RuntimeError: a shape that this network cannot take)" in line
    assert line.endswith("; what is finished is kept in out: repeat the command to resume")


def test_a_network_that_fails_in_training_is_told_with_the_step_and_what_is_kept(attnlab, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    words = ["--weights", "none", "--limit", 8, "--batch-size", 4, "--held-out", 4, "--steps", 1, "--out", "out"]
    assert last(attnlab("train", "--model", "nets.py:Untrainable", *words)) == (
        "the network failed on training images of epoch 1, step 1 (RuntimeError: not in train mode); what was saved of "
        "it is kept in out: repeat the command to resume"
    )


def test_an_error_of_the_networks_own_derivative_is_told(command):
    assert "(RuntimeError: no way back)" in last(command("analyze", "Forward"))


@pytest.mark.parametrize(
    ("words", "network", "said"),
    [
        (("analyze", "--method", "lime"), "Crowded", "the network failed on 4 images, tried as a batch (ValueError)"),
        (
            ("analyze",),
            "Fewer",
            "expected 10 logits of each image, as the network returned at first, got 3: its classes",
        ),
        (
            ("evaluate",),
            "Sparse",
            "expected the network to return dense logits, got torch.sparse_coo; wrap the network",
        ),
    ],
)
def test_a_network_that_fails_where_it_is_only_tried_is_one_line_too(command, words, network, said):
    assert last(command(words[0], network, *words[1:])).startswith(said)


def test_logits_have_the_networks_precision_whatever_its_last_line_makes_of_them():
    network = Small()
    network.register_forward_hook(lambda _module, _given, y: y.double() if torch.is_grad_enabled() else y.half())
    classifier = Classifier(network)
    images = torch.full((2, 3, 16, 16), 0.5)
    with torch.no_grad():
        assert classifier(images).dtype == torch.float32
    assert classifier(images).dtype == torch.float32
    assert classifier.double()(images.double()).dtype == torch.float64


def test_a_network_that_fails_while_its_norms_are_folded_is_one_line(monkeypatch):
    classifier = Classifier(Small())
    monkeypatch.setattr(Small, "forward", lambda self, x: next(iter(())))
    assert error_of(classifier.place, "cpu", "fp32", "folded") == (
        "the network failed on images of noise (StopIteration)"
    )


def test_a_network_that_ends_the_process_while_it_is_described_is_one_line(attnlab, tmp_path):
    text = NETWORKS.replace('RuntimeError("a shape that this network cannot take")', "SystemExit(3)")
    (tmp_path / "nets.py").write_text(text.replace("len(x) == 3 and self.calls > 12", "self.calls > 5"))
    assert attnlab("models", "nets.py:Later").error.startswith(
        "the network failed on images of noise (it calls sys.exit(3)"
    )


@pytest.mark.parametrize("code", [0, 1, 3])
def test_other_code_that_ends_the_process_is_one_line_whatever_its_exit_code(attnlab, monkeypatch, code):
    monkeypatch.setattr("attnlab.pipelines.analyze.open_analysis", lambda _: sys.exit(code))
    line = "the model's code called sys.exit, which ended the command before it was done"
    assert attnlab("analyze", "--limit", 1).error == line


def test_memory_and_errors_of_attnlab_are_passed_on_as_they_are():
    for error in (RuntimeError("CUDA out of memory"), ValueError("a slip of ours")):
        with pytest.raises(type(error), match=str(error)), naming("images", ["a"]):
            raise error


def test_a_message_lists_the_first_images_alone():
    line = r"^the network failed on images a, b, c, d, e and 2 more \(ValueError\)$"
    with pytest.raises(NetworkFailed, match=line), naming("images", list("abcdefg")):
        _failing()(torch.zeros(1))


def _failing():
    class Failing(torch.nn.Module):
        def forward(self, x):
            raise ValueError

    return Failing()


# ------------------------------------------------------------------ no gradient


@pytest.mark.parametrize("words", [(), ("--method", "lime")])
def test_an_analysis_of_a_network_without_gradient_is_refused_with_what_works(command, words):
    answer = command("analyze", "Without", *words)
    line = last(answer)
    assert line.startswith("the model's outputs have no gradient by its images")
    assert "which every attack of `attnlab analyze` climbs; all tables, LIME's too, are about images before" in line
    assert line.endswith("`attnlab evaluate --attacks clean,square` needs none")
    assert "Warning" not in answer.err  # said once
    assert not Path("out").exists()


def test_an_evaluation_of_a_network_without_gradient_runs_what_needs_none_and_says_so(command, attnlab):
    answer = command("evaluate", "Without", "--attacks", "clean,fgsm,pgd10,square", "--eps", "0.5")
    assert answer.code == 0, answer
    assert "have no gradient by its images" in answer.err
    assert "left out fgsm, pgd10, which climb it" in answer.err
    manifest = json.loads(Path("out/run.json").read_text())
    assert list(manifest["left_out"].values()) == [["fgsm", "pgd10"]]
    assert "left out fgsm, pgd10, which climb a gradient that its outputs do not have" in answer.out
    assert "climb a gradient that its outputs do not have" in attnlab("tables", "out").out
    assert set(pd.read_csv("out/tables/table6.csv")["attack"]) == {"clean", "square"}


def test_a_suite_that_two_classes_leave_incomplete_says_so(attnlab, tmp_path):
    (tmp_path / "two.py").write_text(NETWORKS.replace("Linear(8, 10)", "Linear(8, 2)"))
    (tmp_path / "data").mkdir()
    load_dataset("scenes").read(0).image.save(tmp_path / "data/a.png")
    (tmp_path / "data/boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,1,1,1,9,9\n")
    words = ("--data", "folder", "--root", "data", "--model", "two.py:Small", "--attacks", "clean,autoattack")
    answer = attnlab("evaluate", *words, "--device", "cpu", "--workers", 0, "--out", "out")
    line = "autoattack is without APGD-T, which needs 4 classes, and the model has 2"
    assert (answer.code, answer.out.count(line)) == (0, 1), answer
    assert (tmp_path / "out/checks.csv").read_text().count(line) == 1


def test_a_network_without_gradient_does_not_keep_others_from_attacks(attnlab, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    words = ["--attacks", "clean,fgsm", "--limit", 4, "--workers", 0, "--out", "two"]
    answer = attnlab("evaluate", "--model", "nets.py:Small", "--model", "nets.py:Without", *words)
    assert answer.code == 0, answer
    table = pd.read_csv("two/tables/table6.csv")
    filled = {tuple(row) for row in table[table["n"] > 0][["model", "attack"]].to_numpy()}
    assert filled == {("nets.py:Small", "clean"), ("nets.py:Small", "fgsm"), ("nets.py:Without", "clean")}


def test_an_evaluation_with_nothing_left_and_an_attack_are_refused(command):
    line = last(command("evaluate", "Without", "--attacks", "fgsm,pgd10"))
    assert line.endswith("which fgsm, pgd10 climb; --attacks clean,square needs none")
    assert "`attnlab evaluate --attacks clean,square` needs none" in last(command("attack", "Without"))


def test_training_a_network_without_gradient_is_refused(attnlab, tmp_path):
    (tmp_path / "nets.py").write_text(NETWORKS)
    words = ["--weights", "none", "--limit", 8, "--batch-size", 4, "--held-out", 4, "--out", "out"]
    line = last(attnlab("train", "--model", "nets.py:Without", *words))
    assert line.startswith("expected outputs with a gradient by the network's weights, got none")


# ------------------------------------------------------------------ checks


@pytest.mark.parametrize("name", ["analyze", "evaluate", "attack", "train"])
def test_probabilities_are_told_and_written_by_every_command_that_runs_a_model(command, attnlab, tmp_path, name):
    if name == "train":
        (tmp_path / "nets.py").write_text(NETWORKS)
        words = ["--weights", "none", "--limit", 8, "--batch-size", 4, "--held-out", 4, "--steps", 1, "--epochs", 1]
        answer = attnlab(name, "--model", "nets.py:Softmax", *words, "--out", "out")
    else:
        answer = command(name, "Softmax", *{"evaluate": ["--attacks", "clean,fgsm"]}.get(name, []))
    assert answer.code == 0, answer
    assert "Softmax: the outputs are probabilities (all are at least 0 and sum to 1.000)" in answer.err
    found = pd.read_csv("out/checks.csv")
    assert any(text.startswith("the outputs are probabilities") for text in found["found"])
    if name != "train":
        assert "check: " in answer.out


def test_a_sound_network_leaves_an_empty_list(command):
    assert command("analyze", "Small").err.count("Warning: nets.py:Small") == 0
    assert pd.read_csv("out/checks.csv").empty


def test_no_sign_of_masked_gradients_is_claimed_where_none_was_looked_for(command):
    answer = command("evaluate", "Small", "--attacks", "clean,fgsm", "--no-check")
    assert answer.code == 0
    assert "masked gradients" not in answer.out


def test_a_damaged_list_is_told_and_made_again(command, attnlab, tmp_path):
    words = ("evaluate", "Softmax", "--attacks", "clean,fgsm")
    command(*words)
    (tmp_path / "out" / "checks.csv").write_bytes(b"")
    assert "checks.csv is damaged: the command that made this run makes it again" in attnlab("tables", "out").out
    assert command(*words).code == 0
    assert len(pd.read_csv("out/checks.csv"))


def test_the_built_in_model_raises_nothing_on_scenes():
    from attnlab.pipelines.robustness_checks import first_look

    images = load_dataset("scenes")
    assert first_look({"resnet8": load_model("resnet8").place("cpu")}, images, range(20), "squash") == []
