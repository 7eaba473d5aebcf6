"""A user's own file: the front door, and an entry of one's own in each registry, typed as `mypy --strict` has it.

`make lint` checks its types; tests/test_user_types.py runs it in an empty folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import attnlab
from attnlab.arrays import Labels, Logits, Maps, PerImage
from attnlab.attacks import ATTACKS, OBJECTIVES, Attack, Objective
from attnlab.attacks.objectives import least_likely
from attnlab.attention import METHODS, Method
from attnlab.attention.model_pass import ModelPass
from attnlab.data import DATASETS, Budget, DatasetSpec
from attnlab.data.base import WITHOUT, Entry, FileSet, ImageSet, list_images
from attnlab.measures import MEASURES, Measure
from attnlab.report.description import Manifest, subject
from attnlab.report.figures import FIGURES, FigureSpec
from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.run import draw_run
from attnlab.report.tables import GROUP, PLAIN, TABLES, Column, TableSpec
from attnlab.training import DEFENSES, LOSSES, Classification, Defense, Loss


class Network(nn.Module):
    """One convolution and a linear layer, for images of 32x32 pixels and two classes."""

    input_size = (32, 32)
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).relu().mean((2, 3)))  # torch types no module's call
        return logits


def elementwise_cam(seen: ModelPass) -> Maps:
    return (seen.gradient * seen.features).relu().sum(1)


def towards_by_logit(logits: Logits, classes: Labels, _smoothing: float = 0.0) -> PerImage:
    return logits.gather(1, classes[:, None])[:, 0]


def file_names(root: Path, split: str) -> FileSet:
    paths = list_images(root / split)
    labels = [path.stem.rpartition("_")[0] for path in paths]
    names = sorted(set(labels))
    entries = [Entry(path, names.index(label), WITHOUT) for path, label in zip(paths, labels, strict=True)]
    return FileSet("file-names", names, [path.name for path in paths], entries, has_boxes=False)


def highest(grids: Maps) -> PerImage:
    return grids.amax((1, 2))


def confidences(images: pd.DataFrame) -> pd.DataFrame:
    return images.groupby("group")["confidence"].mean().reset_index()


def confidence(images: pd.DataFrame, manifest: Manifest) -> Drawing:
    figure = Figure()
    figure.subplots().scatter(images["confidence"], images["adv_confidence"])
    return Drawing(figure, f"Confidence before and after the attack; {subject(manifest)}.")


def squeezing(
    logits: Mapping[str, Logits], labels: Labels, classify: Classification, weight: float
) -> dict[str, Tensor]:
    attacked = logits["adversarial"]
    return {"adversarial": classify(attacked, labels), "squeezing": weight * attacked.square().mean()}


METHODS["elementwise-cam"] = Method(elementwise_cam, source="Pillai 2021")
OBJECTIVES["least-likely-logit"] = Objective(towards_by_logit, least_likely)
ATTACKS["logit"] = Attack(objective="least-likely-logit", steps=10)
DATASETS["file-names"] = DatasetSpec(file_names, "images called as their class", "a folder", budget=Budget(0.1, 0.1, 1))
MEASURES["highest"] = Measure(highest, "map", "the highest cell", "a user", better="", low=None, high=None)
TABLES["confidences"] = TableSpec("Confidences", "analyze", confidences, PLAIN, (GROUP, Column("confidence")))
FIGURES["confidence"] = FigureSpec("analyze", "before and after", confidence)
LOSSES["squeezing"] = Loss(squeezing, reads=("adversarial",))
DEFENSES["squeezing"] = Defense("squeezing", weight=0.05)

for number, name in enumerate(("dog_1", "cat_7", "cat_12")):
    Path("pets/val").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 40, 3), 80 * number, np.uint8)).save(f"pets/val/{name}.png")

torch.manual_seed(0)
classifier = attnlab.Classifier(Network()).eval()
pets = assert_type(attnlab.load_dataset("file-names", "pets", "val"), ImageSet)
batch = attnlab.read_batch(pets, classifier.input_size)
images, labels = assert_type(batch.tensors(), tuple[Tensor, Tensor])
assert_type(classifier(images), Tensor)
assert_type(attnlab.load_model("resnet8"), attnlab.Classifier)

attacked = assert_type(attnlab.attack(classifier, images, labels, "logit5", eps="8/255"), Tensor)
found = assert_type(attnlab.explain(classifier, attacked, labels, "elementwise-cam"), attnlab.Explanation)
assert_type(attnlab.grad_cam(classifier, images, labels), Tensor)
assert_type(attnlab.topk_overlap(found.maps, found.maps, 3), Tensor)
assert_type(attnlab.map_box_iou(found.maps, [[[0.0, 0.0, 9.0, 9.0]]] * 3, (32, 32)), Tensor)
assert_type(found.plot(names=("cat", "dog")), Figure)

config = attnlab.AnalyzeConfig.of(
    data="file-names", root=Path("pets"), method=("grad-cam", "elementwise-cam"), measures=("highest",),
    attack="logit", workers=0, out=Path("run"),
)  # fmt: skip
run = assert_type(attnlab.analyze(config, classifier), attnlab.Run)
records = assert_type(attnlab.read_records("run", "elementwise-cam"), pd.DataFrame)
tables = assert_type(attnlab.make_tables(run).frames, dict[str, pd.DataFrame])
assert_type(attnlab.write_report(Path("run")), Path)
drawn = draw_run(Path("run"), only=["confidence"])
