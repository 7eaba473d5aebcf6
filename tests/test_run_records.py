"""Records of a run as they are read: its unfinished pieces, names of one hash, and what is left when it is finished."""

import builtins
import warnings

import pytest
from common import begun_run, pieces_of

from attnlab import runs
from attnlab.runs import SESSIONS, Run

ROWS = [{"image_id": f"image {number}", "skipped": "cannot be decoded"} for number in range(2)]


def names_in(run: Run) -> list[str]:
    return [name for table in run.parts() for name in table["image_id"].to_pylist()]


def test_a_damaged_piece_is_told_to_who_makes_it_again_alone(tmp_path):
    run = begun_run(tmp_path / "run")
    for row in ROWS:
        run.append(0, [row])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names_in(run) == [row["image_id"] for row in run.unfinished(0)] == ["image 0", "image 1"]
        path = pieces_of(run.folder)
        content = bytearray(path.read_bytes())
        content[-40] ^= 1
        path.write_bytes(content)
        assert names_in(run) == ["image 0"]
    with pytest.warns(UserWarning, match="is damaged behind its first"):
        run.unfinished(0)


def test_two_names_of_one_hash_are_two_images(tmp_path, monkeypatch):
    run = begun_run(tmp_path / "run")
    run.write_part(0, [{"image_id": row["image_id"], "label": 0, "prediction": 0} for row in ROWS])
    monkeypatch.setattr(runs, "hash", lambda name: builtins.hash(name) and 7, raising=False)
    monkeypatch.setattr(runs.record_files, "warn_of_lost", lambda *_: None)  # which counts hashes
    assert names_in(run) == ["image 0", "image 1"]


def test_of_a_finished_run_nothing_is_left_that_only_its_making_needed(tmp_path):
    run = begun_run(tmp_path / "run")
    run.begin_session({**run.manifest, "threads": 1, "device": "cpu"})
    run.append(0, ROWS[:1])
    assert len(list((run.folder / SESSIONS).iterdir())) == 1
    run.write_part(0, ROWS)
    run.finish(1.0)
    assert sorted(path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*")) == [
        "records",
        "records/part-00000.parquet",
        "run.json",
    ]
    assert [session["parts"] for session in run.manifest["sessions"]] == [[0]]
