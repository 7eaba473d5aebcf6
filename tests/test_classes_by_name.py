"""A network whose classes stand in another order than the data's: every command sees them in the data's."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from common import analyze_images, error_of
from safetensors.torch import save_file
from twins import IMAGES, run_evaluation

from attnlab.attacks import ATTACKS
from attnlab.attention.gradcam import grad_cam
from attnlab.config import FiguresConfig
from attnlab.data import load_dataset
from attnlab.data.digit_scenes import Scenes
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.pipelines.checks import fitted
from attnlab.pipelines.model_comparison import open_comparison
from attnlab.pipelines.replay import replay
from attnlab.records import read_evaluation, rows_of

#: a file with ResNet8 whose logits stand in another order, with their labels or without, and with three logits more
NET = """
import torch
from attnlab.models import load_model

ORDER = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]

def unnamed():
    network = load_model("resnet8").network
    head = network.classifier
    head.weight.data, head.bias.data = head.weight.data[ORDER], head.bias.data[ORDER]
    return network

def build():
    network = unnamed()
    network.labels = [str(label) for label in ORDER]
    return network

def more():
    network = build()
    head = network.classifier
    network.classifier = torch.nn.Linear(head.in_features, 13)
    network.classifier.weight.data = torch.cat([torch.zeros(3, head.in_features), head.weight.data])
    network.classifier.bias.data = torch.cat([torch.tensor([0.0, 50.0, 0.0]), head.bias.data])
    network.labels = ["zebra", "ant", "bee", *network.labels]
    return network

def other():
    network = build()
    network.labels = ["three", *network.labels[1:]]
    return network
"""


@dataclass(frozen=True)
class Closed(Scenes):
    closed: bool = True


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.py"
    path.write_text(NET)
    return path


def opened(file: Path, function: str = "build") -> Classifier:
    return load_model(f"{file}:{function}", "none").place("cpu")


def rows(run) -> list[dict]:
    return list(rows_of(run))


@pytest.mark.parametrize("closed_form", [True, False], ids=["closed form", "autograd"])
def test_logits_and_maps_are_those_of_the_network_in_the_datas_order(file, resnet8, scenes_batch, closed_form):
    images, labels = scenes_batch
    named = opened(file)
    named.head, expected = (named.head if closed_form else None), grad_cam(resnet8, images, labels)
    with pytest.warns(UserWarning, match="^8 of 10 classes stand at another place: matched by name$"):
        classifier = fitted(named, IMAGES)
    torch.testing.assert_close(classifier(images), resnet8(images))
    torch.testing.assert_close(classifier.infer(classifier.normalise(images)), resnet8(images))
    torch.testing.assert_close(grad_cam(classifier, images, labels), expected)
    assert classifier.labels == tuple("0123456789")
    with torch.no_grad():
        classifier.network.classifier.bias += 1  # the closed form is proven again
    torch.testing.assert_close(grad_cam(classifier, images, labels), expected)
    assert (classifier.head == "classifier") == closed_form
    assert (named.class_order, named.labels[:3]) == ((), ("3", "1", "4"))  # given back as it was


def test_a_checkpoint_keeps_the_names_that_its_network_had_from_a_librarys_weights(file, resnet8, tmp_path):
    named = opened(file)
    mine = tmp_path / "mine"
    save_checkpoint(named, mine, "resnet8")  # which, built again, names no classes
    images = torch.rand(3, 1, 64, 64)
    for name, weights in ((str(mine), "default"), ("resnet8", str(mine))):
        classifier = load_model(name, weights)
        assert classifier.labels == named.labels
        assert torch.equal(fitted(classifier, IMAGES)(images).argmax(1), resnet8(images).argmax(1))
    torch.testing.assert_close(fitted(load_model(str(mine)), IMAGES)(images), resnet8(images), atol=1e-5, rtol=1e-5)
    few = load_model("resnet8", "none", classes=3)
    save_file(few.network.state_dict(), tmp_path / "few.safetensors")
    assert load_model(str(mine), tmp_path / "few.safetensors").labels == ()  # another file's classes are others


def test_an_analysis_is_that_of_the_network_in_order_and_is_seen_again(file, resnet8, tmp_path):
    options = {"split": "test", "method": "grad-cam,lime", "lime_samples": 20, "eps": "4/255"}
    plain = analyze_images(resnet8, IMAGES, tmp_path / "plain", positions=range(6), **options)
    named = {"model": f"{file}:build", "weights": "none", "memory_format": "channels-last"}
    with pytest.warns(UserWarning, match="matched by name"):
        run = analyze_images(opened(file), IMAGES, tmp_path / "named", positions=range(6), **options, **named)
    for mine, theirs in zip(rows(run), rows(plain), strict=True):
        assert (mine["prediction"], mine["label"]) == (theirs["prediction"], theirs["label"])
        np.testing.assert_allclose(mine["map"], theirs["map"], atol=1e-4)
        np.testing.assert_allclose(mine["confidence"], theirs["confidence"], atol=1e-5)
        if theirs["lime"]:
            np.testing.assert_allclose(mine["lime"]["weights"], theirs["lime"]["weights"], atol=1e-4)
    model = json.loads((tmp_path / "named/run.json").read_text())["model"]
    assert model["class_order"] == [3, 1, 6, 0, 2, 4, 7, 9, 8, 5]
    assert model["labels"] == list("0123456789")
    views = list(replay(tmp_path / "named", trust_code=True))
    assert [view.record["label"] for view in views] == [IMAGES.label_of(index) for index in range(6)]


def test_an_evaluation_matches_each_model_and_the_one_that_images_are_made_on(file, resnet8, tmp_path):
    attacks = {"clean": None, "fgsm": replace(ATTACKS["fgsm"], eps=4 / 255)}
    models = {"plain": resnet8, "named": opened(file)}
    with pytest.warns(UserWarning, match="^named: 8 of 10 classes"):
        run = run_evaluation(models, tmp_path / "r", {"attacks": attacks}, positions=range(8))
    frame = read_evaluation(run.folder).drop(columns="model")
    half = len(frame) // 2
    assert frame["prediction"][:half].tolist() == frame["prediction"][half:].tolist()
    np.testing.assert_allclose(frame["margin"][:half], frame["margin"][half:], atol=1e-3)
    with pytest.warns(UserWarning, match="^--transfer: 8 of 10 classes"):
        moved = run_evaluation(
            {"plain": resnet8}, tmp_path / "t", {"attacks": attacks}, positions=range(8), source=opened(file)
        )
    np.testing.assert_allclose(read_evaluation(moved.folder)["margin"], frame["margin"][:half], atol=1e-3)


def test_a_network_of_more_classes_may_predict_them_unless_the_data_are_closed(file, resnet8, scenes_batch):
    images, _labels = scenes_batch
    with pytest.warns(UserWarning, match="the data have 10 of the model's 13 classes"):
        wide = fitted(opened(file, "more"), IMAGES)
    assert (wide.classes, wide.labels[10:]) == (13, ("ant", "bee", "zebra"))
    assert wide(images).argmax(1).tolist() == [10] * 16  # the ant's bias is 50
    torch.testing.assert_close(wide(images)[:, :10], resnet8(images))
    with pytest.warns(UserWarning, match="logits of others are left out"):
        narrow = fitted(opened(file, "more"), Closed("test"))
    torch.testing.assert_close(narrow(images), resnet8(images))


def test_a_network_without_labels_has_the_classes_of_the_longer_list_in_its_order(file, resnet8, scenes_batch):
    images, _labels = scenes_batch
    wide = opened(file, "more")
    wide.labels = ()
    known = Closed("test")
    object.__setattr__(known, "out_of", ["a", "b", "c", *map(str, [3, 1, 4, 0, 5, 9, 2, 6, 8, 7])])
    with pytest.warns(UserWarning, match="logits of others are left out"):
        torch.testing.assert_close(fitted(wide, known)(images), resnet8(images))


def test_names_that_fit_in_part_or_a_number_of_classes_without_names_are_refused_in_one_line(file):
    assert error_of(fitted, opened(file, "other"), IMAGES).startswith(
        "expected a model that knows the 10 classes of scenes, got one of 10: '3', its class 3, is none of the model's "
        "labels, though '0', its class 0, is label 3"
    )
    wide = opened(file, "more")
    wide.labels = ()
    assert error_of(fitted, wide, IMAGES, "--transfer") == (
        "expected a model of 10 classes for scenes, got --transfer, one of 13; name another with --transfer"
    )


def test_a_checkpoint_keeps_the_networks_own_order_and_is_matched_again(attnlab, file):
    words = ["--model", f"{file}:build", "--weights", "none", "--device", "cpu"]
    done = attnlab(
        "train", *words, "--epochs", 1, "--limit", 40, "--batch-size", 20, "--held-out", 20, "--defense", "none",
        "--learning-rate", "1e-6", "--out", "out",
    )  # fmt: skip
    assert (done.code, done.err.count("matched by name")) == (0, 1), done.err
    trained = load_model("out", trust_code=True).place("cpu")
    assert (trained.class_order, trained.labels[:2]) == ((), ("3", "1"))
    with pytest.warns(UserWarning, match="matched by name"):
        classifier = fitted(trained, IMAGES)
    batch = [IMAGES.read(index) for index in range(20)]
    pixels = torch.stack([torch.from_numpy(np.array(example.image)).permute(2, 0, 1) for example in batch]) / 255
    right = classifier(pixels).argmax(1) == torch.tensor([example.label for example in batch])
    assert right.sum() >= 15  # as before: a rate of 1e-6 moves nothing; the other order would leave one or two
    done = attnlab("evaluate", "--model", "out", "--trust-code", "--attacks", "clean", "--limit", 20, "--out", "e")
    assert done.code == 0
    frame = read_evaluation(Path("e"))
    assert (frame["prediction"] == frame["label"]).tolist() == right.tolist()


def test_figures_of_checkpoints_and_pages_name_the_classes_that_the_data_lack(attnlab, file):
    words = ("--model", f"{file}:more", "--weights", "none", "--limit", 3, "--workers", 0)
    assert attnlab("analyze", *words, "--out", "out").code == 0
    assert attnlab("report", "out", "--trust-code").code == 0
    assert '"ant", "bee", "zebra"' in Path("out/report.html").read_text()
    with pytest.warns(UserWarning, match="matched by name"):
        models = open_comparison([f"{file}:more"], FiguresConfig.of(limit=3, device="cpu"))
    assert models.classes == [*load_dataset("scenes").classes, "ant", "bee", "zebra"]
    assert models.ask([models.first], models.attack).clean.tolist() == [[False] * 3]
