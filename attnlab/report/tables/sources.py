"""Inputs of tables: a run's records, and what else a function of a table may ask for by a parameter's name."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnlab.errors import UserError, check_one_of
from attnlab.kept_maps import grid_of
from attnlab.manifests import map_methods
from attnlab.measures.recorded import measured_methods
from attnlab.recorded_attacks import is_corruption, is_targeted
from attnlab.records import ALIKE, SANITY, parts_of_evaluation, parts_of_records, unaware_methods
from attnlab.report.description import (
    aim_of,
    analysis_setting,
    cells_of,
    evaluation_setting,
    gaze_setting,
    map_attacks_of,
    steps_and_sigmas,
    with_names,
)
from attnlab.report.tables import (
    A3,
    BOXES,
    CELLS,
    CORRUPTED,
    GAZE,
    LIME,
    MAPS,
    MARK,
    MEASURED,
    POINTS,
    SEVERAL,
    TABLES,
    TARGETED,
    TWO_SEEDS,
    Paper,
    TableSpec,
    call,
)
from attnlab.report.tables.iou import i_att
from attnlab.report.tables.lime import GROUND_TRUTHS
from attnlab.report.tables.published import numbers_of_the_paper, published, published6, published7
from attnlab.runs import Run
from attnlab.words import counted, listed

#: columns of records that hold several numbers each, or a hash
WIDE = [
    *("pixels_sha256", "boxes", "mask", "map", "full", "measures", "lime", "lime_again"),
    *("shared_cells", "adv_map", "adv_full", "adv_measures", "pair_measures", "adv_lime"),
]


class Source(NamedTuple):
    """A run, read: its manifest with names, and what it has of what a table may need, such as MAPS.

    Attributes:
        given: What a table's function may ask for. Of an analysis: records (their `numbers`), images (I_att of them,
            with the attack's outcome as `group`), run, measured (names of its measures), budgets (every eps), methods
            (that map), size (of the images in pixels), shape (of the grid of maps in cells), cells, features,
            ground_truth, paper, unaware (methods that do not notice random weights); of an evaluation: records,
            dataset, models, paper.
        words: What a table's note may hold.
    """

    manifest: dict[str, Any]
    has: set[str]
    given: dict[str, Any]
    words: dict[str, Any]

    def setting(self, spec: TableSpec) -> str:
        """Setting that a table's numbers depend on, for its caption."""
        note = spec.note.format_map(self.words)
        if spec.kind == "analyze":
            images = self.given["images"]["image_id"].nunique()
            methods = {LIME: ["lime"], MEASURED: measured_methods(self.manifest)}
            chosen = next((methods[need] for need in spec.needs if need in methods), map_methods(self.manifest))
            setting = analysis_setting(self.manifest, images, chosen, note)
            unaware = [] if LIME in spec.needs else self.given["unaware"]
            return f"{setting}; {unaware_note(unaware)}" if unaware else setting
        shares = spec.column("accuracy") or spec.column("success")
        intervals = "Wilson" if shares else "bootstrap" if spec.column("ci_low") else ""
        return evaluation_setting(self.manifest, note) + (f"; intervals: 95 %, {intervals}" if intervals else "")


def unaware_note(methods: Sequence[str]) -> str:
    """What a caption says of methods that do not notice random weights."""
    verb = "does" if len(methods) == 1 else "do"
    return (
        f"{MARK} {listed(methods)} {verb} not notice random weights ({SANITY}: rank correlation of |maps| "
        f"{ALIKE} or more)"
    )


def numbers(
    run: Run,
    has_boxes: bool,
    measures: Iterable[Callable[[pd.DataFrame], pd.DataFrame]] = (),
    method: str | None = None,
) -> pd.DataFrame:
    """What `read_records` gives without the columns that hold several numbers each, which take most of the memory.

    Columns has_map, has_lime and has_mask say what an image has. Each of `measures` adds columns about I_att: it gets
    its images with all columns, a part of the run at a time, and returns a frame with their index.
    """
    frames = []
    for records in parts_of_records(run, method):
        images = i_att(records, has_boxes)
        has = {f"has_{name}": records[name].notna() for name in ("map", "lime", "mask")}
        kept = records.drop(columns=WIDE, errors="ignore").assign(**has)
        frames.append(pd.concat([kept, *(measure(images) for measure in measures)], axis=1))
    return pd.concat(frames, ignore_index=True)


def analysis(
    run: Run,
    cells: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    lime_gt: str = "matched",
    optional: Collection[str] = (),
) -> Source:
    """Read a run of `analyze`; arguments and errors as of `make_tables`."""
    check_one_of(lime_gt, GROUND_TRUTHS, "--lime-gt")
    manifest = with_names(run.manifest)
    options, model = manifest["options"], manifest["model"]
    has = {
        MAPS: bool(map_methods(manifest)),
        BOXES: manifest["data"]["has_boxes"],
        LIME: "lime" in options["methods"],
        TWO_SEEDS: options.get("lime_floor", False),
        MEASURED: bool(options.get("measures") or options.get("pair_measures")),
    }
    words = {"superpixels": options.get("lime_segments")}
    height, width = grid_of(model["map_shape"])
    if has[MAPS]:
        cells = cells or [k for k in CELLS if k < height * width] or [1]
        words["cells"] = cells_of(model)
    given = {
        "run": run,
        "measured": [*options.get("measures", ()), *options.get("pair_measures", ())],
        "shape": (height, width),
        "budgets": options["eps"],
        "methods": map_methods(manifest),
        "size": tuple(model["input_size"]),
        "cells": cells,
        "features": features or manifest.get("features"),
        "ground_truth": lime_gt,
        "paper": published(manifest),
        "unaware": unaware_methods(run.folder),
    }
    present = {need for need in has if has[need]}
    made = [spec for name, spec in TABLES.items() if spec.kind == "analyze" and (not spec.option or name in optional)]
    measures = dict.fromkeys(spec.measure for spec in made if spec.measure and present.issuperset(spec.needs))
    calls = [partial(_measure, measure, given) for measure in measures]
    records = numbers(run, has[BOXES], calls)
    images = i_att(records, has[BOXES])
    given |= {"records": records, "images": images}
    truth = truth_of(images)
    one = {"frame": "box", "truth": "box"} if truth == "boxes" else {"frame": "frame of the mask", "truth": truth}
    words |= {"truth": f"ground truth: {truth}", "ground_truth": GROUND_TRUTHS[lime_gt].format_map(one)}
    words["measured_truth"] = words["truth"] if has[BOXES] else ""
    return Source(manifest, present, given, words)


def truth_of(images: pd.DataFrame) -> str:
    """What the ground truth of images is: `boxes`, `masks`, or of how many which; rows as `numbers` gives them."""
    masked = images.drop_duplicates("image_id")["has_mask"]
    counts = {"masks": int(masked.sum()), "boxes": int((~masked).sum())}
    if not counts["masks"]:
        return "boxes"
    if not counts["boxes"]:
        return "masks"
    return " and ".join(f"{name} of {counted(count, 'image')}" for name, count in counts.items())


def _measure(measure: Callable[..., Any], given: Mapping[str, Any], images: pd.DataFrame) -> pd.DataFrame:
    frame: pd.DataFrame = call(measure, {**given, "images": images})
    return frame


def evaluation(run: Run) -> Source:
    """Read a run of `evaluate`, whose run.json must name every model that has records."""
    manifest = with_names(run.manifest)
    options = manifest["options"]
    map_attacks = map_attacks_of(options)
    corrupted = {name: attack for name, attack in options["attacks"].items() if attack and is_corruption(attack)}
    severities = {name: (attack["corruption"], attack["severity"]) for name, attack in corrupted.items()}
    targeted = {name: aim_of(attack, manifest) for name, attack in options["attacks"].items() if is_targeted(attack)}
    has = {
        # files hold the last points alone; a targeted attack looks for its target on the way
        POINTS: not options.get("saved") and not targeted,
        A3: any("+a3" in name for name in options["attacks"]),
        SEVERAL: len(options["models"]) > 1,
        GAZE: bool(map_attacks) and not options.get("saved"),
        TARGETED: bool(targeted),
        CORRUPTED: bool(severities) and not options.get("saved"),
    }
    records = records_of_models(run, options["models"], maps=has[GAZE], targets=has[TARGETED])
    conditions = {"table6": published6, "table7": published7}
    paper: Paper = {name: numbers_of_the_paper()[name] for name, holds in conditions.items() if holds(manifest)}
    given = {"records": records, "dataset": options["data"], "models": options["models"], "paper": paper}
    given |= {"map_attacks": map_attacks, "attacks": targeted, "severities": severities}
    words = {"steps_and_sigmas": steps_and_sigmas(options), "gaze": gaze_setting(options)}
    return Source(manifest, {need for need, present in has.items() if present}, given, words)


def records_of_models(run: Run, models: Collection[str], *, maps: bool = False, targets: bool = False) -> pd.DataFrame:
    """What `read_evaluation` gives without margins; names are categories, so that a row takes few bytes.

    With `maps` there are the distances, and how many of k cells are shared as `shared_k`, NaN where there is none; with
    `targets`, of a run that has some, those likewise.

    Raises:
        UserError: If records are of a model that its run.json does not name.
    """
    codes: dict[str, dict[str, int]] = {name: {} for name in ("model", "image_id", "attack")}
    kinds: dict[str, type[np.generic]] = dict.fromkeys(("label", "clean_prediction", "prediction", *codes), np.int32)
    kinds |= {"loss": np.float32, "steps_to_success": np.float32}
    kinds |= {"target": np.float32} if targets else {}
    shared = CELLS if maps else ()
    kinds |= dict.fromkeys(["distance", *(f"shared_{k}" for k in shared)] if maps else (), np.float32)
    columns = {name: bytearray() for name in kinds}  # they grow in place; a list of arrays is twice there when joined
    for records in parts_of_evaluation(run):
        unknown = set(records["model"].unique()).difference(models)
        if unknown:
            raise UserError(f"{run.folder / 'run.json'} is damaged (it does not name the model {min(unknown)!r})")
        for name, known in codes.items():
            places, values = pd.factorize(records[name])
            records[name] = np.array([known.setdefault(value, len(known)) for value in values], np.int32)[places]
        for k in shared:
            records[f"shared_{k}"] = [_nth(cells, k) for cells in records["shared_cells"]]
        for name, kind in kinds.items():
            columns[name] += records[name].to_numpy(kind).tobytes()
    whole = {name: np.frombuffer(column, kinds[name]) for name, column in columns.items()}
    names = {name: pd.Index([*known], dtype="str") for name, known in codes.items()}
    named = {name: pd.Categorical.from_codes(whole[name], names[name]) for name in names}
    return pd.DataFrame(whole | named, copy=False)


def _nth(cells: Any, k: int) -> float:
    """How many of k cells are shared; NaN where the maps have none, or not more than k."""
    return float(cells[k - 1]) if cells is not None and k < len(cells) else np.nan
