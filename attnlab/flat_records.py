"""Records as one method sees them: what the run's `maps` hold of it stands in columns of its own."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from attnlab.former_records import whole, with_values
from attnlab.schema import ADVERSARIAL, ADVERSARIAL_MAP, MAP

#: field of a map in the records -> the column it is seen in
SEEN_AS = {field.name: "map" if field.name == "values" else field.name for field in ADVERSARIAL_MAP}


def of_method(table: pa.Table, number: int | None, *, keep: bool = False) -> pa.Table:
    """A table of records with `map`, `iou_att_gt`, `full` and `measures` of a method in place of all methods' `maps`.

    In `adversarial` likewise, with `shared_cells` and `pair_measures`. The method is that of this number among those
    of the run that map; None where it has none: then these columns are null. With `keep` the `maps` stay too.
    """
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        column = whole(table[name])
        if name == "maps":
            columns |= _fields(column, number, MAP) | ({name: column} if keep else {})
        elif name == "adversarial":
            columns[name] = with_values(column, _attacked(pc.list_flatten(column), number, keep=keep))
        else:
            columns[name] = column
    return pa.table(columns)


def _attacked(outcomes: pa.StructArray, number: int | None, *, keep: bool) -> pa.StructArray:
    columns: dict[str, pa.Array] = {}
    for name in ADVERSARIAL.names:
        field = pc.struct_field(outcomes, name)
        columns |= _fields(field, number, ADVERSARIAL_MAP) if name == "maps" else {}
        columns |= {name: field} if name != "maps" or keep else {}
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _fields(maps: pa.ListArray, number: int | None, kind: pa.StructType) -> dict[str, Any]:
    """The fields of the map of that number in each list."""
    chosen = pa.nulls(len(maps), kind) if number is None else pc.list_element(maps, number)
    fields = {SEEN_AS[field.name]: pc.struct_field(chosen, field.name) for field in kind}
    return {"iou_att_gt": fields.pop("iou_att_gt"), **fields}


def seen_as(record: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """A row of `rows_of` as the run's method of that number sees it; as it is where the run has but one."""
    if "maps" not in record:
        return record
    return {**_seen(record, number), "adversarial": [_seen(row, number) for row in record["adversarial"]]}


def _seen(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    others = {name: value for name, value in row.items() if name != "maps"}
    return others | {SEEN_AS[name]: value for name, value in row["maps"][number].items()}
