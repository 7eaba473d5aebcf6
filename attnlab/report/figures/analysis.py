"""All figures of an analysis: Figs. 1, 3 and 13, and what its records tell of IoU, success and eps."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attnlab.errors import UserError
from attnlab.looks import View
from attnlab.records import read_records
from attnlab.report.base import map_method, with_names
from attnlab.report.figures import choose, curves
from attnlab.report.figures.attention import figure1, figure3, figure13, map_of
from attnlab.report.figures.drawing import Drawing, Drawn, LeftOut, Maker, draw, for_each_eps, setting
from attnlab.report.tables import CELLS, GROUPS, i_att
from attnlab.runs import Run
from attnlab.words import counted

#: sees images of the run again, by their names, in the run's order
See = Callable[[Sequence[str]], Iterable[View]]
#: images a row of Fig. 13 shows
FAILURES = 3
RULE = {
    "iou_att_gt": "of each group the one whose IoU with the boxes is the group's median",
    "confidence": "of each group the one whose confidence in the label is the group's median",
}


@dataclass(frozen=True)
class Analysis:
    """An analysis that is to be drawn.

    Attributes:
        folder: Of the run.
        manifest: Its content of run.json.
        records: As `read_records` gives them.
        see: Sees images again.
        named: Names of the images Figs. 1 and 3 are to show; empty for those the rule chooses.
        grid: Draw the borders of the maps' cells.
    """

    folder: Path
    manifest: dict[str, Any]
    records: pd.DataFrame = field(repr=False)
    see: See
    named: Sequence[str] = ()
    grid: bool = False

    @property
    def budgets(self) -> list[float]:
        """The eps of the run."""
        return list(self.manifest["options"]["eps"])

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.manifest["data"]["classes"])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the maps in cells."""
        height, width = self.manifest["model"]["map_shape"]
        return height, width

    @property
    def mapped(self) -> str:
        """Method whose maps the figures show: the run's, or the default, which `images` then misses."""
        return map_method(self.manifest["options"]) or "grad-cam"

    def images(self, method: str) -> pd.DataFrame:
        """I_att, with what a method made of it.

        Raises:
            LeftOut: If the run is without that method, or there is no image.
        """
        if method not in self.manifest["options"]["methods"]:
            raise LeftOut(f"the run has no maps of {method}; analyze with --method {method} makes them")
        images = i_att(self.records, self.manifest["data"]["has_boxes"])
        images = images.dropna(subset="lime" if method == "lime" else "map")
        if not len(images):
            raise LeftOut("no image is classified correctly")
        return images

    def figure1(self, notes: list[str]) -> Iterator[Drawing]:
        """Fig. 1, for each eps."""
        for place, eps, name in for_each_eps("figure1", self.budgets):
            rows, rule = self._rows(self.mapped, eps, notes)
            figure = figure1(rows, place, self.shape, self.classes, grid=self.grid)
            caption = f"Figure 1. {ROWS} Maps of {self.mapped}; {setting(self.manifest, eps)}. Images: {rule}."
            yield Drawing(name, caption, figure)

    def figure3(self, notes: list[str]) -> Iterator[Drawing]:
        """Fig. 3, for each eps."""
        features = int(self.manifest["features"][0])
        height, width = self.manifest["model"]["input_size"]
        for place, eps, name in for_each_eps("figure3", self.budgets):
            rows, rule = self._rows("lime", eps, notes)
            figure = figure3(rows, place, features, (height, width), self.classes, grid=self.grid)
            kept = f"LIME, those of the {features} strongest superpixels that speak for the class"
            yield Drawing(name, f"Figure 3. {ROWS} {kept}; {setting(self.manifest, eps)}. Images: {rule}.", figure)

    def figure13(self, notes: list[str]) -> Iterator[Drawing]:
        """Fig. 13."""
        images = self.images(self.mapped).drop_duplicates("image_id")
        maps = [map_of(values, self.shape) for values in images["map"]]
        found = {
            "(a) scattered": choose.scattered(images["image_id"].tolist(), maps, FAILURES),
            "(b) misled": choose.misled(images, FAILURES),
        }
        for name, chosen in found.items():
            if not chosen:
                notes.append(f"figure13: there is no image for the row {name}, which is left out")
        if not any(found.values()):
            raise LeftOut("no map has any positive attention, and no confident prediction a box")
        seen = dict(self._seen(list(dict.fromkeys(one for chosen in found.values() for one in chosen))))
        groups = [(name, [seen[one] for one in chosen]) for name, chosen in found.items() if chosen]
        caption = (
            "Figure 13. Images that are difficult to form attention on. (a) The highest scatter of the map (root mean "
            "square distance of the positive attention from its centre) and (b) the lowest IoU with the boxes at a "
            f"confidence of at least {choose.HIGH_CONFIDENCE}, among {len(images)} correctly classified images; "
            f"{setting(self.manifest)}."
        )
        yield Drawing("figure13", caption, figure13(groups, self.shape, self.classes, grid=self.grid))

    def distributions(self, _notes: list[str]) -> Iterator[Drawing]:
        """IoU of both groups, for each eps."""
        images = self._with_iou()
        for _, eps, name in for_each_eps("iou-distributions", self.budgets):
            caption = (
                "Distributions of the IoU of attention and boxes, of the images whose prediction the attack changes "
                f"(succeed, dashed mean) and of the others (fail, dotted mean); {setting(self.manifest, eps)}."
            )
            yield Drawing(name, caption, curves.iou_distributions(images[images["eps"] == eps]))

    def success(self, _notes: list[str]) -> Iterator[Drawing]:
        """Success rate against IoU."""
        caption = (
            "Attack success rate against the IoU of attention and boxes, in bins of a tenth, with 95 % Wilson "
            f"intervals; below, the number of images in each bin; {setting(self.manifest)}."
        )
        yield Drawing("success-against-iou", caption, curves.success_against_iou(self._with_iou(), self.budgets))

    def against_eps(self, _notes: list[str]) -> Iterator[Drawing]:
        """IoU against eps."""
        images = self.images(self.mapped)
        if len(self.budgets) < 2:
            raise LeftOut("it needs a run with several --eps")
        most = int(np.prod(self.shape)) - 1
        cells = max([k for k in CELLS if k <= min(most, 10)], default=max(most, 1))
        caption = (
            f"IoU of the adversarial image's attention with the boxes (left) and with the original attention, {cells} "
            f"cells of each map (right), against ε, with 95 % bootstrap intervals; {setting(self.manifest)}."
        )
        yield Drawing("iou-against-eps", caption, curves.iou_against_eps(images, self.budgets, cells))

    def _with_iou(self) -> pd.DataFrame:
        images = self.images(self.mapped)
        if not images["iou_att_gt"].notna().any():
            raise LeftOut("the images have no boxes")
        return images

    def _rows(self, method: str, eps: float, notes: list[str]) -> tuple[list[tuple[str, View]], str]:
        """Rows of Figs. 1 and 3, and how their images were chosen."""
        images = self.images(method)
        images = images[images["eps"] == eps]
        if self.named:
            groups = images.set_index("image_id")["group"]
            column = "lime" if method == "lime" else "map"
            without = set(self.records.loc[self.records[column].isna(), "image_id"]) & set(self.named)
            if without:
                raise LeftOut(f"there is no map of {method} of image {min(without)}")
            return [(groups.get(one, "misclassified"), seen) for one, seen in self._seen(self.named)], "as named"
        chosen = choose.typical(images)
        for group in GROUPS:
            if group not in chosen:
                note = f"no image is in the group {group} at {setting(self.manifest, eps)}: its row is left out"
                notes += [note] if note not in notes else []
        seen = dict(self._seen(list(chosen.values())))
        return [(group, seen[one]) for group, one in chosen.items()], RULE[choose.measured_by(images)]

    def _seen(self, names: Sequence[str]) -> list[tuple[str, View]]:
        """Images in the order of their names.

        Raises:
            LeftOut: If they cannot be seen again, as where the data is not at hand: the curves need no pixels.
        """
        try:
            found = {str(seen.record["image_id"]): seen for seen in self.see(names)}
        except UserError as error:
            raise LeftOut(str(error)) from None
        gone = [name for name in names if name not in found]
        if gone:
            raise LeftOut(f"image {gone[0]} cannot be read any more")
        return [(name, found[name]) for name in names]


ROWS = (
    "Visual attention of the successfully attacked image (top row) and the failed-attacked image (bottom row): the "
    "original image, its activation map, the adversarial image's activation map, and the perturbation, magnified. "
    "Below, the predicted class with its confidence; where it is wrong, in red, with the label and its confidence."
)


def draw_analysis(
    folder: Path,
    see: See,
    out: Path | None = None,
    only: Collection[str] = (),
    named: Sequence[str] = (),
    *,
    grid: bool = False,
) -> Drawn:
    """Draw what an analysis comes to.

    Args:
        folder: A run of `analyze`, finished or not.
        see: Sees images of it again, such as `partial(revisit, folder)`.
        out: Where the files go; by default the run's figures/.
        only: Names of figures; by default all that can be made.
        named: Names of the images of Figs. 1 and 3; by default chosen by `choose.typical`.
        grid: Draw the borders of the maps' cells.

    Raises:
        UserError: If there are no records, an image or a figure is unknown, or the folder cannot be written.
    """
    run = Run(folder)
    manifest = with_names(run.manifest)
    records = read_records(folder)
    unknown = [name for name in named if name not in set(records["image_id"])]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    analysis = Analysis(folder, manifest, records, see, named, grid)
    makers: dict[str, Maker] = {
        "figure1": analysis.figure1,
        "figure3": analysis.figure3,
        "figure13": analysis.figure13,
        "iou-distributions": analysis.distributions,
        "success-against-iou": analysis.success,
        "iou-against-eps": analysis.against_eps,
    }
    return draw(makers, out or folder / "figures", str(folder), only, unfinished(run))


def unfinished(run: Run) -> str:
    """How far a run has come; empty if it is finished."""
    if run.manifest["finished"] is not None:
        return ""
    models = run.manifest["options"].get("order", [""])
    done = len(run.table(["image_id"]))
    return f"{done} of {counted(run.manifest['options']['images'] * len(models), 'image')}"
