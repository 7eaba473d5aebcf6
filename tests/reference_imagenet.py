"""Tables 1-3 of ImageNet's validation images without any of attnlab's code: torch's autograd, one image at a time.

By hand: `python tests/reference_imagenet.py ROOT --model FILE.py --eps 16/255`. ROOT holds the images,
LOC_val_solution.csv and LOC_synset_mapping.txt; FILE.py a function `build` whose network has `input_size`, `mean`,
`std` and `attention_layer`. Images are squashed; the attack is StepLL in one step; maps explain the label.
"""

import argparse
import csv
import importlib.util
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

CELLS = (5, 10, 20, 30)


def annotations(root: Path) -> dict[str, tuple[int, list[list[int]]]]:
    """Label and boxes of each image; a box is its first and last column and row, counted from 0."""
    lines = (root / "LOC_synset_mapping.txt").read_text().splitlines()
    labels = {line.split()[0]: label for label, line in enumerate(lines)}
    of_image = {}
    with (root / "LOC_val_solution.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            words = row["PredictionString"].split()
            boxes = [[int(word) for word in words[place + 1 : place + 5]] for place in range(0, len(words), 5)]
            of_image[row["ImageId"]] = labels[words[0]], boxes
    return of_image


def ground_truth(boxes: Sequence[Sequence[int]], width: int, height: int, size: tuple[int, int]) -> set[int]:
    """Pixels of the squashed image that lie in a box, as indices row by row."""
    rows, columns = size
    inside = set()
    for left, top, right, bottom in boxes:
        # the first and last pixel belong to the box, so that its right edge is right + 1
        first_row, behind_row = round(Fraction(top * rows, height)), round(Fraction((bottom + 1) * rows, height))
        first, behind = round(Fraction(left * columns, width)), round(Fraction((right + 1) * columns, width))
        for row in range(max(first_row, 0), min(behind_row, rows)):
            inside.update(range(row * columns + max(first, 0), row * columns + min(behind, columns)))
    return inside


def highest(values: Tensor, count: int) -> set[int]:
    """Indices of the highest values; the earlier one of equal values."""
    numbers = values.flatten().tolist()
    return set(sorted(range(len(numbers)), key=lambda index: (-numbers[index], index))[:count])


def overlap(first: set[int], second: set[int]) -> float:
    """Intersection over union."""
    return len(first & second) / len(first | second)


class Reference:
    """A network, the activations of one of its layers, and Grad-CAM by autograd."""

    def __init__(self, model: Path) -> None:
        spec = importlib.util.spec_from_file_location("reference_model", model)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.network: nn.Module = module.build().eval()
        self.size: tuple[int, int] = self.network.input_size
        self.mean, self.std = (torch.tensor(value).reshape(3, 1, 1) for value in (self.network.mean, self.network.std))
        layer = self.network.get_submodule(self.network.attention_layer)
        layer.register_forward_hook(lambda _module, _inputs, output: setattr(self, "activations", output))

    def logits(self, pixels: Tensor) -> Tensor:
        """Of one image, (3, H, W) in [0, 1]: (K,)."""
        return self.network(((pixels - self.mean) / self.std)[None])[0]

    def grad_cam(self, logit: Tensor) -> Tensor:
        """Signed map of the logit of the last image: gradients averaged over the cells weigh the channels, (h, w)."""
        (gradient,) = torch.autograd.grad(logit, self.activations, retain_graph=True)
        weights = gradient[0].mean((1, 2))
        return sum(weight * channel for weight, channel in zip(weights, self.activations[0], strict=True)).detach()

    def row(self, path: Path, label: int, boxes: Sequence[Sequence[int]], eps: Sequence[float]) -> dict[str, Any]:
        """One image: predictions, confidence in the label, IoU with ground truth, IoU of the highest cells per eps."""
        with Image.open(path) as image:
            width, height = image.size
            squashed = image.convert("RGB").resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = torch.tensor(list(squashed.tobytes())).reshape(*self.size, 3).permute(2, 0, 1) / 255
        pixels.requires_grad_()
        logits = self.logits(pixels)
        clean_map = self.grad_cam(logits[label])
        (gradient,) = torch.autograd.grad(cross_entropy(logits[None], logits.argmin()[None]), pixels)
        large = interpolate(clean_map[None, None], size=self.size, mode="bilinear", align_corners=False)
        inside = ground_truth(boxes, width, height, self.size)
        row = {
            "image_id": path.stem,
            "label": label,
            "prediction": int(logits.argmax()),
            "confidence": logits.softmax(0)[label].item(),
            "iou_att_gt": overlap(highest(large, len(inside)), inside),
            "attacked": [],
        }
        for budget in eps:
            moved = (pixels - budget * gradient.sign()).clamp(0, 1).detach()
            logits = self.logits(moved)
            map_of_moved = self.grad_cam(logits[label])
            cells = [k for k in CELLS if k < clean_map.numel()]
            shared = {k: overlap(highest(clean_map, k), highest(map_of_moved, k)) for k in cells}
            row["attacked"].append({"prediction": int(logits.argmax()), "shared": shared})
        return row


def rows(root: Path, model: Path, eps: Sequence[float], limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The images in the order of their names, those that the network misclassifies included."""
    reference, known = Reference(model), annotations(root)
    for path in sorted(root.glob("images/*.JPEG"))[:limit]:
        yield reference.row(path, *known[path.stem], eps)


def tables(found: Sequence[dict[str, Any]], number: int) -> dict[str, dict[str, Any]]:
    """Tables 1-3 at the eps of that number: of each group n, percent, IoU, images with IoU < .5, their confidence."""
    correct = [row for row in found if row["prediction"] == row["label"]]
    groups = {}
    for name in ("succeed", "fail"):
        group = [
            row for row in correct if (row["attacked"][number]["prediction"] != row["label"]) == (name == "succeed")
        ]
        low = [row for row in group if row["iou_att_gt"] < 0.5]
        groups[name] = {
            "n": len(group),
            "percent": 100 * len(group) / len(correct),
            "iou_att_gt": fmean(row["iou_att_gt"] for row in group),
            "low": len(low),
            "low_confidence": fmean(row["confidence"] for row in low) if low else None,
            "shared": {k: fmean(row["attacked"][number]["shared"][k] for row in group) for k in CELLS},
        }
    return groups


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--eps", default="4/255,16/255")
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    budgets = asked.eps.split(",")
    measured = list(rows(asked.root, asked.model, [float(Fraction(word)) for word in budgets], asked.limit))
    print(f"{len(measured)} images, {torch.get_num_threads()} threads")
    for number, word in enumerate(budgets):
        for name, group in tables(measured, number).items():
            cells = " ".join(f"{value:.4f}" for value in group["shared"].values())
            confidence = "" if group["low_confidence"] is None else f"{group['low_confidence']:.4f}"
            print(word, name, group["n"], f"{group['percent']:.1f} {group['iou_att_gt']:.4f}", end=" ")
            print(group["low"], confidence, cells)
