"""Overlays of all images of an analysis, written by worker processes."""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from attnlab.errors import UserError
from attnlab.files import file_of, write_whole
from attnlab.looks import Map, View
from attnlab.report.base import map_method
from attnlab.report.figures.attention import boxes_of, map_of
from attnlab.report.figures.drawing import for_each_eps
from attnlab.report.figures.overlay import Array, overlay
from attnlab.runs import Run
from attnlab.workers import worker_pool

#: pixels that the shorter side of an overlay has at least
LEAST = 224
#: overlays on their way to each worker process: enough that none waits, few enough to hold in memory
AHEAD = 8


class Job(NamedTuple):
    """An overlay to write: where, and the arguments of `overlay`."""

    path: Path
    image: Array
    attention: Map
    boxes: Array
    high: float
    cells: bool


def write_overlays(
    folder: Path,
    views: Iterable[View],
    out: Path | None = None,
    *,
    grid: bool = False,
    workers: int = 2,
) -> int:
    """Write overlays/ID-clean.png and ID-adversarial.png of images; both have the colour scale of the pair's maximum.

    Args:
        folder: The analysis.
        views: Images of it, seen again.
        out: Where overlays/ goes; by default the run's figures/.
        grid: Draw the borders of the maps' cells.
        workers: Processes that make and write pictures, at least 1.

    Returns:
        Number of pictures.

    Raises:
        UserError: If the run has no maps, or the folder cannot be written.
    """
    manifest = Run(folder).manifest
    if map_method(manifest["options"]) is None:
        raise UserError(f"{folder} has no maps of grad-cam, so there is nothing to lay over its images")
    shape = tuple(manifest["model"]["map_shape"])
    names = [name for _, _, name in for_each_eps("adversarial", manifest["options"]["eps"])]
    target = (out or folder / "figures") / "overlays"
    written: deque[Future[None]] = deque()
    count = 0
    try:
        with worker_pool(workers) as pool:
            for seen in views:
                for job in _jobs(target, seen, shape, names, grid=grid):
                    written.append(pool.submit(write_overlay, job))
                    count += 1
                while len(written) > AHEAD * workers:
                    written.popleft().result()
            for future in written:
                future.result()
    except OSError as error:
        raise UserError(f"cannot write to {target} ({error.strerror}); choose another folder with --out") from None
    return count


def write_overlay(job: Job) -> None:
    """Make and write one overlay."""
    scale = max(1, -(-LEAST // min(job.image.shape[:2])))
    picture = overlay(
        job.image / np.float32(255), job.attention, job.boxes, high=job.high, cells=job.cells, scale=scale
    )
    content = BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)  # a third of the time, a fifth more bytes
    write_whole(job.path, content.getvalue(), sync=False)


def _jobs(target: Path, seen: View, shape: Any, names: Sequence[str], *, grid: bool) -> list[Job]:
    """The overlays of an image; pixels go to the workers in whole grey levels, which is what a PNG keeps."""
    record, boxes = seen.record, boxes_of(seen)
    looks = [("clean", seen.clean, record)]
    looks += list(zip(names, seen.adversarial, record["adversarial"], strict=True))
    maps = [map_of(row["map"], shape) for _, _, row in looks]
    high = max(float(one.max()) for one in maps)
    return [
        Job(
            file_of(target, record["image_id"], f"-{name}.png"),
            (pixels * 255).round().astype(np.uint8),
            attention,
            boxes,
            high,
            grid,
        )
        for (name, pixels, _), attention in zip(looks, maps, strict=True)
    ]
