"""A run's tables: made from its records, captioned, written as CSV and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from attnlab.records import Run, read_records, write_whole
from attnlab.report.latex import LATEX, as_fraction
from attnlab.report.tables import CELLS, LOW_IOU, TABLES, i_att, published, table3

TITLES = {
    "table1": "Average IoU between attention (Grad-CAM) and ground-truth area",
    "table2": f"Percentage and average confidence of the images with IoU < {LOW_IOU}",
    "table3": "Average attention IoU between original and adversarial images, by number of kept cells",
}


class Report(NamedTuple):
    """What a run comes to.

    Attributes:
        summary: Lines for people: images, accuracy, what was left out.
        captions: Of each table.
        frames: Each table, tidy.
    """

    summary: list[str]
    captions: dict[str, str]
    frames: dict[str, pd.DataFrame]


def report_run(folder: Path, cells: Sequence[int] | None = None) -> Report:
    """Make a run's tables from its records and write them to its folder, tables/*.csv and tables/*.tex.

    Args:
        folder: A run, finished or not.
        cells: Numbers of cells of Table 3; by default 5, 10, 20, 30, as far as the maps have as many.

    Raises:
        UserError: If the folder holds no readable run.
    """
    run = Run(folder)
    manifest = run.manifest
    options = manifest["options"]
    records = read_records(folder)
    images = i_att(records, manifest["data"]["has_boxes"])
    paper = published(manifest)
    height, width = manifest["model"]["map_shape"]
    cells = cells or [k for k in CELLS if k < height * width]
    frames = {name: table(images, options["eps"], paper) for name, table in TABLES.items() if name != "table3"}
    frames["table3"] = table3(images, options["eps"], paper, cells)
    setting = _setting(manifest, images)
    captions = {name: f"{TITLES[name]}. {setting}" for name in frames}
    for name, frame in frames.items():
        write_whole(folder / "tables" / f"{name}.csv", frame.to_csv(index=False).encode())
        write_whole(folder / "tables" / f"{name}.tex", LATEX[name](frame, captions[name]).encode())
    skipped = run.table()["skipped"].drop_null()
    return Report(_summary(manifest, records, images, len(skipped)), captions, frames)


def _setting(manifest: Mapping[str, Any], images: pd.DataFrame) -> str:
    """What the numbers depend on, as a caption says it."""
    options = manifest["options"]
    budgets = ", ".join(as_fraction(eps) for eps in options["eps"])
    smoothing = options["attack"]["label_smoothing"]
    return (
        f"{Path(options['model']).name}, {options['data']} {options['split']}, "
        f"n = {images['image_id'].nunique()} correctly classified images; "
        f"{options['attack_name']}, eps {budgets}{f', label smoothing {smoothing:g}' if smoothing else ''}, "
        f"maps of the {options['target']} class, geometry {options['geometry']}; brackets: 95 % bootstrap interval"
    )


def _summary(manifest: Mapping[str, Any], records: pd.DataFrame, images: pd.DataFrame, skipped: int) -> list[str]:
    wanted = manifest["options"]["images"]
    once = records[records["eps"] == manifest["options"]["eps"][0]]
    correct = once[once["prediction"] == once["label"]]
    lines = [
        f"{len(once)} of {wanted} images recorded, accuracy {100 * len(correct) / max(len(once), 1):.2f} %; "
        f"I_att: {images['image_id'].nunique()} images"
    ]
    if skipped:
        lines.append(f"{skipped} images could not be used; skipped.csv tells why")
    if manifest["finished"] is None:
        lines.append("unfinished: the same command goes on with this run")
    if manifest["data"]["has_boxes"]:
        boxless = int((~(correct["box_share"] > 0)).sum())
        if boxless:
            lines.append(f"{boxless} correctly classified images without a usable box are left out")
        dropped = int(once["dropped_boxes"].sum())
        if dropped:
            lines.append(f"{dropped} boxes were empty, inverted or outside their image, and dropped")
    for eps, of_eps in images.groupby("eps", sort=False):
        constant = int(of_eps["shared_cells"].isna().sum())
        if constant:
            lines.append(
                f"{constant} images have a constant map at eps {as_fraction(float(str(eps)))}: no area, empty IoU"
            )
    return lines
