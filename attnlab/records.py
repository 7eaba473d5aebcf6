"""Read the records of a run as tables for pandas: a row per image.

pandas is imported where a table is made: a run begins without it, in half a second less.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attnlab import manifests
from attnlab.errors import UserError
from attnlab.files import safe_cell
from attnlab.flat_records import of_method
from attnlab.recorded_attacks import is_targeted
from attnlab.runs import Run
from attnlab.schema import OUTCOME
from attnlab.stores import Root, as_folder

if TYPE_CHECKING:
    import pandas as pd

#: what the checks of an evaluation found, and its columns
CHECKS = "checks.csv"
CHECKS_COLUMNS = ["model", "found"]
#: what became of each method's maps under random weights, see `attnlab.measures.sanity.Stage`
SANITY = "sanity.csv"
SANITY_COLUMNS = ["method", "order", "stage", "layers", "images", "spearman", "ssim"]
#: mean rank correlation of |maps| under trained and random weights from which a method does not notice the weights
ALIKE = 0.5

#: field of what an attack did, as `of_method` has it -> its column
ADV_NAMES = {
    name: name if name in ("shared_cells", "pair_measures") else f"adv_{name}"
    for name in ("prediction", "confidence", "iou_att_gt", "shared_cells", "map", "full", "measures", "pair_measures")
} | {"lime": "adv_lime", "target": "target"}

Row = dict[str, Any]


def read_records(folder: Root | str, method: str | None = None) -> "pd.DataFrame":
    """Records of a run for pandas: one row per image, method that maps, and eps, skipped images left out.

    Columns: image_id, method (where the run has several that map, and none is named), label, prediction, confidence,
    margin, boxes, mask, dropped_boxes, box_share, iou_att_gt, map, lime, lime_again, then eps and what the attack of
    that eps did: adv_prediction, adv_confidence, adv_iou_att_gt, shared_cells, adv_map, adv_lime, and of a targeted
    attack the target. Where the run kept maps at the images' resolution, full stands behind map and adv_full behind
    adv_map. Each measure that the run took has a column, NAME of the clean map, adv_NAME of the attacked one, or NAME
    of both together: a number, or a list of them. What the run did not compute is null; LIME stands in the rows of the
    first method alone. The run is a folder, an archive of one, or a URL.

    Args:
        folder: Of the run.
        method: The one method whose maps are wanted; by default all.

    Raises:
        UserError: If the folder holds no readable records, or the run has no maps of that method.
    """
    import pandas as pd

    with as_folder(folder) as here:
        run = Run(here)
        options = run.manifest["options"]
        return pd.concat((with_measures(part, options) for part in parts_of_records(run, method)), ignore_index=True)


def with_measures(frame: "pd.DataFrame", options: Mapping[str, Any]) -> "pd.DataFrame":
    """Records with a column for each measure that options of a run name, in place of the lists of all."""
    import pandas as pd

    columns = {
        f"{before}{name}": [None if numbers is None else _one_or_all(numbers[place]) for numbers in frame[column]]
        for column, before in (("measures", ""), ("adv_measures", "adv_"), ("pair_measures", ""))
        for place, name in enumerate(options.get(column.removeprefix("adv_"), ()))
    }
    lists = [name for name, values in columns.items() if any(isinstance(value, np.ndarray) for value in values)]
    series = {
        name: pd.Series(values, frame.index, object if name in lists else float) for name, values in columns.items()
    }
    return frame.drop(columns=["measures", "adv_measures", "pair_measures"], errors="ignore").assign(**series)


def _one_or_all(numbers: Any) -> Any:
    return numbers[0] if len(numbers) == 1 else numbers


def parts_of_records(run: Run, method: str | None = None) -> "Iterator[pd.DataFrame]":
    """What `read_records` gives, part by part."""
    import pandas as pd

    manifest = run.manifest
    options, several = manifest["options"], manifests.map_methods(manifest)
    budgets, wanted = options["eps"], [number_of(run.folder, manifest, method)] if method else None
    numbers: list[int | None] = [*(wanted or range(len(several)))] or [None]
    left_out = [
        *(() if options.get("keep_maps") else ("full", "adv_full")),
        *(() if options.get("measures") else ("measures", "adv_measures")),
        *(() if options.get("pair_measures") else ("pair_measures",)),
        *(() if is_targeted(options["attack"]) else ("target",)),
    ]
    for table in run.parts():
        counts = pc.list_value_length(table["adversarial"]).filter(pc.is_null(table["skipped"])).to_pylist()
        if set(counts) - {len(budgets)}:
            raise UserError(f"{run.folder} is damaged: its records are not of as many eps as its run.json names")
        frames = []
        for number in numbers:
            frame = _per_attack(of_method(table, number), "adversarial", ADV_NAMES).drop(columns=left_out)
            frame.insert(list(frame).index("adv_prediction"), "eps", np.array(budgets * len(counts), float))
            if len(numbers) > 1:
                frame.insert(1, "method", several[number or 0])
            if len(numbers) > 1 and number:
                frame[["lime", "lime_again", "adv_lime"]] = None
            frames.append(frame)
        place = np.concatenate([np.arange(len(frame)) // max(1, len(budgets)) for frame in frames])
        yield pd.concat(frames).iloc[place.argsort(kind="stable")].reset_index(drop=True) if frames[1:] else frames[0]


def at_eps(frame: "pd.DataFrame", eps: float | None) -> "pd.DataFrame":
    """Rows of an eps; None is that of a corruption, which has none."""
    return frame[frame["eps"].isna() if eps is None else frame["eps"] == eps]


def number_of(folder: Path, manifest: Mapping[str, Any], method: str) -> int:
    """Which of the run's methods that map is called so; a UserError names them where there is none."""
    names = manifests.map_methods(manifest)
    if method not in names:
        raise UserError(f"expected a method whose maps {folder} has ({', '.join(names) or 'none'}), got {method!r}")
    return names.index(method)


def read_evaluation(folder: Root | str) -> "pd.DataFrame":
    """Records of an evaluation for pandas: one row per model, image and attack, skipped images left out.

    Columns: model, image_id, label, clean_prediction, attack, prediction, margin, loss, steps_to_success, distance,
    shared_cells; the last two are null but for attacks on maps. Where the run has targeted attacks their target stands
    behind these. The attack `clean` is the image itself. The run is a folder, an archive of one, or a URL.

    Raises:
        UserError: If the folder holds no readable records.
    """
    import pandas as pd

    with as_folder(folder) as here:
        return pd.concat(parts_of_evaluation(Run(here)), ignore_index=True)


def parts_of_evaluation(run: Run) -> "Iterator[pd.DataFrame]":
    """What `read_evaluation` gives, part by part."""
    columns = ["skipped", "model", "image_id", "label", "prediction", "attacks"]
    names = ["clean_prediction" if name == "prediction" else name for name in columns]
    targeted = any(map(is_targeted, run.manifest["options"]["attacks"].values()))
    shown = {name: name for name in OUTCOME.names if targeted or name != "target"}
    for table in run.parts():
        yield _per_attack(table.select(columns).rename_columns(names), "attacks", shown)


def rows_of(
    run: Run, image_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None, method: str | None = None
) -> Iterator[Row]:
    """Records of the images that were not skipped, one at a time, as `of_method` has them; of all, or of some.

    They are of the method named, by default of the first that maps; of several methods then with the `maps` of all,
    for `seen_as`. Errors as of `read_records`.
    """
    wanted = None if image_ids is None else pa.array(image_ids, pa.string())
    manifest = run.manifest
    methods = manifests.map_methods(manifest)
    first = 0 if methods else None
    number = first if method is None else number_of(run.folder, manifest, method)
    keep = method is None and len(methods) > 1
    for table in run.parts(columns and [*columns, "skipped"]):
        used = pc.is_null(table["skipped"])
        if wanted is not None:
            used = pc.and_(used, pc.is_in(table["image_id"], wanted))
        yield from of_method(table.filter(used), number, keep=keep).to_pylist()


def _per_attack(table: pa.Table, attacks: str, names: Mapping[str, str]) -> "pd.DataFrame":
    """A row per image that was not skipped and per attack, whose fields stand in columns of these names."""
    table = table.filter(pc.is_null(table["skipped"])).drop_columns(["skipped"]).combine_chunks()
    attacked = table[attacks]
    frame: pd.DataFrame = table.drop_columns([attacks]).take(pc.list_parent_indices(attacked)).to_pandas()
    outcomes = pc.list_flatten(attacked).combine_chunks()
    for name, column in names.items():
        frame[column] = pc.struct_field(outcomes, name).to_pandas()
    return frame


def read_checks(folder: Path) -> list[tuple[str, str]] | None:
    """Findings of an evaluation's checks, each with its model; None without a readable checks.csv."""
    try:
        with (folder / CHECKS).open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return None
    whole = head == CHECKS_COLUMNS and all(len(row) == len(head) for row in rows)
    return [(model, found) for model, found in rows] if whole else None


def read_sanity(folder: Path) -> "pd.DataFrame | None":
    """Rows of a run's sanity.csv, of SANITY_COLUMNS; None without a readable one."""
    import pandas as pd

    try:
        frame = pd.read_csv(folder / SANITY, dtype={"method": str, "order": str, "layers": str}, keep_default_na=False,
                            na_values={"spearman": "", "ssim": ""})  # fmt: skip
    except (OSError, ValueError):
        return None
    numbers = frame.columns.tolist() == SANITY_COLUMNS and [frame[name].dtype.kind for name in SANITY_COLUMNS[-3:]]
    return frame if numbers == ["i", "f", "f"] and len(frame) else None


def under_random_weights(folder: Path) -> dict[str, float]:
    """Method -> mean rank correlation of |maps| under trained weights and once all are random; empty if none is known.

    It is NaN where all maps are constant then.
    """
    frame = read_sanity(folder)
    if frame is None:
        return {}
    last = frame[frame["order"] == "cascading"].groupby("method", sort=False).tail(1)
    return dict(zip(last["method"], last["spearman"].tolist(), strict=True))


def unaware_methods(folder: Path) -> list[str]:
    """Methods that do not notice random weights."""
    return [method for method, alike in under_random_weights(folder).items() if alike >= ALIKE]


def as_csv(frame: "pd.DataFrame") -> str:
    """A frame as CSV, its texts as `safe_cell` has them."""
    safe = frame.map(lambda value: safe_cell(value) if isinstance(value, str) else value)
    return safe.to_csv(index=False, lineterminator="\n")


def rows_as_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of texts as `as_csv` writes them."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *(map(safe_cell, row) for row in rows)])
    return text.getvalue()


def skipped_images(run: Run) -> list[tuple[str, str]]:
    """Names of the images that could not be used, and why.

    An image without a usable box is listed too: it has a record, but no IoU with ground truth.
    """
    manifest = run.manifest
    has_boxes = manifest["kind"] == "analyze" and manifest["data"]["has_boxes"]
    boxes = ["dropped_boxes", "box_share"] if has_boxes else []
    listed = {}
    for row in (row for part in run.parts(["image_id", "skipped", *boxes]) for row in part.to_pylist()):
        if row["skipped"] is not None:
            listed[row["image_id"]] = row["skipped"]
        elif has_boxes and not row["box_share"]:
            cause = "empty, inverted or outside the image" if row["dropped_boxes"] else "none given"
            cause = "cut away by the crop" if row["box_share"] == 0 else cause
            listed[row["image_id"]] = f"no usable box ({cause}); recorded, but left out of the tables"
    return list(listed.items())
