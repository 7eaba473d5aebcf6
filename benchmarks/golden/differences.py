"""What of two folders, or of what two commands printed, differs: in numbers, or in words alone.

A number counts as changed where one that was recorded is missing; a new column, file or number beside the recorded ones
is told among the words. A column under a new name with all its values is a word too.
"""

import csv
import difflib
import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import load_file

from attnlab.record_files import in_schema
from attnlab.schema import ATTENTION, EVALUATION
from benchmarks.golden.texts import Page, described, mask, numbers_in

SHOWN = 4  # values or lines that are shown of each difference
LINES = 60  # lines of a unified diff that are shown

Columns = dict[str, list[Any]]


@dataclass
class Differences:
    """Lines for people: what changed in numbers, in words, and in what `--help` prints."""

    numbers: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    help: list[str] = field(default_factory=list)

    def of_folders(self, name: str, old: Path, new: Path, places: dict[str, str], only: Collection[str] = ()) -> None:
        """Compare the files of two folders, or those whose names end so."""
        before, now = ({str(path.relative_to(at)): path for path in _files(at, only)} for at in (old, new))
        for lost in sorted(before.keys() - now.keys()):
            self.numbers.append(f"{name}/{lost}: the file is missing")
        for added in sorted(now.keys() - before.keys()):
            self.words.append(f"{name}/{added}: a new file")
        for both in sorted(before.keys() & now.keys()):
            if before[both].read_bytes() != now[both].read_bytes():
                self.of_files(f"{name}/{both}", before[both], now[both], places)

    def of_files(self, name: str, old: Path, new: Path, places: dict[str, str]) -> None:
        """Compare two files by what their names say they hold."""
        kind = old.suffix
        if kind in COLUMNS:
            before, now = (COLUMNS[kind](path) for path in (old, new))
            self.of_columns(name, before, now)
            if kind == ".csv" and before == now:
                self.words.append(f"{name}: other bytes, the same columns and values")
        elif kind == ".png":
            self.of_pictures(name, old, new)
        elif kind != ".pdf":  # drawn as the PNG beside it
            before, now = (_text_of(path) for path in (old, new))
            self.of_texts(name, mask(before, places), mask(now, places), whole=kind == ".tex")

    def of_exit_code(self, name: str, old: int, new: int, errors: str) -> None:
        """Compare exit codes, and show what a command that ended otherwise told."""
        if old != new:
            self.numbers.append(f"{name}: exit code {old}, now {new}: {' / '.join(errors.splitlines()[-3:])}")

    def of_columns(self, name: str, old: Columns, new: Columns) -> None:
        """Compare tables given as columns."""
        added = [column for column in new if column not in old]
        for column, values in old.items():
            if column not in new:
                same = next((one for one in added if new[one] == values), None)
                if same is None:
                    self.numbers.append(f"{name}: column {column} is missing")
                else:
                    added.remove(same)
                    self.words.append(f"{name}: column {column} is called {same}")
            elif new[column] != values:
                self.numbers.append(f"{name}: {column}: {_changes(values, new[column])}")
        if added:
            self.words.append(f"{name}: new: {', '.join(added)}")

    def of_pictures(self, name: str, old: Path, new: Path) -> None:
        """Compare the pixels of two pictures; those below figures/ are words, for their data is compared too."""
        before, now = (np.asarray(Image.open(path).convert("RGBA")).astype(int) for path in (old, new))
        if before.shape != now.shape:
            told = f"{name}: {before.shape[1]} x {before.shape[0]} pixels, now {now.shape[1]} x {now.shape[0]}"
        elif (share := float((before != now).any(-1).mean())) > 0:
            told = f"{name}: {share:.2%} of the pixels differ"
        else:
            return
        drawn = any(part in ("figures", "models") for part in Path(name).parts)
        (self.words if drawn and "overlays" not in name else self.numbers).append(told)

    def of_texts(self, name: str, old: str, new: str, *, whole: bool = False, is_help: bool = False) -> None:
        """Compare two texts, masked, and the numbers in them: whole numbers too, or decimals alone."""
        if old == new:
            return
        before, now = (numbers_in(text, whole=whole) for text in (old, new))
        lost, found = list((before - now).elements()), list((now - before).elements())
        if lost and not is_help:
            self.numbers.append(f"{name}: gone: {_some(lost)}; new: {_some(found)}")
        diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "recorded", "now", lineterm="", n=1))
        left = [f"... {len(diff) - LINES} more lines"] if len(diff) > LINES else []
        told = "\n".join([f"{name}:", *(f"    {line[:200]}" for line in [*diff[:LINES], *left])])
        (self.help if is_help else self.words).append(told)

    def of_drawings(self, name: str, old: list[dict[str, list[str]]], new: list[dict[str, list[str]]]) -> None:
        """Compare what figures show: their arrays, their words."""
        before, now = ([one for drawing in drawings for one in drawing["arrays"]] for drawings in (old, new))
        lost, found = ([one for one in mine if one not in theirs] for mine, theirs in ((before, now), (now, before)))
        if lost:
            self.numbers.append(f"{name}, drawn: gone: {_some(lost)}; new: {_some(found)}")
        elif found:
            self.words.append(f"{name}, drawn: new: {_some(found)}")
        texts = ("\n".join(text for drawing in drawings for text in drawing["words"]) for drawings in (old, new))
        self.of_texts(f"{name}, words of figures", *texts)


def _files(folder: Path, only: Collection[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        lasting = path.is_file() and path.name != ".lock" and "__pycache__" not in path.parts
        if lasting and (not only or path.name.endswith(tuple(only))):
            yield path


def _text_of(path: Path) -> str:
    text = path.read_text(errors="replace")
    return described(text) if path.suffix == ".json" else Page(text).text if path.suffix == ".html" else text


def columns_of_parquet(path: Path) -> Columns:
    """A parquet file as columns of plain values; of nested ones a column for each field, lists laid flat."""
    table = pq.read_table(path)
    if path.parent.name == "records":  # of an older schema they are compared in today's form
        table = in_schema(table, EVALUATION if "attacks" in table.column_names else ATTENTION)
    columns: Columns = {}
    for column in table.column_names:
        for value in table[column].to_pylist():
            _lay_flat(column, value, columns)
    return columns


def _lay_flat(name: str, value: Any, columns: Columns) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _lay_flat(f"{name}.{key}", inner, columns)
    elif isinstance(value, list):
        columns.setdefault(f"{name} (numbers of values)", []).append(len(value))
        for inner in value:
            _lay_flat(name, inner, columns)
    else:
        columns.setdefault(name, []).append("nan" if value != value else value)


def _of_csv(path: Path) -> Columns:
    head, *rows = csv.reader(io.StringIO(path.read_text()))
    return {name: [row[place] for row in rows] for place, name in enumerate(head)}


def _of_lines(path: Path) -> Columns:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: [line.get(key) for line in lines] for line in lines for key in line}


def _of_tensors(path: Path) -> Columns:
    return {name: [*values.shape, *values.ravel().tolist()] for name, values in load_file(path).items()}


def _of_array(path: Path) -> Columns:
    values = np.load(path)
    return {"values": [str(values.dtype), *values.shape, *values.ravel().tolist()]}


#: how files of columns are read
COLUMNS = {
    ".parquet": columns_of_parquet,
    ".csv": _of_csv,
    ".jsonl": _of_lines,
    ".safetensors": _of_tensors,
    ".npy": _of_array,
}


def _changes(old: list[Any], new: list[Any]) -> str:
    """How many of a column's values changed, by how much at most, and the first of them."""
    if len(old) != len(new):
        return f"{len(old)} values, now {len(new)}"
    pairs = [(before, now) for before, now in zip(old, new, strict=True) if before != now]
    gaps = [gap for gap in map(_gap, pairs) if gap is not None]
    most = f", by {max(gaps):.3g} at most" if gaps else ""
    shown = "; ".join(f"{str(before)[:40]} -> {str(now)[:40]}" for before, now in pairs[:SHOWN])
    return f"{len(pairs)} of {len(old)} values changed{most}: {shown}"


def _gap(pair: tuple[Any, Any]) -> float | None:
    try:
        return abs(float(pair[0]) - float(pair[1]))
    except (TypeError, ValueError):
        return None


def _some(values: list[str]) -> str:
    return ", ".join(values[:SHOWN]) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "") or "nothing"
