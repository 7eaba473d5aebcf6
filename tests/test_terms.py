"""What `benchmarks.terms` prints of a checkpoint, against gradients of the loss put together by hand."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from attnlab.attacks.pgd import Attack, perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.data import load_data
from attnlab.data.geometry import Prepared
from attnlab.models import load_model
from attnlab.training.images import hold_out
from attnlab.training.losses import hide
from benchmarks.terms import main


def test_the_terms_gradients_are_those_of_their_equations(attnlab):
    assert attnlab("train", "--smoke", "--out", "out").code == 0
    shown = CliRunner().invoke(main, ["out", "--images", "4"], catch_exceptions=False).output
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| L")]
    cells = {name: values for name, *values in rows}
    assert list(cells) == ["L_c", "L_r, black", "L_r, grey", "L_p"]

    options = json.loads(Path("out/training.json").read_text())["options"]
    classifier = load_model("out").eval()
    _, held = hold_out(load_data("scenes", split="train"), options["held_out"], 0, None)
    prepared = Prepared(load_data("scenes", split="train"), classifier.input_size)
    images = torch.stack([prepared[index].pixels for index in held[:4]]).float() / 255
    labels = torch.tensor([prepared[index].label for index in held[:4]])
    attack = Attack(eps=options["eps"], steps=1, step_size=options["step_size"], random_start=True)
    attacked = perturb(classifier, images, labels, attack, seeds=torch.Generator().manual_seed(0))

    def distance(seen: torch.Tensor) -> torch.Tensor:
        masked = hide(seen, grad_cam(classifier, seen, labels), 0.5)
        return (classifier(seen).softmax(1) - classifier(masked).softmax(1)).pow(2).sum(1).sqrt().mean()

    by_hand = {
        "L_c": F.cross_entropy(classifier(attacked), labels),
        "L_r, grey": -distance(images) - distance(attacked),
    }
    lengths = {}
    for name, value in by_hand.items():
        parts = torch.autograd.grad(value, list(classifier.parameters()))
        lengths[name] = torch.cat([part.flatten() for part in parts]).norm().item()
        assert float(cells[name][0]) == pytest.approx(value.item(), abs=1e-3)
    assert float(cells["L_r, grey"][1]) == pytest.approx(lengths["L_r, grey"] / lengths["L_c"], rel=0.01, abs=1e-3)
    assert [float(cells["L_c"][place]) for place in (1, 3)] == [1, 1]
