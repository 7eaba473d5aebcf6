"""Pictures of a run's images: they are read and attacked again, since records hold no pixels.

Below an export's folder lie images/ID.png and maps/ID.png of the clean images, and below adversarial/eps-.../ the same
of each eps, below adversarial/fog@3/ of a corruption. A map is grey, 0 where nothing speaks for the class, 255 at the
highest value of the image's maps, clean and attacked.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from attnlab.errors import UserError
from attnlab.exports.views import views_of
from attnlab.exports.write import Export
from attnlab.files import file_of, remove_leftovers, write_whole
from attnlab.manifests import map_methods
from attnlab.recorded_attacks import norm_of
from attnlab.report.figures.analysis import eps_name, seen_by
from attnlab.report.figures.overlay import resize_maps
from attnlab.views import Pixels, ReplayedImage
from attnlab.worker_pool import call_in_workers

IMAGES, MAPS = "images", "maps"

Levels = npt.NDArray[np.uint8]


def places(out: Path, options: Mapping[str, Any]) -> list[Path]:
    """Folders of the clean images and of those of each eps, or of the corruption, by the options of an analysis."""
    names = (options["attack_name"] if eps is None else eps_name(eps) for eps in options["eps"])
    return [out, *(out / "adversarial" / name for name in names)]


def picture_of(place: Path, image_id: str, kind: str = IMAGES) -> Path:
    """File of an image, or of its map."""
    return file_of(place / kind, image_id, ".png")


def write_pictures(export: Export, *, maps: bool = False, instead: str = "") -> set[str]:
    """Write the pictures that are not there yet, with or without maps.

    Args:
        export: Of an analysis.
        maps: Write maps too, where the run has any.
        instead: What to do without the images, for errors.

    Returns:
        The images whose pictures are there; those that cannot be read any more are left out, after a warning.

    Raises:
        UserError: If data or model are not what they were; nothing of the run is shown then.
    """
    from attnlab.pipelines.hardware import reading_processes
    from attnlab.pipelines.replay import replay

    where = places(export.out, export.manifest["options"])
    maps = maps and bool(map_methods(export.manifest))
    kinds = [IMAGES, MAPS] if maps else [IMAGES]
    there = {
        image_id
        for image_id in export.image_ids
        if all(picture_of(place, image_id, kind).exists() for place in where for kind in kinds)
    }
    missing = [image_id for image_id in export.image_ids if image_id not in there]
    if not missing:
        return there
    how = export.config.replay

    def calls(count: Callable[[int], None]) -> Iterator[Callable[[], None]]:
        for image in replay(export.run.folder, missing, root=how.root, device=how.device, trust_code=how.trust_code):
            yield from _calls(image, where, export, maps)
            there.add(image.record["image_id"])
            count(1)

    with export.progress(len(export.image_ids)) as count:
        count(len(there))
        try:
            call_in_workers(reading_processes(), calls(count))
        except UserError as error:
            raise UserError(f"{error}{instead}") from None
    for place in where:
        for kind in kinds:
            remove_leftovers(place / kind)
    return there


def _calls(image: ReplayedImage, where: list[Path], export: Export, maps: bool) -> Iterator[Callable[[], None]]:
    """Calls that write the pictures of an image."""
    from attnlab.pipelines.accuracy_records import eight_bit

    to_levels = partial(eight_bit, norm=norm_of(export.manifest["options"]["attack"]))
    image_id, method = image.record["image_id"], export.config.method
    record = seen_by(image.record, method, export.manifest) if method else image.record
    views = views_of(record, export.manifest)
    high = max((float(view.map.max()) for view in views if view.map is not None), default=0.0)
    for place, view, pixels in zip(where, views, [image.clean, *image.adversarial], strict=True):
        levels = _levels(pixels) if view.eps is None else _attacked(pixels, image.clean, view.eps, to_levels)
        yield partial(_write, picture_of(place, image_id), levels)
        if maps and view.map is not None:
            scaled = resize_maps(view.map, pixels.shape[:2]) / (high if high > 0 else 1)
            yield partial(_write, picture_of(place, image_id, MAPS), _levels(scaled[..., None]))


def _levels(pixels: Pixels) -> Levels:
    """Pixels in [0, 1], or beyond, in whole grey levels."""
    levels: Levels = (np.nan_to_num(pixels).clip(0, 1) * 255).round().astype(np.uint8)
    return levels


def _attacked(pixels: Pixels, clean: Pixels, eps: float, eight_bit: Callable[..., Any]) -> Levels:
    """An attacked image in whole grey levels that are at most eps from the clean one, as `attnlab attack` writes it."""
    import torch

    levels: Levels = eight_bit(torch.from_numpy(pixels), torch.from_numpy(clean), eps).numpy()
    return levels


def _write(path: Path, levels: Levels) -> None:
    """Write a picture, (H, W, C), C being 1 or 3."""
    content = BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(content, "PNG", compress_level=1)
    write_whole(path, content.getvalue(), sync=False)
