"""Evaluations of two models on sixteen scenes: ResNet8, and the same with noise on its weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from attnlab.attacks import ATTACKS
from attnlab.config import EvaluateConfig
from attnlab.data import load_dataset
from attnlab.data.base import ImageSet
from attnlab.models import Classifier, load_model
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.pending_parts import Progress, quietly
from attnlab.runs import Run

IMAGES = load_dataset("scenes", split="test")
COUNT = 16
EPS = 6 / 255
ATTACKS_USED = {
    "clean": None,
    "fgsm": replace(ATTACKS["fgsm"], eps=EPS),
    "pgd2": replace(ATTACKS["pgd"], eps=EPS, steps=2, step_size=2 / 255),
    "pgd4": replace(ATTACKS["pgd"], eps=EPS, steps=4, step_size=2 / 255),
    "cw2": replace(ATTACKS["cw"], eps=EPS, steps=2, step_size=2 / 255),
    "iter-stepll2+a3": replace(ATTACKS["iter-stepll"], eps=EPS, steps=2, step_size=2 / 255, sigma=10.0),
}
EVALUATION = {"attacks": ATTACKS_USED, "seed": 3}


def load_twins() -> dict[str, Classifier]:
    second = load_model("resnet8")
    with torch.no_grad():
        for number, parameter in enumerate(second.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter += 0.05 * parameter.std(correction=0) * noise
    return {"first": load_model("resnet8").place("cpu"), "second": second.place("cpu")}


def run_evaluation(
    models: dict[str, Classifier],
    out: Path,
    evaluation: dict[str, Any] = EVALUATION,
    *,
    images: ImageSet = IMAGES,
    source: Classifier | None = None,
    positions: Sequence[int] = range(COUNT),
    progress: Progress = quietly,
    **options: Any,
) -> Run:
    """An evaluation from Python, in this process; options of `EvaluateConfig`."""
    how = {"split": "test", "out": out, "batch_size": 8, "workers": 0, "check": False} | evaluation | options
    return evaluate(EvaluateConfig.of(**how), models, images, source=source, positions=positions, progress=progress)


def assert_same_records(first: pd.DataFrame, second: pd.DataFrame, digits: float = 1e-4) -> None:
    exact = ["model", "image_id", "label", "clean_prediction", "attack", "prediction", "steps_to_success"]
    pd.testing.assert_frame_equal(first[exact], second[exact])
    pd.testing.assert_frame_equal(first[["margin", "loss"]], second[["margin", "loss"]], rtol=digits, atol=digits)


class Turning(torch.nn.Module):
    """A network around ResNet8's that turns its logits around, or breaks them."""

    def __init__(self, turn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.turn, self.input_size = load_model("resnet8").network, turn, (64, 64)

    def forward(self, x):
        return self.turn(x, self.network((x - 0.5) / 0.25))


def logits_of(classifier, images):
    with torch.no_grad():
        return classifier(images)
