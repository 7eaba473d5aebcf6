"""Pieces of an unfinished part and tables of a schema, by hand."""

import pyarrow as pa
import pytest

from attnlab import record_files
from attnlab.record_files import Damaged, encode_piece, in_schema, read_pieces

FIRST, SECOND = pa.table({"image_id": ["a", "b"]}), pa.table({"image_id": ["c"]})


def test_pieces_are_read_one_behind_another_up_to_one_that_is_cut_short_or_changed(tmp_path):
    first, second = encode_piece(FIRST), encode_piece(SECOND)
    path = tmp_path / "part"
    path.write_bytes(first + second)
    assert read_pieces(path) == ([FIRST, SECOND], len(first + second), False)
    path.write_bytes(first + second[:-1])
    assert read_pieces(path) == ([FIRST], len(first), False)
    path.write_bytes(first + second[:-1] + bytes([second[-1] ^ 1]))
    assert read_pieces(path) == ([FIRST], len(first), True)
    assert read_pieces(tmp_path / "none") == ([], 0, False)


@pytest.mark.parametrize(("error", "reason"), [(ValueError("two\nlines"), "two"), (KeyError(), r"\?")])
def test_maps_of_another_kind_are_damage_of_that_reason(monkeypatch, error, reason):
    def fail(_table):
        raise error

    monkeypatch.setattr(record_files, "as_today", fail)
    with pytest.raises(Damaged, match=rf"its maps are of another kind: {reason}$"):
        in_schema(FIRST, FIRST.schema)
