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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from attnlab.errors import UserError

SCHEMA_VERSION = 1
#: what closes an Arrow stream
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

#: a LIME explanation
LIME = pa.struct(
    {
        "class": pa.int32(),
        "samples": pa.int32(),
        "segments": pa.binary(),  # zlib of the superpixel of each pixel, uint16, row by row
        "weights": pa.list_(pa.float64()),  # of each superpixel
    }
)

#: what an attack of one eps did to one image
ADVERSARIAL = pa.struct(
    {
        "prediction": pa.int32(),
        "confidence": pa.float32(),  # softmax probability of the label
        "iou_att_gt": pa.float64(),  # null: no box or constant map
        "shared_cells": pa.list_(pa.int32()),  # of the k highest cells of both maps, k = 1 ...; null: constant map
        "map": pa.list_(pa.float32()),
        "lime": LIME,
    }
)

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "skipped": pa.string(),  # the reason; all that follows is null then
        "label": pa.int32(),
        "prediction": pa.int32(),
        "confidence": pa.float32(),  # softmax probability of the label
        "boxes": pa.list_(pa.list_(pa.float32())),  # half-open pixels at the model's size
        "dropped_boxes": pa.int32(),
        "box_share": pa.float32(),  # of the boxes' area, what the geometry left in the frame; null: no box
        "iou_att_gt": pa.float64(),  # null: no box or constant map
        "map": pa.list_(pa.float32()),  # signed, row by row
        "lime": LIME,
        "lime_again": LIME,  # from a second seed
        "adversarial": pa.list_(ADVERSARIAL),  # one per eps, in the manifest's order
    },
    metadata={"attnlab_schema": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

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
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), sink, compression="zstd")
        write_whole(self.part(number), sink.getvalue())
        self._unfinished(number).unlink(missing_ok=True)

    def append(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows of a part that is not whole yet."""
        with self._unfinished(number).open("ab") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA))

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

    def write_skipped(self) -> int:
        """Write skipped.csv from the records; returns the number of images in it.

        An image without a usable box is listed too: it has a record, but no IoU with boxes.
        """
        rows = self.table(["image_id", "skipped", "dropped_boxes", "box_share"]).to_pylist()
        has_boxes = self.manifest["data"]["has_boxes"]
        listed = []
        for row in rows:
            if row["skipped"] is not None:
                listed.append((row["image_id"], row["skipped"]))
            elif has_boxes and not row["box_share"]:
                cause = "empty, inverted or outside the image" if row["dropped_boxes"] else "none given"
                cause = "cut away by the geometry" if row["box_share"] == 0 else cause
                listed.append((row["image_id"], f"no usable box ({cause}); recorded, but left out of the tables"))
        with (self.folder / "skipped.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image_id", "reason"), *listed])
        return len(listed)


def open_run(folder: Path, manifest: Mapping[str, Any]) -> Run:
    """Make a run folder, or go on with one that was made with the same options.

    Args:
        folder: Where.
        manifest: What the run is; its "options", "data" and "model" decide the results and must not differ.

    Raises:
        UserError: If the folder holds a run with other options (the text says which), or something else.
    """
    run = Run(folder)
    if (folder / "run.json").exists():
        before = run.manifest
        different = [
            f"{name}{key} was {_short(old.get(key))}, is {_short(new.get(key))}"
            for section, name in (("options", ""), ("data", "data "), ("model", "model "))
            for old, new in [(before.get(section, {}), json.loads(json.dumps(manifest[section])))]
            for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)
        ]
        if different:
            raise UserError(f"{folder} holds a run with other options ({'; '.join(different)}); choose another --out")
        return run
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no run; choose another --out")
    (folder / "records").mkdir(parents=True, exist_ok=True)
    run.write_manifest({"schema": SCHEMA_VERSION, **manifest, "started": now(), "finished": None})
    return run


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_records(folder: Path | str) -> pd.DataFrame:
    """Records of a run for pandas: one row per image and eps, skipped images left out.

    Columns: image_id, label, prediction, confidence, boxes, dropped_boxes, box_share, iou_att_gt, map, lime,
    lime_again, then eps and what the attack of that eps did: adv_prediction, adv_confidence, adv_iou_att_gt,
    shared_cells, adv_map, adv_lime. What the run did not compute is null.

    Raises:
        UserError: If the folder holds no readable records.
    """
    run = Run(Path(folder))
    budgets = run.manifest["options"]["eps"]
    table = run.table()
    table = table.filter(pc.is_null(table["skipped"])).drop_columns(["skipped"]).combine_chunks()
    attacked = table["adversarial"]
    frame: pd.DataFrame = table.drop_columns(["adversarial"]).take(pc.list_parent_indices(attacked)).to_pandas()
    frame["eps"] = budgets * len(table)
    inner = pc.list_flatten(attacked).combine_chunks()
    for name in ADVERSARIAL.names:
        column = name if name == "shared_cells" else f"adv_{name}"
        frame[column] = pc.struct_field(inner, name).to_pandas()
    return frame


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


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
