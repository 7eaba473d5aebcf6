"""An analysis that is killed or interrupted, and resumed."""

import json
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from common import analyze_images, pieces_of
from processes import start

from attnlab.attacks import Attack
from attnlab.data import load_dataset
from attnlab.errors import UserError
from attnlab.manifests import check_same
from attnlab.pipelines.pending_parts import PendingParts
from attnlab.records import read_records
from attnlab.report.tables.export import write_tables
from attnlab.runs import Run


def files_of(out: Path) -> dict[str, bytes]:
    kept = [*out.glob("records/*"), *out.glob("tables/*"), out / "skipped.csv"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in kept}


#: `attnlab`, killed as soon as an image of the second part is kept
KILLED = """
import os, signal
from attnlab.runs import Run

keep = Run.append

def keep_and_die(run, number, rows):
    keep(run, number, rows)
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)

Run.append = keep_and_die
"""


def test_a_run_that_is_killed_and_resumed_is_byte_equal_to_an_uninterrupted_one(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def attnlab(code: str, out: Path) -> int:
        options = ("--batch-size", 8, "--part-size", 16, "--limit", 40, "--out", out)
        return start("analyze", *options, code=code).wait()

    assert attnlab(KILLED, killed) == -signal.SIGKILL
    assert {path.name for path in (killed / "records").iterdir()} == {"part-00000.parquet", pieces_of(killed, 1).name}
    assert [attnlab("", out) for out in (killed, whole)] == [0, 0]
    assert files_of(killed) == files_of(whole)
    assert len(list((whole / "records").iterdir())) == 3
    tables = {path.stem for path in (whole / "tables").iterdir()}
    assert tables >= {"table1", "table2", "table3"}
    assert len(files_of(whole)) == 3 + 2 * len(tables) + 1


def test_batches_that_are_known_whole_are_not_needed_again(tmp_path):
    missing, row = {0: [0, 1, 2, 3], 1: [4, 5], 2: [6, 7]}, {"image_id": "a"}
    known = {0: {0: row, 1: row}, 1: {4: row}, 2: {}}
    assert PendingParts(Run(tmp_path), missing, known, []).batches(2) == [[2, 3], [4, 5], [6, 7]]
    assert PendingParts(Run(tmp_path), missing, known, []).finished == {0, 1, 4}


def test_an_interrupted_run_keeps_its_parts_and_says_how_to_go_on(tmp_path, resnet8):
    calls = []

    def interrupt(count):
        calls.append(count)
        if len(calls) == 4:
            raise KeyboardInterrupt

    images, out = load_dataset("scenes"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        analyze_images(resnet8, images, out, batch_size=8, part_size=16, positions=range(64), progress=interrupt)
    assert {path.name for path in (out / "records").iterdir()} == {"part-00000.parquet", pieces_of(out, 1).name}
    assert Run(out).manifest["finished"] is None
    report = report_run_of(out)
    assert any("unfinished" in line for line in report.summary)
    assert len(read_records(out)) == 24, "those of the part at hand can be looked at too"
    seen = []
    analyze_images(resnet8, images, out, batch_size=8, part_size=16, positions=range(64), progress=seen.append)
    assert seen[0] == 24, "what was done before is counted as done"
    assert [path.name for path in (out / "records").glob("*.unfinished")] == []
    assert len(read_records(out)) == 64
    assert Run(out).manifest["finished"] is not None


def report_run_of(out: Path):
    """A report of a run that was made without the command line's names."""
    manifest = json.loads((out / "run.json").read_text())
    manifest["options"] |= {"data": "scenes", "split": "val", "model": "resnet8", "weights": "default"}
    manifest["options"] |= {"attack_name": "stepll"}
    copy = out.with_name("copy")
    shutil.copytree(out, copy)
    (copy / "run.json").write_text(json.dumps(manifest))
    return write_tables(copy)


def test_a_run_from_before_there_were_step_rules_is_one_by_the_sign(tmp_path):
    told_by = {"kind": "analyze", "options": {"attack": {"objective": "margin"}, "other": {}}}
    asked = {"kind": "analyze", "options": {"attack": {"objective": "margin", "rule": "sign"}, "other": {}}}
    check_same(tmp_path, told_by, asked, {"attack": asdict(Attack())})
    asked["options"]["attack"]["rule"] = "momentum"
    with pytest.raises(UserError, match=r"other options \(attack rule was 'sign', is 'momentum'\); choose"):
        check_same(tmp_path, told_by, asked, {"attack": asdict(Attack())})


def test_a_folder_of_another_run_is_refused_and_the_difference_named(run, resnet8):
    with pytest.raises(UserError, match=r"eps was .*, is \[0\.5\].*--out"):
        analyze_images(resnet8, load_dataset("scenes"), run, eps=(0.5,), positions=range(200))


def test_the_size_of_parts_changes_no_record_and_stands_in_the_manifest(tmp_path, resnet8):
    images = load_dataset("scenes")
    for size in (8, 16, 256):
        analyze_images(resnet8, images, tmp_path / str(size), batch_size=8, part_size=size, positions=range(40))
        assert Run(tmp_path / str(size)).manifest["options"]["part_size"] == size
    parts = [len(list((tmp_path / size / "records").iterdir())) for size in ("8", "16", "256")]
    assert parts == [5, 3, 1]
    whole = Run(tmp_path / "256").table()
    assert all(Run(tmp_path / size).table().equals(whole) for size in ("8", "16"))


def test_a_run_from_before_there_was_a_size_of_parts_has_those_of_256(tmp_path, resnet8):
    images, out = load_dataset("scenes"), tmp_path / "run"
    analyze_images(resnet8, images, out, positions=range(2))
    manifest = Run(out).manifest
    del manifest["options"]["part_size"]
    Run(out).write_manifest(manifest)
    analyze_images(resnet8, images, out, positions=range(2))
    with pytest.raises(UserError, match=r"part_size was 256, is 1\b"):
        analyze_images(resnet8, images, out, positions=range(2), part_size=1)
