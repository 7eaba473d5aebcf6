"""Run folders and a checkpoint of an earlier version (tests/golden) stay readable, resumable and repeatable.

They are made by commit 932233e, with the commands that their run.json and training.json name; they stay as they are.
Also here: what `python -m benchmarks.golden compare` tells of a change.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from shlex import split
from typing import Any

import numpy as np
import pytest
import torch
from pages import Tables
from safetensors.torch import load_file

from attnlab.manifests import SCHEMA_VERSION
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training.log import read_log
from benchmarks.golden.differences import Differences, columns_of_parquet
from benchmarks.golden.texts import printed

KEPT = Path(__file__).with_name("golden")
RUNS = ("analysis", "evaluation")
#: of records computed on another CPU, and of tables of the same records
DIGITS, ROUNDING = 1e-3, 1e-9


NEWER = ("margin", "pixels_sha256")  # columns that the version which made the kept folders did not have


@pytest.fixture
def kept(attnlab, tmp_path) -> Path:
    """A copy of the folders, which is also where commands run."""
    return shutil.copytree(KEPT, tmp_path, dirs_exist_ok=True)


def words_of(folder: Path, name: str = "run.json") -> list[str]:
    """The command that made a folder, word for word, without its program."""
    return split(json.loads((folder / name).read_text())["command"])[1:]


def assert_same_columns(mine: dict[str, list[Any]], theirs: dict[str, list[Any]], digits: float) -> None:
    """Every column that was kept is there: floats close, all else equal; bytes hold floats of another CPU."""
    for name, values in theirs.items():
        if name in NEWER and set(values) == {None}:
            continue
        if any(isinstance(value, float) for value in values):
            ours, kept = np.array(mine[name], float), np.array(values, float)
            np.testing.assert_allclose(ours, kept, rtol=digits, atol=digits, err_msg=name)
        elif not any(isinstance(value, bytes) for value in values):
            assert mine[name] == values, name


def assert_same_records(mine: Path, theirs: Path) -> None:
    parts = sorted(theirs.glob("records/*.parquet"))
    assert [path.name for path in sorted(mine.glob("records/*"))] == [path.name for path in parts]
    for part in parts:
        assert_same_columns(*(columns_of_parquet(run / "records" / part.name) for run in (mine, theirs)), DIGITS)


def cells_of(path: Path) -> Iterator[tuple[str, float]]:
    """Of each cell of a CSV table its text, or its number."""
    for text in path.read_text().replace("\n", ",").split(","):
        try:
            yield "", float(text)
        except ValueError:
            yield text, 0.0


def assert_same_tables(mine: Path, theirs: Path, digits: float) -> None:
    tables = sorted(path.name for path in theirs.glob("tables/*.csv"))
    assert tables
    for name in tables:
        ours, kept = ([*cells_of(run / "tables" / name)] for run in (mine, theirs))
        assert [text for text, _ in ours] == [text for text, _ in kept], name
        np.testing.assert_allclose([one for _, one in ours], [one for _, one in kept], rtol=digits, err_msg=name)


@pytest.mark.parametrize("name", RUNS)
def test_tables_of_a_kept_run_are_what_they_were(kept, attnlab, name):
    shutil.rmtree(kept / name / "tables")
    assert attnlab("tables", name).code == 0
    assert_same_tables(kept / name, KEPT / name, ROUNDING)


@pytest.mark.parametrize("name", RUNS)
def test_the_page_of_a_kept_run_has_its_tables_and_numbers(kept, attnlab, name):
    assert attnlab("report", name).code == 0
    tables = Tables((kept / name / "report.html").read_text()).tables
    assert {path.stem for path in KEPT.glob(f"{name}/tables/*.csv")} <= tables.keys()
    expected = {"analysis": ("table1", "0.522"), "evaluation": ("table6", "25.00")}[name]
    assert any(expected[1] in cell for row in tables[expected[0]] for cell in row)


def test_the_tables_and_the_page_of_a_kept_unfinished_run_say_how_many_images_it_has(kept, attnlab):
    done = attnlab("tables", "begun")
    assert "1 of 4 images recorded" in done.out
    assert attnlab("report", "begun", "--no-images").code == 0
    assert "1 of 4 images recorded" in (kept / "begun/report.html").read_text()


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_finished_run_is_not_computed_again_by_its_command(kept, attnlab, name):
    parts = {path: path.stat().st_mtime_ns for path in kept.glob(f"{name}/records/*")}
    assert attnlab(*words_of(kept / name)).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept.glob(f"{name}/records/*")} == parts


@pytest.mark.parametrize(
    ("file", "option", "other", "message"),
    [
        ("analysis/run.json", "precision", ("--precision", "bf16"), "(precision was 'fp32', is 'bf16')"),
        ("begun/run.json", "layout", ("--layout", "contiguous"), "(memory_format was 'folded', is 'contiguous'; "),
        ("evaluation/run.json", "stop", ("--stop",), "(stop was False, is True)"),
        ("training/training.json", "compiled", ("--compile",), "(compiled was False, is True)"),
        ("training/training.json", "optimizer", ("--optimizer", "sgd"), "(optimizer was 'adam', is 'sgd')"),
    ],
)
def test_a_kept_folder_from_before_an_option_is_resumed_with_its_default_alone(
    kept, attnlab, file, option, other, message
):
    path = kept / file
    manifest = json.loads(path.read_text())
    del manifest["options"][option]
    path.write_text(json.dumps(manifest))
    words = words_of(path.parent, path.name)
    assert message in attnlab(*words, *other).error
    assert attnlab(*words).code == 0


@pytest.mark.parametrize("name", RUNS)
def test_the_command_of_a_kept_run_makes_it_again(kept, attnlab, name):
    words = words_of(kept / name)
    shutil.rmtree(kept / name)
    assert attnlab(*words).code == 0
    assert_same_records(kept / name, KEPT / name)
    assert_same_tables(kept / name, KEPT / name, DIGITS)


@pytest.mark.parametrize("lost", [False, True])
def test_a_kept_unfinished_run_is_resumed_to_the_records_of_the_whole_one(kept, attnlab, lost):
    """Both an interrupted run and one that lost a part."""
    name = "analysis" if lost else "begun"
    if lost:
        (kept / "analysis/records/part-00000.parquet").unlink()
    assert attnlab(*words_of(kept / name)).code == 0
    assert_same_records(kept / name, KEPT / "analysis")
    written = json.loads((kept / name / "run.json").read_text())
    assert ("resize" in written["options"], written["schema"]) == (True, SCHEMA_VERSION)  # an older attnlab refuses it


def test_a_kept_interrupted_training_is_resumed_to_the_weights_of_the_whole_one(kept, attnlab):
    done = attnlab(*words_of(kept / "training", "training.json"))
    assert done.code == 0
    assert "epoch 1 of 2" not in done.err
    before = load_file(KEPT / "training/last" / WEIGHTS)
    for name in (WEIGHTS, f"last/{WEIGHTS}"):
        ours, whole = load_file(kept / "training" / name), load_file(KEPT / "trained" / name)
        assert ours.keys() == whole.keys()
        for tensor in whole:
            torch.testing.assert_close(ours[tensor], whole[tensor], rtol=DIGITS, atol=DIGITS, msg=tensor)
    assert max((ours[tensor] - before[tensor]).abs().max() for tensor in ours) > 10 * DIGITS  # it was trained on
    ours, whole = read_log(kept / "training/log.jsonl"), read_log(KEPT / "trained/log.jsonl")
    assert [line.keys() for line in ours] == [line.keys() for line in whole]
    for mine, theirs in zip(ours, whole, strict=True):
        np.testing.assert_allclose([*mine.values()], [*theirs.values()], rtol=DIGITS, atol=DIGITS)


def test_a_kept_checkpoint_is_evaluated_to_the_same_records(kept, attnlab):
    words = words_of(kept / "evaluation")
    assert (
        attnlab("evaluate", "--model", "trained", "--trust-code", *words[words.index("--limit") : -1], "again").code
        == 0
    )
    ours, both = (
        columns_of_parquet(run)
        for run in (Path("again/records/part-00000.parquet"), KEPT / "evaluation/records/part-00001.parquet")
    )
    assert set(both.pop("model")) == {"trained"}
    assert_same_columns(ours, both, DIGITS)


# ------------------------------------------------------------------ what a comparison tells


def test_a_changed_value_is_a_number_a_new_name_or_column_a_word():
    found = Differences()
    found.of_columns("a", {"iou": [0.5, 0.25], "n": [1, 2]}, {"iou": [0.5, 0.3], "count": [1, 2], "new": [None, None]})
    assert found.numbers == ["a: iou: 1 of 2 values changed, by 0.05 at most: 0.25 -> 0.3"]
    assert found.words == ["a: column n is called count", "a: new: new"]
    found.of_columns("b", {"iou": [0.5]}, {})
    assert found.numbers[1:] == ["b: column iou is missing"]


def test_a_number_that_is_gone_from_a_text_is_told_and_reworded_text_is_a_diff():
    found = Differences()
    found.of_texts("page", "mean IoU 0.50 of 3\n", "average IoU .5 of 4\n")
    assert found.numbers == []
    assert "    -mean IoU 0.50 of 3" in found.words[0]
    found.of_texts("page", "mean IoU 0.50\n", "mean IoU 0.51\n")
    assert found.numbers == ["page: gone: 0.5; new: 0.51"]
    found.of_texts("table", "n 3\n", "n 4\n", whole=True)
    assert found.numbers[1:] == ["table: gone: 3; new: 4"]


def test_folders_differ_in_files_that_are_missing_or_of_another_number(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, value in ((old, 1.0), (new, 2.0)):
        folder.mkdir()
        (folder / "table.csv").write_text(f"iou\n{value}\n")
    (old / "figure.png").touch()
    (new / "more.txt").touch()
    found = Differences()
    found.of_folders("run", old, new, {})
    assert found.numbers == [
        "run/figure.png: the file is missing",
        "run/table.csv: iou: 1 of 1 values changed, by 1 at most: 1.0 -> 2.0",
    ]
    assert found.words == ["run/more.txt: a new file"]


def test_times_speeds_and_places_are_masked():
    text = (
        "4 of 8 images, 1.2 images/s, 0:00:03 left\nran /a/b at 2026-11-29T06:28:23+00:00, torch 2.13.0+cpu, 3.5 MB\n"
    )
    assert printed(text, {"/a/b": "WORK"}) == "ran WORK at TIME, torch VERSION, SIZE\n"
