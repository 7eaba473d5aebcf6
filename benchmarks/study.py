"""How long a study of two models takes, and how much memory.

python -m benchmarks.study [--images 500,50000] [--methods 1]

Records are made by a generator: maps of 7 x 7 cells, an object for each image, of which a large one raises the IoU and
keeps the attack from succeeding. Seconds are of a process of its own, which reads the records and writes every file.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from attnlab.config.sections import whole_numbers
from attnlab.run_opening import open_run
from attnlab.schema import ATTENTION

SIDE, CELLS, CLASSES, PART = 224, 49, 1_000, 1_000
ATTACK = {"objective": "least-likely", "steps": 1, "step_size": None, "random_start": False, "restarts": 1,
          "sigma": None, "label_smoothing": 0.0}  # fmt: skip


def manifest(count: int, methods: list[str], defense: str) -> dict[str, object]:
    """Of a run of such records."""
    options = {
        "data": "imagenet",
        "split": "val",
        "model": defense,
        "attack_name": "stepll",
        "methods": methods,
        "target": dict.fromkeys(methods, "true"),
        "attack": ATTACK,
        "eps": [4 / 255],
        "resize": "squash",
        "images": count,
    }
    model = {"input_size": [SIDE, SIDE], "map_shape": [7, 7], "layer": "last"}
    data = {"name": "imagenet", "has_boxes": True, "classes": []}
    return {"kind": "analyze", "options": options, "data": data, "model": model, "features": [8], "defense": defense}


def rows(start: int, count: int, methods: int, draw: np.random.Generator) -> list[dict[str, object]]:
    """Records of some images."""
    made: list[dict[str, object]] = []
    values = draw.normal(size=CELLS).tolist()
    for number in range(start, start + count):
        side = int(draw.integers(40, 200))
        x, y = draw.integers(0, SIDE - side + 1, 2).tolist()
        area, margin = side * side / SIDE**2, float(draw.normal(3, 1.5))
        succeed = bool(draw.uniform() < 1 / (1 + np.exp(4 * area + 0.5 * margin - 3)))
        ious = np.clip(0.3 + 0.5 * area + draw.normal(0, 0.15, methods), 0, 1).tolist()
        shared = [int(k * (0.45 if succeed else 0.6) + draw.uniform(0, 0.2) * k) for k in range(1, CELLS + 1)]
        maps = [{"values": values, "iou_att_gt": iou} for iou in ious]
        attacked = [{**one, "shared_cells": shared} for one in maps]
        label = int(number * 7919 % CLASSES)
        made.append({
            "image_id": f"ILSVRC2012_val_{number:08d}", "label": label, "prediction": label, "margin": margin,
            "confidence": 1 / (1 + float(np.exp(-margin))), "boxes": [[x, y, x + side, y + side]],
            "dropped_boxes": 0, "box_share": 1.0, "maps": maps,
            "adversarial": [{"prediction": label + succeed, "confidence": 0.5, "maps": attacked}],
        })  # fmt: skip
    return made


def write(folder: Path, count: int, methods: list[str], defense: str, seed: int) -> Path:
    """A finished run of so many images."""
    run, draw = open_run(folder, manifest(count, methods, defense), ATTENTION), np.random.default_rng(seed)
    for number, start in enumerate(range(0, count, PART)):
        run.write_part(number, rows(start, min(PART, count - start), len(methods), draw))
    run.finish(1.0)
    return folder


@click.command()
@click.option("--images", default="500,50000", show_default=True, callback=lambda *given: whole_numbers(given[2]))
@click.option("--methods", default=1, show_default=True)
def main(images: tuple[int, ...], methods: int) -> None:
    """Time studies of two models."""
    names = [f"captum:Method{number}" if number else "grad-cam" for number in range(methods)]
    print("| images | methods | seconds | CPU s | GiB |\n|---|---|---|---|---|")
    for count in images:
        with tempfile.TemporaryDirectory() as place:
            folders = [
                write(Path(place) / name, count, names, name, seed) for seed, name in enumerate(("none", "madry"))
            ]
            command = [sys.executable, "-m", "attnlab_cli", "study", *map(str, folders), "--out", f"{place}/out"]
            start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
            memory = used.ru_maxrss / 2**20  # of the largest so far
            print(f"| {count:,} | {methods} | {time.monotonic() - start:.0f} | {cpu:.0f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
