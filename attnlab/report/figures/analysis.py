"""An analysis that is to be drawn: its records, and the images that were read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from attnlab.boxes import unpack
from attnlab.flat_records import seen_as
from attnlab.kept_maps import grid_of, segments_of, unpack_map
from attnlab.manifests import map_methods
from attnlab.report.description import Manifest, class_names, shown_method, subject
from attnlab.report.tables.iou import i_att
from attnlab.superpixels import strongest
from attnlab.views import Examples, LeftOut, Map, MapSeries, MapView, ReplayedImage
from attnlab.words import as_fraction


@dataclass(frozen=True)
class Analysis:
    """An analysis of one method: its manifest with names, see `about_method`, and its records' `numbers`.

    Where there are maps these have `scatter` too.
    """

    manifest: Manifest
    records: pd.DataFrame = field(repr=False)
    named: Sequence[str] = ()  # images that Figs. 1 and 3 are to show; empty for those that the rule chooses

    @property
    def method(self) -> str:
        """Method whose maps the figures show: the one it is about, or the default, which `images` then misses."""
        return shown_method(self.manifest) or "grad-cam"

    def images(self, method: str = "", eps: float | None = None) -> pd.DataFrame:
        """I_att, with what a method made of it, by default that of the maps; of one eps or of all."""
        method = method or self.method
        if method not in self.manifest["options"]["methods"]:
            raise LeftOut(f"the run has no maps of {method}; analyze with --method {method} makes them")
        images = i_att(self.records, self.manifest["data"]["has_boxes"])
        images = images[images["has_lime" if method == "lime" else "has_map"]]
        if not len(images):
            raise LeftOut("no image is classified correctly")
        return images if eps is None else images[images["eps"] == eps]

    def at(self, eps: float | None) -> Manifest:
        """The manifest with that eps alone; with all where it is None."""
        options = self.manifest["options"]
        return self.manifest if eps is None else {**self.manifest, "options": {**options, "eps": [eps]}}


class Choice(NamedTuple):
    """Images of an analysis that a figure is to show."""

    groups: list[tuple[str, list[str]]]  # what each group is called, and its images' names; a group may stand twice
    method: str  # whose maps are shown
    eps: int | None  # index among those of the run; None where the images are shown as they are
    subject: str  # what the maps are, in words
    rule: str  # how the images were chosen, in words

    def examples(self, images: Mapping[str, ReplayedImage] | LeftOut, manifest: Manifest) -> Examples:
        """The figure's images, once they are read again; raises LeftOut where they are not."""
        if isinstance(images, LeftOut):
            raise images
        gone = [name for _, names in self.groups for name in names if name not in images]
        if gone:
            raise LeftOut(f"image {gone[0]} cannot be read any more")
        groups = [
            (group, [series_of(images[name], self.method, self.eps, manifest) for name in names])
            for group, names in self.groups
        ]
        budget = None if self.eps is None else manifest["options"]["eps"][self.eps]
        about = {name: value for name, value in manifest.items() if name != "about_method" or not self.subject}
        return Examples(groups, class_names(manifest), (), self.subject, subject(about, budget), self.rule)


def method_parts(manifest: Manifest) -> dict[str, str]:
    """Ending of the names of files about one method that maps -> that method; empty where there is but one, or none."""
    methods = map_methods(manifest)
    return {method.replace(":", "-"): method for method in methods} if methods[1:] else {"": "".join(methods)}


def eps_parts(budgets: Sequence[float]) -> dict[str, float]:
    """Ending of the names of files about one eps -> that eps; empty where there is but one."""
    if len(budgets) == 1:
        return {"": budgets[0]}
    return {eps_name(eps): eps for eps in budgets}


def eps_name(eps: float) -> str:
    """An eps in the names of files: eps-16-255."""
    return f"eps-{as_fraction(eps).replace('/', '-')}"


def series_of(image: ReplayedImage, method: str, eps: int | None, manifest: Manifest) -> MapSeries:
    """The view of an image and, unless `eps` is None, that of its adversarial counterpart at this index of the run's.

    Maps of LIME hold the weights of an explanation's strongest superpixels that speak for the class, 0 elsewhere.
    """
    record = seen_by(image.record, method, manifest)
    attacked = [] if eps is None else [(image.adversarial[eps], record["adversarial"][eps])]
    views = []
    for pixels, row in [(image.clean, record), *attacked]:
        if method == "lime":
            weights = np.asarray(row["lime"]["weights"])
            kept = np.where(strongest(weights, int(manifest["features"][0])), weights, 0.0)
            attention, iou = kept[segments_of(row["lime"], tuple(manifest["model"]["input_size"]))], None
        else:
            attention, iou = shown_map(row, manifest), row["iou_att_gt"]
        iou = np.nan if iou is None else iou
        views.append(MapView(pixels, attention, row["prediction"], row["confidence"], iou=iou))
    mask = mask_of(record, manifest["model"]["input_size"])
    return MapSeries(record["image_id"], record["label"], boxes_of(record), views[:1], views[1:], mask)


def seen_by(record: Mapping[str, Any], method: str, manifest: Manifest) -> Mapping[str, Any]:
    """A row of `rows_of` with the maps of a method of the run; as it is of one that has none, as LIME."""
    methods = map_methods(manifest)
    return seen_as(record, methods.index(method)) if method in methods else record


def shown_map(row: Mapping[str, Any], manifest: Manifest) -> Map:
    """The map of an image, or of what an attack made of it: at the images' resolution where the run kept it, in cells.

    (H, W), or (h, w).
    """
    if row.get("full"):
        return unpack_map(row["full"], manifest["model"]["input_size"])
    return map_of(row["map"], grid_of(manifest["model"]["map_shape"]))


def map_of(values: Sequence[float], shape: Sequence[int]) -> Map:
    """A map as the records hold it, row by row, as (h, w)."""
    return np.asarray(values, np.float64).reshape(shape)


def boxes_of(record: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Boxes of an image whose ground truth they are, (B, 4); none of one that has a mask."""
    boxes = [] if record.get("mask") else record["boxes"]
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def mask_of(record: Mapping[str, Any], size: Sequence[int]) -> npt.NDArray[np.bool_] | None:
    """Mask of an image whose ground truth it is, of the image's height and width; None of one that has boxes."""
    return unpack(record["mask"], *size) if record.get("mask") else None
