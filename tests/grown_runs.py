"""Runs of any number of images, made of the records of a small one."""

from pathlib import Path

import numpy as np

from attnlab.runs import Run
from attnlab.schema import ATTENTION

PART = 100


def grown(source: Path, out: Path, count: int, size: int = PART) -> Path:
    """A run of so many images, in parts of a size: another's records again and again, each with an IoU of its own."""
    before, run = Run(source), Run(out, ATTENTION)
    manifest, rows = before.manifest, before.table().to_pylist()
    manifest["options"]["images"] = count
    run.write_manifest(manifest)
    draw = np.random.default_rng(0)
    for number in range(count // size):
        names = [f"image-{place:06d}" for place in range(number * size, (number + 1) * size)]
        near = [float(value) for value in draw.uniform(0, 1, size)]
        part = []
        for place, (name, iou) in enumerate(zip(names, near, strict=True)):
            row = rows[place % len(rows)]
            part.append({**row, "image_id": name, "maps": [{**row["maps"][0], "iou_att_gt": iou}]})
        run.write_part(number, part)
    return out
