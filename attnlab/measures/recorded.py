"""Measures as a run's records hold them; no torch."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from attnlab.manifests import map_methods
from attnlab.records import parts_of_records
from attnlab.runs import Run

#: what numbers are of -> column of the records that holds them: of each row a list of numbers for each measure
COLUMNS = {"clean": "measures", "attacked": "adv_measures", "pair": "pair_measures"}
#: of LIME, where those stand in its explanations
OF_LIME = {"clean": ("lime", "measures"), "attacked": ("adv_lime", "measures"), "pair": ("adv_lime", "pair_measures")}


def names_of(manifest: Mapping[str, Any], kind: str) -> list[str]:
    """The measures that a run's column of that kind holds, in this order."""
    return list(manifest["options"].get("pair_measures" if kind == "pair" else "measures", ()))


def measured_methods(manifest: Mapping[str, Any]) -> list[str]:
    """The run's methods that have maps to measure, in this order: those that map, then LIME."""
    return [*map_methods(manifest), *(["lime"] if "lime" in manifest["options"]["methods"] else [])]


def parts_of_measures(run: Run, method: str) -> Iterator[pd.DataFrame]:
    """What `read_records` gives of a method, or of LIME, part by part, with COLUMNS, null where a run took none."""
    seen_as = next(iter(map_methods(run.manifest)), None) if method == "lime" else method
    for frame in parts_of_records(run, seen_as):
        for kind, column in COLUMNS.items():
            of_lime, field = OF_LIME[kind]
            if method == "lime":
                values = [one[field] if isinstance(one, dict) else None for one in frame[of_lime]]
                frame[column] = pd.Series(values, frame.index, object)
            elif column not in frame:
                frame[column] = None
        yield frame
