"""Records of schemas 1 and 2 in the form of today: the map of a run's one method becomes a list of one."""

import pyarrow as pa
import pyarrow.compute as pc

VALUES, IOU, SHARED = "map", "iou_att_gt", "shared_cells"  # names of a map's columns in them


def as_today(table: pa.Table) -> pa.Table:
    """A table of any columns of records, each value as it was; one of today's schema is returned as it is.

    Without a map, as of a run of LIME alone, `maps` is an empty list; of a skipped image it is null, as all is.
    """
    if VALUES in table.column_names:
        used = pc.is_null(table["skipped"]) if "skipped" in table.column_names else None
        maps = _maps(whole(table[VALUES]), {IOU: whole(table[IOU])}, None if used is None else whole(used))
        place = table.column_names.index(VALUES)
        table = table.add_column(place, "maps", maps).drop_columns([VALUES, IOU])
    if "adversarial" in table.column_names:
        place, attacked = table.column_names.index("adversarial"), whole(table["adversarial"])
        if pa.types.is_list(attacked.type) and _holds_a_map(attacked.type.value_type):
            table = table.set_column(place, "adversarial", with_values(attacked, _attacked(pc.list_flatten(attacked))))
    return table


def with_values(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Lists of the same lengths that hold other values, null where those are."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return _lists(lengths, values, pc.is_null(lists))


def _lists(lengths: pa.Array, values: pa.Array, missing: pa.Array) -> pa.ListArray:
    ends = pc.cumulative_sum(lengths.cast(pa.int32()))
    return pa.ListArray.from_arrays(pa.concat_arrays([pa.array([0], pa.int32()), ends]), values, mask=missing)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    chunks = column.combine_chunks()
    return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks


def _holds_a_map(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index(VALUES) >= 0)


def _attacked(outcomes: pa.StructArray) -> pa.StructArray:
    """What attacks of one eps did, with their map and what belongs to it in `maps`."""
    names = [field.name for field in outcomes.type]
    columns = {name: pc.struct_field(outcomes, name) for name in names}
    kept = {name: columns.pop(name) for name in (IOU, SHARED) if name in columns}
    columns["maps"] = _maps(columns.pop(VALUES), kept, None)
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


def _maps(values: pa.Array, others: dict[str, pa.Array], used: pa.Array | None) -> pa.ListArray:
    """A list of one map for each image that has one, of none for others; null where an image is not used."""
    there = pc.is_valid(values)
    fields = {"values": values, **others}
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields)).filter(there)
    missing = pc.invert(used) if used is not None else pa.array([False] * len(values), pa.bool_())
    return _lists(there, structs, missing)
