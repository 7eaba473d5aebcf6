"""A run folder in which several processes are at work: what each may do, and what none may lose."""

import os
import threading
from pathlib import Path

import pytest
from common import begun_run, error_of
from processes import ANALYZE

from attnlab import files
from attnlab.config import AnalyzeConfig
from attnlab.files import alone_in, create_whole
from attnlab.pipelines.analyze import analyze, open_analysis
from attnlab.run_opening import open_run
from attnlab.runs import Run
from attnlab.schema import ATTENTION
from attnlab.shards import Shard


def test_of_many_that_make_a_run_at_once_all_have_it(tmp_path):
    for attempt in range(20):
        folder, errors = tmp_path / str(attempt), []
        start = threading.Barrier(4)

        def make(folder=folder, start=start, errors=errors):
            start.wait()
            try:
                begun_run(folder, alone=False)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert Run(folder).manifest["finished"] is None
        assert {path.name for path in folder.iterdir()} == {"run.json", "records"}


def test_a_file_is_created_by_the_first_alone_with_and_without_links(tmp_path, monkeypatch):
    assert create_whole(tmp_path / "a", b"first")
    assert not create_whole(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"

    def none(*_: object) -> None:
        raise OSError(files.WITHOUT_LINKS[1], "no links here")

    monkeypatch.setattr(os, "link", none)
    assert create_whole(tmp_path / "b", b"first")
    assert not create_whole(tmp_path / "b", b"second")
    assert (tmp_path / "b").read_bytes() == b"first"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_pieces_of_two_processes_of_one_part_are_kept_apart(tmp_path):
    """As where the same shard runs on two hosts whose locks do not see each other."""
    begun_run(tmp_path)
    first, second = (Run(tmp_path, ATTENTION) for _ in range(2))
    first.append(0, [{"image_id": "a", "skipped": "why"}])
    second.append(0, [{"image_id": "a", "skipped": "why"}, {"image_id": "b", "skipped": "why"}])
    first.append(0, [{"image_id": "c", "skipped": "why"}])
    assert sorted(row["image_id"] for row in Run(tmp_path).unfinished(0)) == ["a", "b", "c"]
    assert sorted(Run(tmp_path).table()["image_id"].to_pylist()) == ["a", "b", "c"]
    rows = [{"image_id": name, "skipped": "why"} for name in "abc"]
    for run in (first, second):
        run.write_part(0, rows)
        assert [path.name for path in (tmp_path / "records").iterdir()] == ["part-00000.parquet"]


def test_a_file_is_written_though_another_process_removes_its_temporary_name(tmp_path, monkeypatch):
    """As where two processes make the same last part, and one of them clears up."""
    real, removed = os.fsync, []

    def clearing(descriptor: int) -> None:
        real(descriptor)
        if len(removed) < files.ATTEMPTS - 1:
            removed.extend(tmp_path.glob(".*.tmp"))
            removed[-1].unlink()

    monkeypatch.setattr(os, "fsync", clearing)
    files.write_whole(tmp_path / "a", b"content")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"content"]
    assert len(removed) == files.ATTEMPTS - 1


def test_a_session_that_another_process_notes_and_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    run, real = begun_run(tmp_path), Path.read_text

    def late(path: Path, **options: str) -> str:
        if path.parent.name == "sessions":
            path.unlink()
        return real(path, **options)

    monkeypatch.setattr(Path, "read_text", late)
    for act in (lambda: run.append(0, [{"image_id": "a", "skipped": "why"}]), lambda: run.finish(1.0)):
        run.begin_session({})
        act()
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "records"}


def test_shards_hold_locks_of_their_own_and_refuse_the_plain_command(attnlab, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.0)
    out = tmp_path / "r"
    out.mkdir()
    with alone_in(out, Shard(0, 2)):
        same = attnlab(*ANALYZE, "--out", out, "--shard", "1/2")
        assert same.error == f"another process works in {out} on shard 1/2; wait for its end, or choose another --out"
        assert attnlab(*ANALYZE, "--out", out).error.startswith(f"another process works in {out};")
        assert attnlab(*ANALYZE, "--out", out, "--shard", "2/2").code == 0
    with alone_in(out):
        assert attnlab(*ANALYZE, "--out", out, "--shard", "1/2").error.startswith(f"another process works in {out};")
    assert attnlab(*ANALYZE, "--out", out, "--shard", "1/2").code == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("threads", 77, "threads was 77, is"), ("versions", {"torch": "1.0"}, "versions torch was '1.0'")],
)
def test_shards_in_other_surroundings_are_refused(attnlab, tmp_path, name, value, words):
    out = tmp_path / "r"
    assert attnlab(*ANALYZE, "--out", out, "--shard", "1/2").code == 0
    run = Run(out)
    run.write_manifest(run.manifest | {name: value})
    error = attnlab(*ANALYZE, "--out", out, "--shard", "2/2").error
    assert error.startswith(f"expected all shards of {out} in the same surroundings, got others: ")
    assert words in error
    done = attnlab(*ANALYZE, "--out", out)
    assert done.code == 0
    assert "was begun in other surroundings" in done.err


def test_a_shard_takes_the_batch_sizes_that_another_one_chose(tmp_path, resnet8):
    """As where both begin at once and measure different LIME batches; a size that is asked for is refused."""
    words = {"limit": 4, "part_size": 2, "method": "lime", "lime_samples": 10, "lime_superpixels": "slic", "workers": 0}
    jobs = [
        open_analysis(AnalyzeConfig.of(**words, shard=f"{number}/2", out=tmp_path, device="cpu")) for number in (1, 2)
    ]
    first = Run(tmp_path)
    manifest = jobs[0].manifest() | {"lime_batch_size": 3, "batch_size": 1}
    open_run(tmp_path, manifest, ATTENTION, alone=False)
    for job in jobs:
        job.run()
    assert (first.manifest["lime_batch_size"], first.manifest["batch_size"]) == (3, 1)
    assert first.manifest["finished"]
    config = AnalyzeConfig.of(**words, shard="1/2", out=tmp_path, device="cpu", batch_size=2)
    assert "batch_size was 1, is 2" in error_of(analyze, config)
