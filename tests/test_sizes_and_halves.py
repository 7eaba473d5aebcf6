"""Networks whose images are not square, and networks whose weights are of half precision, from end to end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from common import analyze_images
from trainings import own_images
from twins import IMAGES, run_evaluation

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.data.placing import crop
from attnlab.models import Classifier, load_model
from attnlab.pipelines.replay import replay
from attnlab.records import read_evaluation, rows_of

NET = """
from torch import nn

def build():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    network.input_size = (24, 40)
    return network
"""
HALVES = {torch.float16: 2e-2, torch.bfloat16: 6e-2}  # how far a probability may be from that of float32


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_a_network_whose_images_are_not_square_goes_through_every_command(attnlab, tmp_path, resize):
    own_images(tmp_path / "data/train", 30)
    (tmp_path / "net.py").write_text(NET)
    model = ("--model", f"{tmp_path}/net.py:build", "--device", "cpu")
    words = ("--resize", resize, "--limit", 4, "--workers", 0, *model, "--weights", "none")
    lime = ("--method", "grad-cam,lime", "--lime-samples", 30, "--eps", "8/255")
    done = attnlab("analyze", *words, *lime, "--out", "a")
    assert done.code == 0, done.err
    for view in replay("a", trust_code=True):
        assert view.clean.shape == view.adversarial[0].shape == (24, 40, 3)
        assert len(view.record["map"]) == 12 * 20
    for command in (["report", "a"], ["figures", "a", "--overlays"], ["tables", "a"]):
        done = attnlab(*command, *(["--trust-code"] if command[0] != "tables" else []))
        assert done.code == 0, done.err
    done = attnlab("evaluate", *words, "--attacks", "clean,pgd2,square", "--eps", "8/255", "--out", "e")
    assert done.code == 0, done.err
    if resize == "squash":  # as training does
        root = ("--data", "folder", "--root", tmp_path / "data")
        plan = ("--epochs", 1, "--held-out", 10, "--batch-size", 10, "--steps", 1, "--defense", "aad")
        done = attnlab("train", *root, *model, "--weights", "none", *plan, "--out", "t")
        assert done.code == 0, done.err
        assert load_model("t", trust_code=True).input_size == (24, 40)
        done = attnlab("figures", "t", "--trust-code", "--only", "figure2", "--images", "test-00000", "--out", "f")
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("image", "size", "frame"),
    [
        ((480, 640), (224, 224), (256, 341)),
        ((640, 480), (224, 224), (341, 256)),
        ((100, 100), (56, 112), (128, 128)),  # the width decides: 112 x 8/7
        ((100, 300), (56, 112), (64, 192)),  # the height: 56 x 8/7
        ((300, 100), (112, 56), (192, 64)),
    ],
)
def test_a_crop_is_cut_out_of_a_frame_that_covers_it(image, size, frame):
    assert crop(image, size) == frame
    assert all(whole >= part for whole, part in zip(frame, size, strict=True))


# ------------------------------------------------------------------ halves


@pytest.fixture(params=HALVES, ids=str)
def halved(request) -> Classifier:
    """ResNet8 with weights of half precision, as a user's own code may hand it over."""
    return Classifier(load_model("resnet8").network.to(request.param)).eval()


def test_logits_maps_and_gradients_of_half_weights_are_those_of_float32_to_rounding(halved, resnet8, scenes_batch):
    images, labels = (values[:4] for values in scenes_batch)
    close = HALVES[next(halved.parameters()).dtype]
    logits, expected = halved(images), resnet8(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.softmax(1), expected.softmax(1), atol=close, rtol=0)
    maps, others = grad_cam(halved, images, labels), grad_cam(resnet8, images, labels)
    assert (maps.dtype, halved.head, halved.head_weight().dtype) == (torch.float32, "classifier", torch.float32)
    torch.testing.assert_close(maps, others, atol=close * float(others.abs().max()), rtol=0)
    halved.head = None  # by autograd likewise
    torch.testing.assert_close(grad_cam(halved, images, labels), others, atol=close * float(others.abs().max()), rtol=0)
    watched = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(halved(watched).logsumexp(1).sum(), watched)
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all()
    attacked = perturb(halved, images, labels, Attack(eps=8 / 255, steps=3, step_size=4 / 255))
    assert attacked.dtype == torch.float32
    assert (attacked - images).abs().max() <= 8 / 255 + 1e-6
    own, theirs = (model(attacked).softmax(1).gather(1, labels[:, None]) for model in (halved, resnet8))
    torch.testing.assert_close(own, theirs, atol=2 * close, rtol=0)


def test_an_analysis_and_an_evaluation_of_half_weights_are_finite_and_near_those_of_float32(halved, resnet8, tmp_path):
    close = HALVES[next(halved.parameters()).dtype]
    options = {"split": "test", "eps": "8/255"}
    runs = [
        list(rows_of(analyze_images(model, IMAGES, tmp_path / name, positions=range(3), **options)))
        for name, model in {"half": halved, "float32": resnet8}.items()
    ]
    for mine, theirs in zip(*runs, strict=True):
        assert mine["confidence"] == pytest.approx(theirs["confidence"], abs=close)
        for row in (mine, *mine["adversarial"]):
            assert np.isfinite(row["map"]).all()
            assert np.isfinite(row["confidence"])
    models = {"half": halved, "float32": resnet8}
    attacks = {"attacks": {"clean": None, "fgsm": Attack(eps=4 / 255)}}
    frame = read_evaluation(run_evaluation(models, tmp_path / "e", attacks, positions=range(6)).folder)
    assert np.isfinite(frame["margin"]).all()
    right = frame.assign(right=frame["prediction"] == frame["label"]).groupby(["model", "attack"])["right"].sum()
    for attack in ("clean", "fgsm"):
        assert abs(right["half", attack] - right["float32", attack]) <= 1


def test_half_weights_given_to_the_command_are_cast_to_its_precision(attnlab, tmp_path):
    (tmp_path / "net.py").write_text(f"{NET}\ndef half():\n    return build().half()\n")
    for name, precision in (("half", "fp32"), ("half", "bf16")):
        words = ("--model", f"{tmp_path}/net.py:{name}", "--weights", "none", "--precision", precision)
        done = attnlab("analyze", *words, "--limit", 3, "--workers", 0, "--out", Path(precision))
        assert done.code == 0, done.err
