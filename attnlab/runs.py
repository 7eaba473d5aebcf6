"""A run on disk: what was asked for, one record per image, what could not be used.

    run.json                 the manifest
    records/part-00000.parquet ...   one row per image, in the data set's order; written whole or not at all
    records/part-00001.unfinished    the rows so far of the part at hand
    skipped.csv              image_id,reason

A part covers a fixed range of images, so a run that was cut short goes on with the parts that are missing. Nothing here
needs a model or torch: tables can be made again from a run years later.
"""

import csv
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attnlab.errors import UserError
from attnlab.files import is_vacant, write_whole

SCHEMA_VERSION = 1
#: what of a manifest a run may be gone on with under other values, told as a warning
SURROUNDINGS = ("attnlab", "python", "versions", "device", "threads")
#: what closes an Arrow stream
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it lies.
        schema: Of its records; for writing.
    """

    folder: Path
    schema: pa.Schema = field(default=None, repr=False, compare=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            UserError: If the folder is no run, or one of a newer attnlab.
        """
        path = self.folder / "run.json"
        try:
            manifest: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            raise UserError(f"expected {self.folder} to be a run, but it has no run.json") from None
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}") from None
        if manifest.get("schema", 0) > SCHEMA_VERSION:
            raise UserError(f"{self.folder} was written by a newer attnlab ({manifest.get('attnlab')}); update attnlab")
        return manifest

    def part(self, number: int) -> Path:
        """File of that part."""
        return self.folder / "records" / f"part-{number:05d}.parquet"

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json, whole or not at all."""
        write_whole(self.folder / "run.json", (json.dumps(manifest, indent=2) + "\n").encode())

    def write_part(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a part, whole or not at all; what was kept of it unfinished is not needed any more."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=self.schema), sink, compression="zstd")
        write_whole(self.part(number), sink.getvalue())
        self._unfinished(number).unlink(missing_ok=True)

    def append(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows of a part that is not whole yet."""
        with self._unfinished(number).open("ab") as file, pa.ipc.new_stream(file, self.schema) as writer:
            writer.write_table(pa.Table.from_pylist(list(rows), schema=self.schema))

    def unfinished(self, number: int) -> list[dict[str, Any]]:
        """Rows kept of a part that is not whole yet; a last piece that was cut short is dropped from the file too."""
        path = self._unfinished(number)
        pieces, whole = _pieces(path)
        if path.exists():
            os.truncate(path, whole)
        return [row for piece in pieces for row in piece.to_pylist()]

    def _unfinished(self, number: int) -> Path:
        return self.part(number).with_suffix(".unfinished")

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All records so far, one row per image, skipped ones included; of all columns, or of some.

        Raises:
            UserError: If there are none yet, or a part is damaged.
        """
        parts = sorted((self.folder / "records").glob("part-*.parquet"))
        started = sorted((self.folder / "records").glob("part-*.unfinished"))
        try:
            tables = [pq.read_table(part, columns=columns) for part in parts]
            for path in started:
                if path.with_suffix(".parquet") not in parts:  # else the process ended before it could remove it
                    tables += [piece.select(columns or piece.column_names) for piece in _pieces(path)[0]]
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.folder} holds a damaged part: {error}") from None
        if not tables:
            raise UserError(f"{self.folder} holds no records yet")
        return pa.concat_tables(tables)

    def write_skipped(self, listed: Sequence[tuple[str, str]]) -> None:
        """Write skipped.csv: names of images and why they could not be used."""
        content = io.StringIO(newline="")
        csv.writer(content).writerows([("image_id", "reason"), *listed])
        write_whole(self.folder / "skipped.csv", content.getvalue().encode())

    def finish(self, seconds: float) -> None:
        """Note in run.json that all is there, and the seconds the last session took."""
        if self.manifest["finished"] is None:
            self.write_manifest({**self.manifest, "finished": now(), "seconds": round(seconds, 1)})


def _pieces(path: Path) -> tuple[list[pa.Table], int]:
    """The whole pieces of an unfinished part, and how many bytes they take."""
    pieces: list[pa.Table] = []
    whole = 0
    if not path.exists():  # the part was made whole meanwhile
        return pieces, whole
    with path.open("rb") as file:
        while True:
            try:
                piece = pa.ipc.open_stream(file).read_all()
            except (pa.ArrowException, OSError):
                break
            end = file.tell()
            file.seek(end - len(END_OF_STREAM))
            if file.read(len(END_OF_STREAM)) != END_OF_STREAM:
                break
            pieces.append(piece)
            whole = end
    return pieces, whole


def open_run(folder: Path, manifest: Mapping[str, Any], schema: pa.Schema) -> Run:
    """Make a run folder, or go on with one that was made with the same options.

    Args:
        folder: Where.
        manifest: What the run is; its "kind", "options", "data" and "model" decide the results and must not differ.
        schema: Of its records.

    Raises:
        UserError: If the folder holds a run with other options (the text says which), or something else.
    """
    run = Run(folder, schema)
    if (folder / "run.json").exists():
        before = run.manifest
        expect_same(folder, before, manifest)
        if before["finished"] is None:
            tell_other_surroundings(folder, before, manifest)
        return run
    if not is_vacant(folder):
        raise UserError(f"{folder} exists and is no run; choose another --out")
    (folder / "records").mkdir(parents=True, exist_ok=True)
    run.write_manifest({"schema": SCHEMA_VERSION, **manifest, "started": now(), "finished": None})
    return run


def expect_same(folder: Path, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Check that a run's manifest asks for what it did before.

    Raises:
        UserError: If it does not; the text says which options differ.
    """
    asked = json.loads(json.dumps(dict(manifest)))
    if before.get("kind") != asked.get("kind"):
        raise UserError(
            f"{folder} holds a run of another command (kind was {before.get('kind')!r}, is {asked.get('kind')!r}); "
            "choose another --out"
        )
    sections = {"": "options", "data": "data", "model": "model"}
    different = [told for name, key in sections.items() for told in _differences(name, before.get(key), asked.get(key))]
    if different:
        raise UserError(f"{folder} holds a run with other options ({'; '.join(different)}); choose another --out")


def tell_other_surroundings(folder: Path, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Warn where a run that is not finished was begun by other versions, on another device, or with other threads."""
    old, new = ({name: told.get(name) for name in SURROUNDINGS} for told in (before, manifest))
    other = list(_differences("", old, json.loads(json.dumps(new))))
    if other:
        warnings.warn(f"{folder} was begun in other surroundings: {'; '.join(other)}", stacklevel=2)


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """What differs between two values of a manifest, for people; of dicts, key by key."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name} {key}".strip()
            if key not in old or key not in new:
                text = f": {_short(new[key])}" if isinstance(new.get(key), str) else ""
                yield f"{inner} is new{text}" if key in new else f"{inner} is not asked for"
            else:
                yield from _differences(inner, old[key], new[key])
    elif old != new:
        yield f"{name} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
