"""Overlays of all images of an analysis, written by worker processes."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnlab.errors import UserError
from attnlab.files import file_of, remove_leftovers, write_whole
from attnlab.manifests import map_methods
from attnlab.report.description import Manifest
from attnlab.report.figures.analysis import boxes_of, eps_parts, mask_of, method_parts, seen_by, shown_map
from attnlab.report.figures.overlay import Array, overlay
from attnlab.runs import Run
from attnlab.views import Map, ReplayedImage
from attnlab.worker_pool import call_in_workers

LEAST = 224  # pixels that the shorter side of an overlay has at least


def write_overlays(
    folder: Path, images: Iterable[ReplayedImage], out: Path | None = None, *, grid: bool = False, workers: int = 2
) -> int:
    """Write overlays/ID-clean.png and ID-adversarial.png of an analysis' images into `out`, by default its figures/.

    Of several methods that map each has its own, ID-METHOD-clean.png. Both have the colour scale of the pair's maximum.
    Returns the number of pictures.
    """
    manifest = Run(folder).manifest
    if not map_methods(manifest):
        raise UserError(f"{folder} has no maps, so there is nothing to lay over its images")
    names = ["-".join(filter(None, ("adversarial", part))) for part in eps_parts(manifest["options"]["eps"])]
    target = (out or folder / "figures") / "overlays"
    calls = (
        partial(write_overlay, *picture, cells=grid)
        for image in images
        for method in method_parts(manifest).items()
        for picture in _pictures(target, image, manifest, method, names)
    )
    try:
        count = call_in_workers(workers, calls)
    except OSError as error:
        raise UserError(f"cannot write to {target} ({error.strerror}); choose another folder with --out") from None
    remove_leftovers(target)
    return count


def write_overlay(
    path: Path, image: Array, attention: Map, boxes: Array, mask: Array | None, high: float, *, cells: bool
) -> None:
    """Make and write one overlay, of an image in levels from 0 to 255; other arguments as of `overlay`."""
    scale = max(1, -(-LEAST // min(image.shape[:2])))
    picture = overlay(image / np.float32(255), attention, boxes, mask=mask, high=high, cells=cells, scale=scale)
    content = BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)  # a third of the time, a fifth more bytes
    write_whole(path, content.getvalue(), sync=False)


def _pictures(
    target: Path, image: ReplayedImage, manifest: Manifest, method: tuple[str, str], names: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """The overlays of an image; pixels go to the workers in whole grey levels, which is what a PNG keeps.

    `method` is an entry of `method_parts`.
    """
    part, record = method[0], seen_by(image.record, method[1], manifest)
    boxes, mask = boxes_of(record), mask_of(record, image.clean.shape[:2])
    shown = [("clean", image.clean, record), *zip(names, image.adversarial, record["adversarial"], strict=True)]
    maps = [shown_map(row, manifest) for _, _, row in shown]
    high = max(float(values.max()) for values in maps)
    for (name, pixels, _), attention in zip(shown, maps, strict=True):
        path = file_of(target, record["image_id"], f"-{'-'.join(filter(None, (part, name)))}.png")
        yield path, (pixels * 255).round().astype(np.uint8), attention, boxes, mask, high
