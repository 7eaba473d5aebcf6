"""A run on disk: what was asked for, one record per image, what could not be used.

    run.json                 the manifest
    records/part-00000.parquet ...   one row per image, in the data set's order; written whole or not at all
    records/part-00001.unfinished    the rows so far of the part at hand
    skipped.csv              image_id,reason

A part covers a fixed range of images, so a run that was cut short is resumed with the parts that are missing. Nothing
here needs a model or torch: tables can be made again from a run years later.
"""

import csv
import hashlib
import io
import json
import os
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attnlab import manifests
from attnlab.errors import UserError
from attnlab.files import alone_in, is_vacant, safe_cell, write_whole
from attnlab.record_files import Damaged, decode_part, encode_part, encode_piece, in_schema, read_pieces
from attnlab.schema import SCHEMAS

OWNER, NUMBER = b"attnlab_run", b"attnlab_part"  # in the metadata of a part: the run it belongs to, and its number


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it lies.
        schema: Of its records, for writing.
    """

    folder: Path
    schema: pa.Schema = field(default=None, repr=False, compare=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of run.json; see `read_manifest`."""
        return manifests.read_manifest(self.folder)

    def _repr_html_(self) -> str:
        """Table of command, images and state, for a notebook."""
        manifest = self.manifest
        shown = {
            "folder": self.folder,
            "command": manifests.command_of(manifest) or manifest["kind"],
            "images": manifest["options"]["images"],
            "finished": manifest["finished"] or "not yet: the same call resumes",
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in shown.items())
        return f"<table>{rows}</table>"

    def part(self, number: int) -> Path:
        """File of that part."""
        return self.folder / "records" / f"part-{number:05d}.parquet"

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json, whole or not at all, as of today's schema: `read_manifest` renames what older ones hold."""
        today = {**manifest, "schema": manifests.SCHEMA_VERSION}
        write_whole(self.folder / manifests.FILE, (json.dumps(today, indent=2) + "\n").encode())

    def write_part(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a part, whole or not at all; what was kept of it unfinished is not needed any more."""
        about = {OWNER: _owner(self.existing()), NUMBER: str(number).encode()}
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        write_whole(self.part(number), encode_part(table, about))
        self._unfinished(number).unlink(missing_ok=True)

    def append(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows of a part that is not whole yet, and note in run.json that its last session made some."""
        manifest = self.existing()
        session = (manifest.get("sessions") or [{"parts": [number]}])[-1]
        if number not in session["parts"]:
            session["parts"].append(number)
            self.write_manifest(manifest)
        with self._unfinished(number).open("ab") as file:
            file.write(encode_piece(pa.Table.from_pylist(list(rows), schema=self.schema)))

    def existing(self) -> dict[str, Any]:
        """The content of run.json, or a UserError if the folder in which this process works was removed."""
        if not (self.folder / manifests.FILE).exists():
            raise UserError(
                f"{self.folder} was removed while this command worked in it, and with it what was done; repeat the "
                "command to begin again"
            )
        return self.manifest

    def unfinished(self, number: int) -> list[dict[str, Any]]:
        """Rows kept of a part that is not whole yet; a last piece that was cut short is dropped from the file too."""
        path = self._unfinished(number)
        pieces = read_pieces(path)
        if pieces.damaged:
            warnings.warn(f"{path} is damaged behind its first {pieces.size} bytes; they are made again", stacklevel=2)
        if path.exists():
            os.truncate(path, pieces.size)
        manifest = self.manifest
        return [row for piece in pieces.tables for row in self._fitting(path, piece, manifest).to_pylist()]

    def _unfinished(self, number: int) -> Path:
        return self.part(number).with_suffix(".unfinished")

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The records so far, part by part, one row per image, skipped ones included; of all columns, or of some.

        Memory holds the part at hand, and a hash of each image's name.

        Raises:
            UserError: If there are none yet, or a part is damaged; the text names it and the way to make it again. In
                the end, if an image has several records.
        """
        manifest, hashes, empty = self.manifest, array("q"), True
        names = ["image_id", "model"] if manifest["kind"] == "evaluate" else ["image_id"]
        for table in self._tables(manifest, columns and list(dict.fromkeys([*columns, *names, "skipped"]))):
            empty = False
            hashes.extend(map(hash, _used(table, names)))
            yield table.select(columns) if columns else table
        if empty:
            raise UserError(f"{self.folder} holds no records yet")
        if len(np.unique(hashes)) < len(hashes):
            counts = Counter(image for table in self._tables(manifest, None) for image in _used(table, names))
            for (image_id, *_), count in counts.items():
                if count > 1:
                    raise UserError(f"{self.folder} is damaged: its records hold image {image_id!r} {count} times")

    def _tables(self, manifest: Mapping[str, Any], columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Tables of the parts, and of the pieces of those that are not whole."""
        parts = sorted((self.folder / "records").glob("part-*.parquet"))
        for part in parts:
            yield self._read_part(part, manifest, columns)
        for path in sorted((self.folder / "records").glob("part-*.unfinished")):
            if path.with_suffix(".parquet") not in parts:  # else the process ended before it could remove it
                for piece in read_pieces(path).tables:
                    yield self._fitting(path, piece, manifest, columns)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All `parts` together."""
        return pa.concat_tables(self.parts(columns))

    def image_ids(self, number: int) -> list[str]:
        """Names of the images of a part that is whole."""
        table = self._read_part(self.part(number), self.manifest, ["image_id"])
        return list(table["image_id"].to_pylist())

    def damaged(self, path: Path, reason: str) -> UserError:
        """Error for a damaged part: its name, and how to make it again."""
        command = manifests.command_of(self.manifest)
        again = f"repeat `{command}`" if command else "repeat the call that made the run"
        return UserError(f"{path} is a damaged part ({reason}); delete it and {again} to make its images again")

    def _read_part(self, path: Path, manifest: Mapping[str, Any], columns: Sequence[str] | None) -> pa.Table:
        try:
            table = decode_part(path, columns)
        except Damaged as error:
            raise self.damaged(path, str(error)) from None
        about, number = table.schema.metadata or {}, path.stem.rpartition("-")[2].lstrip("0") or "0"
        if about.get(OWNER, _owner(manifest)) != _owner(manifest):
            raise self.damaged(path, "it belongs to another run")
        if about.get(NUMBER, number.encode()) != number.encode():
            raise self.damaged(path, f"it is part {about[NUMBER].decode()} of the run")
        return self._fitting(path, table, manifest, columns)

    def _fitting(
        self, path: Path, table: pa.Table, manifest: Mapping[str, Any], columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The table in the columns of its kind of run; those that an older version did not have are empty."""
        try:
            return in_schema(table, SCHEMAS.get(manifest["kind"], self.schema), columns)
        except Damaged as error:
            raise self.damaged(path, str(error)) from None

    def begin_session(self, manifest: Mapping[str, Any]) -> None:
        """Note in run.json that a session adds records, with how many threads; warn where it differs from the first."""
        before = self.manifest
        manifests.tell_other_surroundings(self.folder, before, manifest)
        threads, device = manifest.get("threads"), manifest.get("device")
        session: dict[str, Any] = {"started": manifests.now(), "threads": threads, "device": device, "parts": []}
        self.write_manifest({**before, "sessions": [*before.get("sessions", []), session]})

    def write_skipped(self, listed: Sequence[tuple[str, str]]) -> None:
        """Write skipped.csv: names of images and why they could not be used."""
        content = io.StringIO(newline="")
        csv.writer(content).writerows([("image_id", "reason"), *(map(safe_cell, row) for row in listed)])
        write_whole(self.folder / "skipped.csv", content.getvalue().encode())

    def finish(self, seconds: float) -> None:
        """Note in run.json that all is there, and the seconds the last session took."""
        manifest = self.existing()
        if manifest["finished"] is None:
            self.write_manifest({**manifest, "finished": manifests.now(), "seconds": round(seconds, 1)})


@contextmanager
def opened(
    folder: Path, manifest: Mapping[str, Any], schema: pa.Schema, defaults: Mapping[str, Any] | None = None
) -> Iterator[Run]:
    """Open a run folder for this process alone, see `open_run`; a UserError if another process works in it."""
    if "\0" in str(folder):
        raise UserError(f"expected --out to be a path, got {str(folder)!r}")
    if not (folder / manifests.FILE).exists():
        if not is_vacant(folder):
            raise UserError(f"{folder} exists and is no run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        yield open_run(folder, manifest, schema, defaults)


def open_run(
    folder: Path, manifest: Mapping[str, Any], schema: pa.Schema, defaults: Mapping[str, Any] | None = None
) -> Run:
    """Make a run folder, or resume one that was made with the same options, see `check_same`.

    A manifest's "kind", "options", "data", "model" and batch sizes decide the results and must not differ.
    """
    run = Run(folder, schema)
    if (folder / manifests.FILE).exists():
        before = run.manifest
        if not any((folder / "records").glob("part-*")):  # nothing was computed yet
            before |= {key: manifest[key] for key in manifests.BATCHES if key in manifest}
        manifests.check_same(folder, before, manifest, defaults)
        if before != run.manifest:
            run.write_manifest(before)
    elif is_vacant(folder):
        run.write_manifest(
            {"schema": manifests.SCHEMA_VERSION, **manifest, "started": manifests.now(), "finished": None}
        )
    else:
        raise UserError(f"{folder} exists and is no run; choose another --out")
    (folder / "records").mkdir(exist_ok=True)
    return run


def _used(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Image, and model where there are several, of the rows that are not skipped."""
    used = table.select(names).filter(pc.is_null(table["skipped"]))
    return zip(*(column.to_pylist() for column in used.columns), strict=True)


def _owner(manifest: Mapping[str, Any]) -> bytes:
    """Hash that the parts of one run share and those of another do not."""
    options, data = manifest["options"], manifest["data"]
    own = [manifest["kind"], data.get("sha256"), data.get("used"), options.get("eps"), options.get("order")]
    own.append(list(options.get("attacks", {})))
    return hashlib.sha256(json.dumps(own).encode()).hexdigest()[:16].encode()
