"""A run on disk: what was asked for, one record per image, what could not be used.

    run.json                 the manifest
    records/part-00000.parquet ...   one row per image, in the data set's order; written whole or not at all
    records/part-00001.unfinished    the rows so far of the part at hand
    skipped.csv              image_id,reason

A part covers a fixed range of images, so a run that was cut short goes on with the parts that are missing. Nothing here
needs a model or torch: tables can be made again from a run years later.
"""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attnlab.errors import UserError

SCHEMA_VERSION = 1
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
        """Rows kept of a part that is not whole yet; a last piece that was cut short is dropped."""
        rows: list[dict[str, Any]] = []
        path = self._unfinished(number)
        if not path.exists():
            return rows
        whole = 0
        with path.open("rb") as file:
            while True:
                try:
                    piece = pa.ipc.open_stream(file).read_all().to_pylist()
                except (pa.ArrowInvalid, OSError):
                    break
                end = file.tell()
                file.seek(end - len(END_OF_STREAM))
                if file.read(len(END_OF_STREAM)) != END_OF_STREAM:
                    break
                rows += piece
                whole = end
        os.truncate(path, whole)
        return rows

    def _unfinished(self, number: int) -> Path:
        return self.part(number).with_suffix(".unfinished")

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All records so far, one row per image, skipped ones included; of all columns, or of some.

        Raises:
            UserError: If there are none yet, or a part is damaged.
        """
        parts = sorted((self.folder / "records").glob("part-*.parquet"))
        if not parts:
            raise UserError(f"{self.folder} holds no records yet")
        try:
            return pa.concat_tables([pq.read_table(part, columns=columns) for part in parts])
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{self.folder} holds a damaged part: {error}") from None

    def write_skipped(self, listed: Sequence[tuple[str, str]]) -> None:
        """Write skipped.csv: names of images and why they could not be used."""
        with (self.folder / "skipped.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image_id", "reason"), *listed])

    def finish(self, seconds: float) -> None:
        """Note in run.json that all is there, and the seconds the last session took."""
        if self.manifest["finished"] is None:
            self.write_manifest({**self.manifest, "finished": now(), "seconds": round(seconds, 1)})


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
        return run
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no run; choose another --out")
    (folder / "records").mkdir(parents=True, exist_ok=True)
    run.write_manifest({"schema": SCHEMA_VERSION, **manifest, "started": now(), "finished": None})
    return run


def expect_same(folder: Path, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Check that a run's manifest asks for what it did before.

    Raises:
        UserError: If it does not; the text says which options differ.
    """
    different = [
        f"{name}{key} was {_short(old.get(key))}, is {_short(new.get(key))}"
        for section, name in (("kind", ""), ("options", ""), ("data", "data "), ("model", "model "))
        for old, new in [(_fields(before, section), json.loads(json.dumps(_fields(manifest, section))))]
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    if different:
        raise UserError(f"{folder} holds a run with other options ({'; '.join(different)}); choose another --out")


def _fields(manifest: Mapping[str, Any], section: str) -> dict[str, Any]:
    value = manifest.get(section, {})
    return value if isinstance(value, dict) else {section: value}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_whole(path: Path, content: Iterable[int] | memoryview | bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process may end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def file_of(folder: Path, image_id: str, ending: str) -> Path:
    """Where a file about an image goes: below the folder, whose subfolders are made if need be.

    Raises:
        UserError: If the image's name leads elsewhere.
    """
    if ".." in PurePosixPath(image_id).parts or PurePosixPath(image_id).is_absolute():
        raise UserError(f"expected names of images below their folder, got {image_id!r}")
    path = folder / f"{image_id}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
