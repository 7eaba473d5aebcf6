"""A small analysis of two eps whose images have boxes, a mask, or neither; some are misclassified."""

from pathlib import Path

import numpy as np
from PIL import Image

from attnlab.config import AnalyzeConfig
from attnlab.data.digit_scenes import scenes
from attnlab.pipelines.analyze import analyze
from attnlab.runs import Run

NAMES = "crane, a bird\ncrane, a machine\n=2+3\nthree\nfour\nfive\nsix\nseven\neight\nnine\n"
BUDGETS = (4 / 255, 16 / 255)


def lay(root: Path) -> Path:
    """Seven scenes with boxes.csv: the first has two boxes, the next two a mask, the last no box."""
    root.mkdir(parents=True)
    images, rows = scenes(None, "val"), []
    for index, name in enumerate(["a", "=b", "below/c", "d", "e", "f", "g"]):
        example = images.read(index)
        (root / name).parent.mkdir(exist_ok=True)
        example.image.save(root / f"{name}.png")
        x0, y0, x1, y1 = (round(edge) for edge in example.boxes[0].tolist())
        mask = np.zeros((64, 64), np.uint8)
        mask[y0:y1, x0 : (x0 + x1) // 2] = mask[5, 60:] = 255
        if index in (1, 2):
            Image.fromarray(mask).save(root / f"mask{index}.tif")
        label = (example.label + (index == 4)) % 10
        box = ",,," if name == "g" else f"{x0}.25,{y0},{x1},{y1}"
        rows += [f"{name}.png,{label},{box},{f'mask{index}.tif' if index in (1, 2) else ''}"]
        rows += [f"{name}.png,{label},1,2,9.5,7,"] if index == 0 else []
    (root / "boxes.csv").write_text("\n".join(["image,label,x0,y0,x1,y1,mask", *rows]) + "\n")
    (root / "classes.txt").write_text(NAMES)
    return root


def analyzed(root: Path, out: Path) -> Run:
    """The analysis of that folder."""
    how = {"data": "folder", "root": root, "model": "resnet8", "device": "cpu", "workers": 0, "out": out}
    return analyze(AnalyzeConfig.of(eps=BUDGETS, **how))
