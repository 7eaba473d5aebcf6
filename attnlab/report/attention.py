"""What an analysis comes to: Tables 1-5 of its records, captions and a summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attnlab.errors import UserError, expect_one_of
from attnlab.records import as_fraction, read_records
from attnlab.report.base import Report
from attnlab.report.checks import check_lines
from attnlab.report.controls import controls
from attnlab.report.description import analysis_setting, cells_of, falls_short, map_method, with_names
from attnlab.report.lime import GROUND_TRUTHS, LIME_TABLES, lime_tables
from attnlab.report.tables import CELLS, LOW_IOU, i_att, published, table1, table2, table3
from attnlab.runs import Run
from attnlab.words import counted

TITLES = {
    "table1": "Average IoU between attention and ground-truth area",
    "table2": f"Percentage and average confidence of the images with IoU < {LOW_IOU}",
    "controls": "IoU with the boxes of attention, and of areas as large that look at nothing",
    "table3": "Average attention IoU between original and adversarial images, by number of kept cells",
    "table4": "LIME: average IoU between attention and ground-truth area, by number of features",
    "table4_adversarial": "LIME: the same as Table 4 for the adversarial images",
    "table5": "LIME: average attention IoU between original and adversarial images, by number of features",
    "noise_floor": "LIME: average attention IoU of the original images from two seeds, what noise alone leaves",
}
#: what the groups of every table are
GROUPS_TOLD = "I_succeed: the attack changes the prediction; I_fail: it does not"


def attention_report(
    run: Run,
    cells: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    lime_gt: str = "matched",
    *,
    with_controls: bool = False,
) -> Report:
    """Make an analysis's tables from its records.

    Args:
        run: Finished or not.
        cells: Numbers of cells of Table 3; by default 5, 10, 20, 30, as far as the maps have more, or else 1.
        features: Numbers of superpixels of Tables 4 and 5; by default those the run was made with.
        lime_gt: What LIME areas are held against, a name in GROUND_TRUTHS.
        with_controls: Add what the size of the boxes alone would give.

    Raises:
        UserError: If there are no records, no maps of so many cells, or nothing to control.
    """
    expect_one_of(lime_gt, GROUND_TRUTHS, "--lime-gt")
    manifest = with_names(run.manifest)
    options = manifest["options"]
    budgets = options["eps"]
    records = read_records(run.folder)
    has_boxes = manifest["data"]["has_boxes"]
    images = i_att(records, has_boxes)
    paper = published(manifest)
    frames: dict[str, pd.DataFrame] = {}
    size = tuple(manifest["model"]["input_size"])
    with_maps = map_method(options) is not None
    if with_maps and has_boxes:
        frames["table1"] = table1(images, budgets, paper)
        frames["table2"] = table2(images, budgets, paper)
    if with_controls:
        if "table1" not in frames:
            raise UserError(f"expected maps and boxes for --controls, got {run.folder}, which lacks one of them")
        frames["controls"] = controls(images, budgets, size)
    if with_maps:
        height, width = manifest["model"]["map_shape"]
        cells = cells or [k for k in CELLS if k < height * width] or [1]
        frames["table3"] = table3(images, budgets, paper, cells)
    if "lime" in options["methods"]:
        features = features or manifest["features"]
        made = lime_tables(images, budgets, size, paper, features, lime_gt)
        frames |= {name: frame for name, frame in made.items() if has_boxes or not name.startswith("table4")}
        if not options["lime_floor"]:
            del frames["noise_floor"]
    titles = {name: f"{TITLES[name]}. {GROUPS_TOLD}" for name in frames}
    count = images["image_id"].nunique()
    captions = {}
    for name, title in titles.items():
        note = _note(manifest, name, lime_gt)
        captions[name] = f"{title}. {analysis_setting(manifest, count, lime=name in LIME_TABLES, note=note)}"
    skipped = run.table(["skipped"])["skipped"].drop_null()
    summary = _summary(manifest, records, images, len(skipped), frames)
    return Report(summary + check_lines(run.folder), captions, frames, titles)


def _note(manifest: Mapping[str, Any], table: str, lime_gt: str) -> str:
    """What one table alone depends on."""
    if table == "table3":
        return f"{cells_of(manifest)} cells"
    if table.startswith("table4"):
        return "box scaled to the area's size" if lime_gt == "matched" else "plain box"
    return f"{manifest['options']['lime_segments']} superpixels" if table == "table5" else ""


def _summary(
    manifest: Mapping[str, Any],
    records: pd.DataFrame,
    images: pd.DataFrame,
    skipped: int,
    frames: Mapping[str, pd.DataFrame],
) -> list[str]:
    wanted, has_boxes = manifest["options"]["images"], manifest["data"]["has_boxes"]
    once = records[records["eps"] == manifest["options"]["eps"][0]]
    correct = once[once["prediction"] == once["label"]]
    lines = [
        f"{len(once)} of {counted(wanted, 'image')} recorded, accuracy {100 * len(correct) / max(len(once), 1):.2f} %; "
        f"I_att: {counted(images['image_id'].nunique(), 'image')}"
    ]
    if skipped:
        lines.append(f"{counted(skipped, 'image')} could not be used; skipped.csv tells why")
    if manifest["finished"] is None:
        lines.append("unfinished: the same command goes on with this run")
    if has_boxes:
        boxless = int((~(correct["box_share"] > 0)).sum())
        if boxless:
            lines.append(f"left out: {counted(boxless, 'correctly classified image')} without a usable box")
        dropped = int(once["dropped_boxes"].sum())
        if dropped:
            lines.append(f"dropped: {counted(dropped, 'box')} empty, inverted or outside the image")
    else:
        lines.append("these data have no boxes: what is held against them, Tables 1, 2 and 4, is left out")
    attack = manifest["options"]["attack"]
    short = [as_fraction(eps) for eps in manifest["options"]["eps"] if falls_short(attack, eps)]
    if short:
        lines.append(f"too few or too short steps to reach eps {', '.join(short)}: weaker than their eps says")
    if "lime" in manifest["options"]["methods"]:
        explained = images.dropna(subset="lime").drop_duplicates("image_id")["lime"]
        samples = sum(explanation["samples"] for explanation in explained) / max(1, len(explained))
        lines.append(f"LIME explanations of {counted(len(explained), 'image')}, {samples:.0f} samples each on average")
        for name, frame in frames.items():
            areas = len(explained) * (len(frame) // 2)
            if name in LIME_TABLES and frame["n"].sum() < areas:
                lines.append(f"{name}: {areas - frame['n'].sum()} of {areas} areas are empty and have no IoU")
    if not map_method(manifest["options"]):
        return lines
    for eps, of_eps in images.groupby("eps", sort=False):
        constant = int(of_eps["shared_cells"].isna().sum())
        if constant:
            lines.append(
                f"constant maps: {counted(constant, 'image')} at eps {as_fraction(float(str(eps)))}: no area, empty IoU"
            )
    return lines
