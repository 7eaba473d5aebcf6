"""Runs of an analysis made by hand, with a known generator: what the claims of a study are true of is decided here."""

from pathlib import Path

import numpy as np

from attnlab.run_opening import open_run
from attnlab.schema import ATTENTION

SIZE, CELLS = 40, 16
ATTACK = {"objective": "least-likely", "steps": 1, "step_size": None, "random_start": False, "restarts": 1,
          "sigma": None, "label_smoothing": 0.0}  # fmt: skip

#: options of a run with LIME
OF_LIME = {"lime": {"samples": 50, "superpixels": "slic", "hide": "grey", "patience": 0}, "lime_floor": False,
           "lime_segments": "own"}  # fmt: skip


def manifest(count: int, methods=("grad-cam",), eps=(4 / 255,), **top: object) -> dict:
    """Of a run of these records."""
    options = {
        "data": "scenes",
        "split": "val",
        "model": "net",
        "attack_name": "stepll",
        "methods": list(methods),
        "target": dict.fromkeys(methods, "true"),
        "attack": ATTACK,
        "eps": list(eps),
        "resize": "squash",
        "images": count,
    }
    model = {"input_size": [SIZE, SIZE], "map_shape": [4, 4], "layer": "last"}
    data = {"name": "scenes", "has_boxes": True, "classes": [str(label) for label in range(30)]}
    return {"kind": "analyze", "options": options, "data": data, "model": model, "features": [8], **top}


def rows(count: int, *, effect: float = 0.0, methods: int = 1, seed: int = 0, held: float = 0.5) -> list[dict]:
    """Records of images of which a large object gives a high IoU, and by itself keeps the attack from succeeding.

    Args:
        count: How many.
        effect: What the IoU does beside that, in log-odds of success for a unit.
        methods: How many maps each has, of which the first is about the object; IoUs of the others are noise.
        seed: Of it all.
        held: Of the cells of the attacked map, the share that is the clean one's where the attack succeeds.
    """
    draw, made = np.random.default_rng(seed), []
    for number in range(count):
        side = int(draw.integers(10, 36))
        x, y = (int(draw.integers(0, SIZE - side + 1)) for _ in range(2))
        area = side * side / SIZE**2
        iou, margin = float(np.clip(0.3 + 0.5 * area + draw.normal(0, 0.12), 0, 1)), float(draw.normal(3, 1))
        odds = 1.2 - 4 * area - 0.4 * (margin - 3) + effect * (iou - 0.5)
        succeed, label = bool(draw.uniform() < 1 / (1 + np.exp(-odds))), int(draw.integers(30))
        moved = int(draw.integers(-2, 4))
        shared = [max(0, min(k, int(k * (held if succeed else 0.75)) + moved)) for k in range(1, CELLS + 1)]
        ious = [iou, *draw.uniform(0, 1, methods - 1).tolist()]
        maps = [{"values": draw.normal(size=CELLS).tolist(), "iou_att_gt": one} for one in ious]
        made.append({
            "image_id": f"image-{number:05d}",
            "label": label,
            "prediction": label,
            "confidence": float(1 / (1 + np.exp(-margin))),
            "margin": margin,
            "boxes": [[x, y, x + side, y + side]],
            "dropped_boxes": 0,
            "box_share": 1.0,
            "maps": maps,
            "adversarial": [{
                "prediction": (label + succeed) % 30,
                "confidence": 0.5,
                "maps": [{**one, "shared_cells": shared} for one in maps],
            }],
        })  # fmt: skip
    return made


def write(folder: Path, records: list[dict], described: dict | None = None) -> Path:
    run = open_run(folder, described or manifest(len(records)), ATTENTION)
    run.write_part(0, records)
    run.finish(1.0)
    return folder
