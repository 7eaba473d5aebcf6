"""A run on disk: what was asked for, one record per image, what could not be used.

    run.json                 the manifest
    records/part-00000.parquet ...   one row per image, in the data set's order; written whole or not at all
    records/part-00001.WORKER.unfinished   the rows so far of a part, by the process that computes it
    sessions/WORKER.json     threads, device and parts of a process, until the run is whole; then in run.json
    skipped.csv              image_id,reason

A part covers a fixed range of images, so a run that was cut short is resumed with the parts that are missing, and
several processes share them: each writes files of its own, and parts that are whole. Nothing here needs a model or
torch: tables can be made again from a run years later.
"""

import csv
import hashlib
import io
import json
import platform
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from attnlab import manifests, record_files
from attnlab.errors import UserError
from attnlab.files import create_whole, safe_cell, write_whole
from attnlab.record_files import Damaged, decode_part, encode_part, encode_piece, in_schema, read_pieces
from attnlab.schema import SCHEMAS
from attnlab.shards import WHOLE, Shard

SESSIONS = "sessions"  # folder of what each process notes of itself
#: what killed processes leave, of no use once all parts are whole; `write_whole` bears that a living one's is removed
LEFTOVERS = (
    "records/*.unfinished",
    "records/.*.tmp",
    f"{SESSIONS}/.*.tmp",
    "tables/.*.tmp",
    ".*.json.*.tmp",
    ".*.csv.*.tmp",
)
OWNER, NUMBER = b"attnlab_run", b"attnlab_part"  # in the metadata of a part: the run it belongs to, and its number


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: Where it lies.
        schema: Of its records, for writing.
        worker: Name of the process that writes, in names of files that are its own.
    """

    folder: Path
    schema: pa.Schema = field(default=None, repr=False, compare=False)
    worker: str = field(default_factory=lambda: uuid4().hex[:12], repr=False, compare=False)

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

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Write the first run.json of a folder; False where another process was the first to do so."""
        first = {**manifest, "started": manifests.now(), "finished": None}
        return create_whole(self.folder / manifests.FILE, _encoded(first))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write run.json, whole or not at all, as of today's schema: `read_manifest` renames what older ones hold."""
        write_whole(self.folder / manifests.FILE, _encoded(manifest))

    def write_part(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of a part, whole or not at all; what was kept of it unfinished is not needed any more."""
        about = {OWNER: _owner(self.existing()), NUMBER: str(number).encode()}
        table = pa.Table.from_pylist(list(rows), schema=self.schema)
        write_whole(self.part(number), encode_part(table, about))
        for path in self._unfinished(number):
            path.unlink(missing_ok=True)

    def append(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows of a part that is not whole yet, in a file of this process, and note in its session that it did."""
        if not (self.folder / manifests.FILE).exists():
            self.existing()
        pieces = self.part(number).with_suffix(f".{self.worker}.unfinished")
        if not pieces.exists():
            self._note(number)
        with pieces.open("ab") as file:
            file.write(encode_piece(pa.Table.from_pylist(list(rows), schema=self.schema)))

    def _note(self, number: int) -> None:
        """Note in this process's session that it makes a part."""
        with suppress(FileNotFoundError):  # none was begun, or another process found all parts whole and removed it
            noted = json.loads(self._session.read_text(encoding="utf-8"))
            if number not in noted["parts"]:
                write_whole(self._session, json.dumps({**noted, "parts": [*noted["parts"], number]}).encode())

    def existing(self) -> dict[str, Any]:
        """The content of run.json, or a UserError if the folder in which this process works was removed."""
        if not (self.folder / manifests.FILE).exists():
            raise UserError(
                f"{self.folder} was removed while this command worked in it, and with it what was done; repeat the "
                "command to begin again"
            )
        return self.manifest

    def unfinished(self, number: int) -> list[dict[str, Any]]:
        """Rows that any process kept of a part that is not whole yet; a warning names what is damaged."""
        return [row for table in self._kept(number, self.manifest, tell=True) for row in table.to_pylist()]

    def _kept(
        self, number: int, manifest: Mapping[str, Any], columns: Sequence[str] | None = None, *, tell: bool = False
    ) -> Iterator[pa.Table]:
        """Pieces that processes kept of a part, each up to the first that was cut short, an image's row once."""
        seen: set[str] = set()
        for path in self._unfinished(number):
            pieces = read_pieces(path)
            if pieces.damaged and tell:
                what = f"{path} is damaged behind its first {pieces.size} bytes; they are made again"
                warnings.warn(what, stacklevel=3)
            for piece in pieces.tables:
                image_ids = self._fitting(path, piece, manifest, ["image_id"])["image_id"].to_pylist()
                new = pa.array([image_id not in seen for image_id in image_ids], pa.bool_())
                seen.update(image_ids)
                yield self._fitting(path, piece.filter(new), manifest, columns)

    def _unfinished(self, number: int) -> list[Path]:
        """Files of what processes, also of older versions, kept of a part."""
        return sorted(self.part(number).parent.glob(f"{self.part(number).stem}.*unfinished"))

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The records so far, part by part, one row per image, skipped ones included; of all columns, or of some.

        Memory holds the part at hand, and a hash of each image's name.

        Raises:
            UserError: If there are none yet, or a part is damaged; the text names it and the way to make it again. In
                the end, if an image has several records.
        """
        manifest, hashes, listed = self.manifest, array("q"), array("q")
        names = ["image_id", "model"] if manifest["kind"] == "evaluate" else ["image_id"]
        for table in self._tables(manifest, columns and list(dict.fromkeys([*columns, *names, "skipped"]))):
            hashes.extend(map(hash, _used(table, names)))
            listed.extend(map(hash, table["image_id"].to_pylist()))  # skipped images too
            yield table.select(columns) if columns else table
        if not listed:
            raise UserError(f"{self.folder} holds no records yet")
        if len(np.unique(hashes)) < len(hashes):
            counts = Counter(image for table in self._tables(manifest, None) for image in _used(table, names))
            (image_id, *_), count = counts.most_common(1)[0]
            if count > 1:  # else two names of one hash
                raise UserError(f"{self.folder} is damaged: its records hold image {image_id!r} {count} times")
        record_files.warn_of_lost(self.folder, manifest, len(np.unique(listed)), manifests.command_of(manifest))

    def _tables(self, manifest: Mapping[str, Any], columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """Tables of the parts, and of the pieces of those that are not whole."""
        parts = sorted((self.folder / "records").glob("part-*.parquet"))
        for part in parts:
            yield self._read_part(part, manifest, columns)
        begun = {path.name.partition(".")[0] for path in (self.folder / "records").glob("part-*.*unfinished")}
        for name in sorted(begun - {part.stem for part in parts}):  # a part may be whole and its pieces still there
            yield from self._kept(int(name.removeprefix("part-")), manifest, columns)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All `parts` together."""
        return pa.concat_tables(self.parts(columns))

    def image_ids(self, number: int) -> list[str]:
        """Names of the images of a part that is whole."""
        return [row["image_id"] for row in self.rows(number, ["image_id"])]

    def rows(self, number: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Records of a part that is whole."""
        return list(self._read_part(self.part(number), self.manifest, columns).to_pylist())

    def damaged(self, path: Path, reason: str) -> UserError:
        """Error for a damaged part: its name, and how to make it again."""
        todo = record_files.again(manifests.command_of(self.manifest))
        return UserError(f"{path} is a damaged part ({reason}); delete it and {todo} to make its images again")

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

    @property
    def _session(self) -> Path:
        return self.folder / SESSIONS / f"{self.worker}.json"

    def begin_session(self, manifest: Mapping[str, Any], shard: Shard = WHOLE) -> None:
        """Note that this process adds records, with how many threads.

        Warn where its surroundings differ from the first one's; of several shards, which add to one run at the same
        time, refuse other versions and threads.
        """
        before = self.manifest
        if not shard.whole and (other := manifests.refused_surroundings(before, manifest)):
            raise UserError(
                f"expected all shards of {self.folder} in the same surroundings, got others: {'; '.join(other)}; the "
                "same command without shards goes on after a warning"
            )
        manifests.tell_other_surroundings(self.folder, before, manifest)
        about = {"threads": manifest.get("threads"), "device": manifest.get("device"), "host": platform.node()}
        session: dict[str, Any] = {"started": manifests.now(), "worker": self.worker, **about, "parts": []}
        write_whole(self._session, json.dumps(session).encode())

    def write_skipped(self, listed: Sequence[tuple[str, str]]) -> None:
        """Write skipped.csv: names of images and why they could not be used."""
        content = io.StringIO(newline="")
        csv.writer(content).writerows([("image_id", "reason"), *(map(safe_cell, row) for row in listed)])
        write_whole(self.folder / "skipped.csv", content.getvalue().encode())

    def finish(self, seconds: float) -> None:
        """Note in run.json that all is there, the seconds the last session took, and what each session did.

        What killed processes left is removed. Several processes may do so at the same time.
        """
        files = self._found(f"{SESSIONS}/*.json")
        sessions = []
        for path in files:
            with suppress(FileNotFoundError):  # another process has noted it
                sessions.append(json.loads(path.read_text(encoding="utf-8")))
        manifest = self.existing()  # read behind the sessions: who removes them has noted them in it
        noted = manifest.get("sessions", [])
        known = {session.get("worker") for session in noted}
        new = [session for session in sessions if session["parts"] and session["worker"] not in known]
        if manifest["finished"] is None or new:
            whole = {"finished": manifests.now(), "seconds": round(seconds, 1)} if manifest["finished"] is None else {}
            new.sort(key=lambda session: str(session["started"]))
            self.write_manifest({**manifest, "sessions": [*noted, *new], **whole})
        for path in chain(files, *map(self._found, LEFTOVERS)):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            (self.folder / SESSIONS).rmdir()

    def _found(self, pattern: str) -> list[Path]:
        """Files of that pattern; none where another process removes their folder meanwhile."""
        with suppress(FileNotFoundError):
            return sorted(self.folder.glob(pattern))
        return []


def _encoded(manifest: Mapping[str, Any]) -> bytes:
    today = {"schema": manifests.SCHEMA_VERSION}
    return (json.dumps({**today, **manifest, **today}, indent=2) + "\n").encode()


def _used(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Image, and model where there are several, of the rows that are not skipped."""
    used = table.select(names).filter(pc.is_null(table["skipped"]))
    return zip(*(column.to_pylist() for column in used.columns), strict=True)


def _owner(manifest: Mapping[str, Any]) -> bytes:
    """Hash that the parts of one run share and those of another do not."""
    options, data = manifest["options"], manifest["data"]
    own = [manifest["kind"], data.get("sha256"), data.get("used"), options.get("eps"), options.get("order")]
    return hashlib.sha256(json.dumps([*own, list(options.get("attacks", {}))]).encode()).hexdigest()[:16].encode()
