"""Measures of maps that a run's records hold already: no model, no images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attnlab.attention.map_metrics import resize_maps
from attnlab.attention.pixel_maps import pool_to_grid
from attnlab.boxes import ground_truth
from attnlab.errors import UserError
from attnlab.kept_maps import grid_of, unpack_map
from attnlab.measures import ALL, MEASURES, of_one, of_two
from attnlab.measures.recorded import COLUMNS, measured_methods, names_of, parts_of_measures
from attnlab.pipelines.map_measures import paint
from attnlab.runs import Run
from attnlab.words import listed

AT_ONCE = 64  # images whose maps are measured together

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class StoredMeasures:
    """Measures that a run's records suffice for.

    Attributes:
        run: Of `analyze`.
        names: Of the measures, in MEASURES.
        notes: What is left out and what it needs, a line each.
    """

    run: Run
    names: tuple[str, ...]
    notes: tuple[str, ...]

    def frames(self, method: str) -> Iterator[pd.DataFrame]:
        """Records of a method with the measures of the images that the model classifies correctly, part by part."""
        for frame in parts_of_measures(self.run, method):
            columns: dict[str, list[Any]] = {column: [None] * len(frame) for column in COLUMNS.values()}
            rows = frame.to_dict("records")
            correct = [
                place
                for place, row in enumerate(rows)
                if row["prediction"] == row["label"] and (method != "lime" or isinstance(row["adv_lime"], dict))
            ]
            for start in range(0, len(correct), AT_ONCE):
                places = correct[start : start + AT_ONCE]
                found = self._measured(method, [rows[place] for place in places])
                for column, values in found.items():
                    for place, value in zip(places, values, strict=True):
                        columns[column][place] = value
            yield frame.assign(**{name: pd.Series(values, frame.index, object) for name, values in columns.items()})

    def _measured(self, method: str, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """The columns of some rows, each row a list of numbers for each measure."""
        manifest, size = self.run.manifest, tuple(self.run.manifest["model"]["input_size"])
        clean, attacked = (self._maps(method, rows, before) for before in ("", "adv_"))
        truths = {
            "masks": torch.from_numpy(np.stack([ground_truth(row, *size) for row in rows])),
            "boxes": [[list(map(float, box)) for box in row["boxes"]] for row in rows],
        }
        given: dict[str, dict[str, Any]] = {
            "clean": {**clean, **truths},
            "attacked": {**attacked, **truths},
            "pair": {"first": clean["grids"], "second": attacked["grids"]},
        }
        columns: dict[str, list[Any]] = {}
        for kind, column in COLUMNS.items():
            known = names_of(manifest, kind)
            values: list[list[Any]] = []
            for name in (of_two if kind == "pair" else of_one)(self.names):
                if name in known:
                    values.append([row[column][known.index(name)] for row in rows])
                elif obstacle(name, manifest, method):
                    values.append([[np.nan] * MEASURES[name].values] * len(rows))
                else:
                    values.append(MEASURES[name](**given[kind]).tolist())
            columns[column] = [list(one) for one in zip(*values, strict=True)]
        return {column: values for column, values in columns.items() if values}

    def _maps(self, method: str, rows: Sequence[Row], before: str) -> dict[str, Tensor]:
        """Maps of some rows over the grid and, where they are known, at the images' size."""
        model = self.run.manifest["model"]
        size, grid = tuple(model["input_size"]), grid_of(model["map_shape"])
        if method == "lime":
            painted = torch.from_numpy(np.stack([paint(row[f"{before}lime"], size) for row in rows])).float()
            return {"maps": painted, "grids": pool_to_grid(painted, grid)}
        grids = torch.from_numpy(np.stack([np.asarray(row[f"{before}map"], np.float32) for row in rows]))
        grids = grids.view(len(rows), *grid)
        if not at_pixels(self.run.manifest, method):
            return {"maps": resize_maps(grids, size), "grids": grids}
        if not self.run.manifest["options"].get("keep_maps"):
            return {"grids": grids}
        kept = np.stack([unpack_map(row[f"{before}full"], size) for row in rows])
        return {"maps": torch.from_numpy(kept).float(), "grids": grids}


def at_pixels(manifest: Mapping[str, Any], method: str) -> bool:
    """Whether a method's maps were at the images' resolution."""
    return bool(manifest.get("resolutions", {}).get(method) == "pixels")


def obstacle(name: str, manifest: Mapping[str, Any], method: str) -> str:
    """What a run's records lack for a measure of a method's maps; empty where they suffice."""
    options, family = manifest["options"], MEASURES[name].family
    if name in names_of(manifest, "pair" if family == "pair" else "clean"):
        return ""
    if family == "faithfulness":
        return "the model: attnlab analyze --measures takes it as the maps are made"
    if family == "object" and not manifest["data"]["has_boxes"]:
        return "boxes or masks, and the data have none"
    if family == "object" and method != "lime" and at_pixels(manifest, method) and not options.get("keep_maps"):
        return f"the maps of {method} at the images' resolution: attnlab analyze --keep-maps keeps them"
    return ""


def stored_measures(run: Run, asked: Sequence[str] = (ALL,)) -> StoredMeasures:
    """The measures of these names, or all, that a run's records suffice for.

    Raises:
        UserError: If a name is none, the run is none of `analyze` or has no maps, or it suffices for none of a measure
            that is named.
    """
    manifest = run.manifest
    if manifest["kind"] != "analyze":
        raise UserError(f"expected a run of `analyze`, whose maps are measured, got {run.folder}, one of "
                        f"`{manifest['kind']}`")  # fmt: skip
    methods = measured_methods(manifest)
    names = list(MEASURES) if ALL in asked else list(asked)
    lacks = {name: {method: obstacle(name, manifest, method) for method in methods} for name in names}
    impossible = [name for name in names if all(lacks[name].values())]
    if impossible and ALL not in asked:
        reasons = dict.fromkeys(next(iter(lacks[name].values())) for name in impossible)
        raise UserError(f"expected --measures that the records of {run.folder} suffice for, got {listed(impossible)}: "
                        f"missing is {'; '.join(reasons)}")  # fmt: skip
    notes: dict[str, list[str]] = {}
    for name in names:
        for method, reason in lacks[name].items():
            if reason:
                of = "" if name in impossible else f" of {method}"
                notes.setdefault(f"{of}, missing is {reason}", []).append(name)
    lines = tuple(f"left out: {', '.join(dict.fromkeys(some))}{note}" for note, some in notes.items())
    return StoredMeasures(run, tuple(name for name in names if name not in impossible), lines)
