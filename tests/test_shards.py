"""Shards of a run: who computes which parts, at the same time or not, and that it makes no difference."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import error_of, pieces_of
from processes import ANALYZE, ended, start

from attnlab.config import EvaluateConfig
from attnlab.pipelines import hardware
from attnlab.pipelines.evaluate import open_evaluation
from attnlab.records import read_records
from attnlab.runs import Run
from attnlab.shards import Shard, own_shard, parse_shard

EVALUATE = ("evaluate", "--limit", "10", "--part-size", "4", "--workers", "0", "--attacks", "clean,pgd2")


def made(folder: Path) -> dict[str, bytes]:
    """Everything that a run's readers see but run.json, which holds times."""
    kept = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.name != "run.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Runs of one process."""
    folder = tmp_path_factory.mktemp("whole")
    for words in (ANALYZE, EVALUATE):
        ended(start(*words, "--out", folder / words[0]))
    return folder


# ------------------------------------------------------------------ which parts are whose


def test_shards_share_every_part_once():
    for count in (1, 2, 3, 7):
        takers = [[number for number in range(count) if Shard(number, count).takes(part)] for part in range(20)]
        assert all(len(of_part) == 1 for of_part in takers)


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "1/0", "a/b", "-1/2", "1/2/3", "", "1/999999", "¹/2"])
def test_what_is_no_shard_is_refused(text, attnlab):
    assert error_of(parse_shard, text).startswith("expected --shard i/n with 1 <= i <= n")
    assert attnlab("analyze", "--shard", text).error.startswith("expected --shard i/n with 1 <= i <= n, such as 2/8")


ARRAY = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10"}


@pytest.mark.parametrize(
    ("given", "environment", "shard"),
    [
        (None, {}, "1/1"),
        ("2/8", {}, "2/8"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_STEP": "2"}, "3/4"),
        ("2/8", ARRAY, "2/8"),
        (None, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "3"}, "1/1"),
        (None, {"RANK": "1", "WORLD_SIZE": "2"}, "2/2"),
        ("3/4", {"RANK": "1", "WORLD_SIZE": "2"}, "6/8"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_STEP": "2", "RANK": "0", "WORLD_SIZE": "2"}, "5/8"),
    ],
)
def test_the_shard_is_said_by_hand_or_by_slurm_and_torchrun_divides_it(given, environment, shard):
    found, said = own_shard(given and parse_shard(given), environment)
    assert str(found) == shard
    assert bool(said) == (shard != "1/1")


def test_processes_of_all_array_tasks_have_shards_of_their_own():
    shards = {
        str(own_shard(parse_shard(f"{task}/3"), {"RANK": str(rank), "WORLD_SIZE": "2"})[0])
        for task in (1, 2, 3)
        for rank in (0, 1)
    }
    assert shards == {f"{number}/6" for number in range(1, 7)}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            ARRAY | {"SLURM_ARRAY_TASK_STEP": "3"},
            "expected evenly spaced tasks of a Slurm array, got task 14 of 4",
        ),
        (ARRAY, "expected evenly spaced tasks"),  # 10, 11, 12, 13
        ({"SLURM_ARRAY_TASK_ID": "x"}, "expected SLURM_ARRAY_TASK_ID to be a whole number, got 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "expected RANK from 0 to WORLD_SIZE - 1, got RANK 2"),
    ],
)
def test_an_environment_that_names_no_shard_is_refused(environment, message):
    assert error_of(own_shard, None, environment).startswith(message)


@pytest.mark.parametrize("models", [1, 3])
def test_a_job_counts_the_images_of_its_own_shard(resnet8, models):
    counts = []
    for number in (1, 2, 3):
        config = EvaluateConfig.of(attacks="clean", limit=10, part_size=4, shard=f"{number}/3")
        job = open_evaluation(config, {str(name): resnet8 for name in range(models)})
        counts.append(job.count)
        assert len(job.parts) == 3 * models
    assert sum(counts) == 10 * models


# ------------------------------------------------------------------ the same bytes


@pytest.mark.parametrize("words", [ANALYZE, EVALUATE], ids=lambda words: words[0])
def test_shards_side_by_side_give_the_bytes_of_one_process(tmp_path, whole, words):
    shards = [start(*words, "--out", tmp_path / "r", "--shard", f"{number}/3") for number in (1, 2, 3)]
    said = [ended(process) for process in shards]
    assert made(tmp_path / "r") == made(whole / words[0])
    assert any("tables:" in text for text in said)
    assert all("tables:" in text or "whoever adds the last makes the tables" in text for text in said)
    manifest = Run(tmp_path / "r").manifest
    assert manifest["finished"]
    assert sorted(part for session in manifest["sessions"] for part in session["parts"]) == list(
        range(6 if words == ANALYZE else 3)
    )
    assert manifest["command"] == Run(tmp_path / "r").manifest["command"]


def test_what_slurm_and_torchrun_say_gives_the_bytes_of_one_process(tmp_path, whole):
    array = {"SLURM_ARRAY_TASK_COUNT": 2, "SLURM_ARRAY_TASK_MIN": 0, "SLURM_ARRAY_TASK_MAX": 1}
    first = ended(start(*ANALYZE, "--out", tmp_path / "a", SLURM_ARRAY_TASK_ID=0, **array))
    assert "shard 1/2: 12 images (task 0 of a Slurm array of 2; --shard 1/1 computes all)" in first
    assert "missing is 3 of 6 parts of the run" in first
    ended(start(*ANALYZE, "--out", tmp_path / "a", SLURM_ARRAY_TASK_ID=1, **array))
    assert made(tmp_path / "a") == made(whole / "analyze")
    for rank in (1, 0):
        said = ended(start(*ANALYZE, "--out", tmp_path / "t", RANK=rank, WORLD_SIZE=2, LOCAL_RANK=rank))
        assert f"process {rank + 1} of torchrun's 2" in said
    assert made(tmp_path / "t") == made(whole / "analyze")


@pytest.mark.slow
def test_torchrun_gives_the_bytes_of_one_process(tmp_path, whole):
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "attnlab_cli"]
    subprocess.run([*line, *ANALYZE, "--out", tmp_path / "r"], check=True, capture_output=True, timeout=300)
    assert made(tmp_path / "r") == made(whole / "analyze")


KILLED = """
import os, signal
from attnlab import {module}
done = 0
def dying(operation):
    def call(*arguments, **options):
        global done
        done += 1
        if done == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*arguments, **options)
    return call
{module}.{name} = dying({module}.{name})
"""
MOMENTS = {
    "before run.json": ("runs", "create_whole", 1),
    "before its session": ("runs", "write_whole", 1),
    "before a piece": ("runs", "encode_piece", 3),
    "before a part is whole": ("runs", "encode_part", 2),
    "before a temporary name is removed": ("runs.Path", "unlink", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_shard_that_is_killed_is_run_again_alone(tmp_path, whole, moment):
    module, name, at = MOMENTS[moment]
    code = KILLED.format(module=module, name=name, at=at).replace("import runs.Path", "import runs")
    dying = start(*ANALYZE, "--out", tmp_path / "r", "--shard", "1/2", code=code)
    if moment == "before run.json":
        dying.wait()  # else the other shard may make it
    other = start(*ANALYZE, "--out", tmp_path / "r", "--shard", "2/2")
    assert (dying.wait(), other.wait()) == (-signal.SIGKILL, 0)
    assert "tables:" in ended(start(*ANALYZE, "--out", tmp_path / "r", "--shard", "1/2"))
    assert made(tmp_path / "r") == made(whole / "analyze")


@pytest.mark.parametrize("others", [(), ("1/5", "4/5")])
def test_the_plain_command_finishes_what_shards_of_any_number_left(attnlab, tmp_path, whole, others):
    out = tmp_path / "r"
    for shard in ("2/3", *others):
        assert attnlab(*ANALYZE, "--out", out, "--shard", shard).code == 0
    assert not (out / "tables").exists()
    assert "unfinished: repeat the command to resume" in attnlab("tables", out).out
    shutil.rmtree(out / "tables")
    done = attnlab(*ANALYZE, "--out", out)
    assert done.code == 0, done.err
    assert read_records(out).equals(read_records(whole / "analyze"))
    assert Run(out).manifest["finished"]


def test_a_full_disk_on_one_worker_costs_that_worker_alone(tmp_path, whole):
    full = """
from attnlab import runs
def full(*of): raise OSError(28, "No space left on device", "part")
runs.encode_part = full
"""
    both = [
        start(*ANALYZE, "--out", tmp_path / "r", "--shard", "1/2", code=full),
        start(*ANALYZE, "--out", tmp_path / "r", "--shard", "2/2"),
    ]
    assert [process.wait() for process in both] == [1, 0]
    assert "No space left on device: part; finished parts are kept" in both[0].said
    ended(start(*ANALYZE, "--out", tmp_path / "r", "--shard", "1/2"))
    assert made(tmp_path / "r") == made(whole / "analyze")


# ------------------------------------------------------------------ a folder of many


def test_the_same_shard_twice_at_once_gives_the_bytes_of_one_process_where_no_lock_holds(tmp_path, whole):
    code = "from attnlab import files\nfiles.FileLock.acquire = files.FileLock.release = lambda *_, **__: None"
    twice = [start(*ANALYZE, "--out", tmp_path / "r", "--shard", "1/2", code=code) for _ in range(2)]
    for process in twice:
        ended(process)
    ended(start(*ANALYZE, "--out", tmp_path / "r", "--shard", "2/2", code=code))
    assert made(tmp_path / "r") == made(whole / "analyze")


def test_what_killed_processes_left_is_removed_at_the_end(tmp_path, whole):
    out = tmp_path / "r"
    ended(start(*ANALYZE, "--out", out, "--shard", "1/2"))
    for left in (".part-00001.parquet.far.12.tmp", "part-00001.unfinished", "part-00003.0123456789ab.unfinished"):
        (out / "records" / left).write_bytes(b"torn")
    for left in ("sessions/.b.json.far.12.tmp", "tables/.table1.csv.far.12.tmp", ".run.json.far.12.tmp"):
        (out / left).parent.mkdir(exist_ok=True)
        (out / left).write_bytes(b"torn")
    ended(start(*ANALYZE, "--out", out, "--shard", "2/2"))
    assert made(out) == made(whole / "analyze")
    assert not list(out.rglob("*.tmp"))
    assert not (out / "sessions").exists()


def test_clocks_an_hour_apart_change_nothing(tmp_path, whole):
    """No file's time is compared with another one's: what one host wrote in the other's future is read all the same."""
    out = tmp_path / "r"
    ended(start(*ANALYZE, "--out", out, "--shard", "1/2"))
    for path in out.rglob("*"):
        os.utime(path, (path.stat().st_mtime + 3600,) * 2)
    ended(start(*ANALYZE, "--out", out, "--shard", "2/2"))
    assert made(out) == made(whole / "analyze")
    sessions = json.loads((out / "run.json").read_text())["sessions"]
    assert len(sessions) == 2


def test_a_run_whose_pieces_older_versions_wrote_goes_on(tmp_path, whole):
    out = tmp_path / "r"
    code = KILLED.format(module="runs", name="encode_part", at=1)
    assert start(*ANALYZE, "--out", out, code=code).wait() == -signal.SIGKILL
    pieces_of(out).rename(out / "records/part-00000.unfinished")
    said = ended(start(*ANALYZE, "--out", out))
    assert "22 of 22 images" in said
    assert made(out) == made(whole / "analyze")


def test_each_process_of_torchrun_has_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(hardware, "choose_device", lambda name: torch.device("cuda" if name == "auto" else name))
    assert hardware.own_device("auto") == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert hardware.own_device("auto") == hardware.own_device("cuda") == torch.device("cuda:3")
    assert hardware.own_device("cpu") == torch.device("cpu")
    assert "expected --device cuda under torchrun" in error_of(hardware.own_device, "cuda:1")


def test_shards_of_a_trial_share_a_folder_that_is_named(attnlab, tmp_path):
    done = attnlab("analyze", "--smoke", "--shard", "1/2")
    assert (done.code, "expected --out with --smoke and --shard" in done.err) == (2, True)
    assert attnlab("analyze", "--smoke", "--shard", "2/2", "--out", tmp_path / "r").code == 0  # of no part
    done = attnlab("analyze", "--smoke", "--shard", "1/2", "--out", tmp_path / "r")
    assert "tables:" in done.out
