"""Pieces of an unfinished part and tables of a schema, by hand."""

import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attnlab import record_files
from attnlab.record_files import END_OF_STREAM, Damaged, decode_part, encode_piece, in_schema, read_pieces

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


def test_a_part_of_another_writer_is_held_to_the_checksums_of_its_pages(tmp_path):
    path, whole = tmp_path / "part.parquet", pa.table({"image_id": ["a", "b"], "confidence": [0.25, 0.75]})
    pq.write_table(whole, path, compression="none", use_dictionary=False, write_page_checksum=True)
    assert decode_part(path) == whole
    content = path.read_bytes()
    at = content.index(struct.pack("<2d", 0.25, 0.75))
    path.write_bytes(content[:at] + struct.pack("<d", 0.125) + content[at + 8 :])
    assert pq.read_table(path)["confidence"].to_pylist() == [0.125, 0.75], "as long as nothing is held to them"
    with pytest.raises(Damaged, match="CRC checksum verification failed"):
        decode_part(path)


def test_a_piece_without_the_end_of_its_stream_is_not_whole(tmp_path):
    path = tmp_path / "part"
    path.write_bytes(encode_piece(FIRST) + encode_piece(SECOND).partition(END_OF_STREAM)[0])
    assert read_pieces(path) == ([FIRST], len(encode_piece(FIRST)), False)


@pytest.mark.parametrize(("error", "reason"), [(ValueError("two\nlines"), "two"), (KeyError(), r"\?")])
def test_maps_of_another_kind_are_damage_of_that_reason(monkeypatch, error, reason):
    def fail(_table):
        raise error

    monkeypatch.setattr(record_files, "as_today", fail)
    with pytest.raises(Damaged, match=rf"its maps are of another kind: {reason}$"):
        in_schema(FIRST, FIRST.schema)
