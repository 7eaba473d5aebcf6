"""Files of records: parts, which carry checksums, and the pieces that a part is made of until it is whole.

A part is Parquet with a checksum in each page, which any reader can check, and one of the whole file, which also
covers what says where the pages lie. A piece is an Arrow stream with a checksum behind it. Files of older versions
have neither, and are read without.
"""

import hashlib
import warnings
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from attnlab.former_records import as_today
from attnlab.schema import FIRST, FORMER_COLUMNS

#: in the metadata of a part: SHA-256 of the file, itself counted as BLANK
SEAL = b"attnlab_sha256"
BLANK = b"0" * 64
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"  # what closes an Arrow stream
#: what begins the checksum behind a piece, CRC-32 of its bytes
CRC = b"attnlab-crc32:"
CRC_BYTES = len(CRC) + 4


class Damaged(Exception):  # noqa: N818 - a fact about one file; who knows the run says what to do
    """A file of records that is not what was written; its text is the reason."""


class Pieces(NamedTuple):
    """Content of an unfinished part."""

    tables: list[pa.Table]  # its whole pieces
    size: int  # bytes they take
    damaged: bool  # a piece behind them was changed, and not just cut short


def encode_part(table: pa.Table, about: Mapping[bytes, bytes]) -> bytes:
    """A part as the bytes of its file; `about` goes into its metadata."""
    schema = table.schema
    table = table.replace_schema_metadata({**(schema.metadata or {}), **about, SEAL: BLANK})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    start = _seal_of(content)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + len(BLANK) :]


def decode_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The records of a part, of all columns or those of some that it has; Damaged if it is not what was written."""
    if not path.is_file():
        raise Damaged("expected a file, got a folder" if path.is_dir() else "there is no such file")
    content = path.read_bytes()
    start = _seal_of(content)
    if start >= 0:
        blank = content[:start] + BLANK + content[start + len(BLANK) :]
        if hashlib.sha256(blank).hexdigest().encode() != content[start : start + len(BLANK)]:
            raise Damaged("its checksum does not fit")
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        asked = [name for column in columns or () for name in (column, *FORMER_COLUMNS.get(column, ()))]
        names = [name for name in asked if name in file.schema_arrow.names] if columns is not None else None
        return file.read(columns=names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Damaged((str(error).splitlines() or ["empty"])[0]) from None


def _seal_of(content: bytes) -> int:
    """Offset of the seal's value in a part; -1 where it has none."""
    at = content.rfind(SEAL)
    return at + len(SEAL) + 2 if at >= 0 else -1  # behind Thrift's field header and the length, a byte each


def in_schema(table: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a schema's columns, or in some of them; those that an older version did not have are empty.

    A table of an older schema is brought into today's form. A table of something else raises Damaged.
    """
    try:
        table = as_today(table)
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"its maps are of another kind: {(str(error).splitlines() or ['?'])[0]}") from None
    wanted = [schema.field(name) for name in columns or schema.names]
    arrays = []
    for field in wanted:
        missing = field.name not in table.column_names
        if missing and field.name in FIRST:
            raise Damaged(f"it has no column {field.name}")
        column = pa.nulls(len(table), field.type) if missing else table[field.name]
        if pa.types.is_nested(field.type):  # structs may have grown
            with suppress(pa.ArrowException, NotImplementedError):
                column = column.cast(field.type)
        if not column.type.equals(field.type):
            raise Damaged(f"its column {field.name} is of another kind")
        arrays.append(column)
    return pa.table(arrays, schema=pa.schema(wanted))


def encode_piece(table: pa.Table) -> bytes:
    """Some rows of an unfinished part as bytes to append to its file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content + _checksum(content)


def read_pieces(path: Path) -> Pieces:
    """Read the pieces of an unfinished part up to the first that was cut short or changed."""
    pieces: list[pa.Table] = []
    whole, damaged = 0, False
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # the part was made whole meanwhile
        content = b""
    source = pa.BufferReader(content)
    while whole < len(content):
        source.seek(whole)
        try:
            piece = pa.ipc.open_stream(source).read_all()
        except (pa.ArrowException, OSError, ValueError):
            damaged = CRC in content[whole:]  # where a checksum follows, the piece was written to its end
            break
        end = source.tell()
        if content[end - len(END_OF_STREAM) : end] != END_OF_STREAM:
            break
        checksum = content[end : end + CRC_BYTES]
        if checksum[:1] == CRC[:1]:  # older versions wrote none
            if checksum != _checksum(content[whole:end]):  # cut short, or changed
                damaged = len(checksum) == CRC_BYTES
                break
            end += CRC_BYTES
        pieces.append(piece)
        whole = end
    return Pieces(pieces, whole, damaged)


def _checksum(piece: bytes) -> bytes:
    return CRC + zlib.crc32(piece).to_bytes(4, "little")


def again(command: str) -> str:
    """What makes a run's records again, in words; the command is empty where it was none of attnlab's."""
    return f"repeat `{command}`" if command else "repeat the call that made the run"


def warn_of_lost(folder: Path, manifest: Mapping[str, Any], found: int, command: str) -> None:
    """Warn of a finished run that has records of fewer images than it had, as where a part was deleted."""
    images = manifest["options"]["images"]
    if manifest["finished"] is not None and isinstance(images, int) and found < images:
        warnings.warn(
            f"{folder} has lost the records of {images - found} of {images} images, and its numbers are of the others "
            f"alone: {again(command)} to make them again",
            stacklevel=1,  # one place, so that a command prints it once however often it reads
        )
