"""Workers and clusters of Ray: what is refused before a run, and what a worker tells."""

import time

import pytest
from common import error_of
from processes import start

from attnlab.config import AnalyzeConfig
from attnlab.errors import UserError
from attnlab.pipelines.analyze import analyze, open_analysis
from attnlab.run_opening import open_run
from attnlab.schema import ATTENTION

ray = pytest.importorskip("ray")


from attnlab.pipelines import ray_worker  # noqa: E402
from attnlab.pipelines.ray_cluster import workers_asked_for  # noqa: E402
from attnlab.pipelines.ray_worker import Worker  # noqa: E402


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--engine", "rai"], 2, "'rai' is not one of 'local', 'ray'"),
        (["--num-workers", "2"], 1, "expected --engine ray with --num-workers, got local"),
        (["--engine", "ray", "--num-workers", "0"], 2, "0 is not in the range x>=1"),
        (["--engine", "ray", "--gpus-per-worker", "-1"], 1, "--gpus-per-worker from 0 to 1 or a whole number, got -1"),
        (
            ["--engine", "ray", "--gpus-per-worker", "1.5"],
            1,
            "--gpus-per-worker from 0 to 1 or a whole number, got 1.5",
        ),
        (["--engine", "ray", "--address", "localhost:1"], 1, "got 'localhost:1' ([Errno 111] Connection refused)"),
        (["--engine", "ray", "--address", "host:x"], 1, "expected --address auto or HOST:PORT of a Ray cluster"),
    ],
)
def test_what_cannot_be_is_one_line(attnlab, words, code, message, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    begun = time.monotonic()
    done = attnlab("analyze", "--limit", 2, *words)
    assert done.code == code
    assert message in done.err
    assert time.monotonic() - begun < 30


def test_a_machine_without_a_cluster_is_told_how_to_start_one(attnlab, monkeypatch):
    def none(*_: object, **__: object) -> None:  # as Ray says it; other tests may have a cluster on this machine
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", none)
    error = attnlab("analyze", "--limit", 2, "--engine", "ray", "--address", "auto").error
    assert error.startswith("the Ray cluster at auto cannot be used (ConnectionError: Could not find any running Ray")
    assert "`ray start --head` starts one" in error


@pytest.mark.parametrize(
    ("gpus", "room"), [(0, 10), (1, 5), (2, 2), (0.5, 10), (0.65, 5), (0.3, 10), (0.1, 10), (4, 0)]
)
def test_workers_are_as_many_as_the_machines_have_room_for(monkeypatch, gpus, room):
    there = [{"CPU": 6.0, "GPU": 3.0}, {"CPU": 4.0, "GPU": 2.0}, {"memory": 1.0}]
    nodes = [{"Alive": True, "Resources": resources} for resources in there]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])
    options = AnalyzeConfig.of(engine="ray", gpus_per_worker=gpus).processes
    if room:
        assert workers_asked_for(options, "auto") == (room, gpus)
    refused = AnalyzeConfig.of(engine="ray", gpus_per_worker=gpus, num_workers=room + 1).processes
    assert error_of(workers_asked_for, refused, "auto").startswith(
        f"expected no more workers than the cluster has room for (10 cores, 5 GPUs), got {room + 1} worker"
    )


def test_without_ray_the_line_says_how_to_have_it():
    done = start("analyze", "--limit", 2, "--engine", "ray", code="import sys; sys.modules['ray'] = None")
    message = "Error: expected Ray for --engine ray, but it is not installed: pip install 'attnlab[ray]'\n"
    assert (done.wait(), done.said) == (1, message)


def test_torchrun_and_ready_objects_are_refused(monkeypatch, resnet8):
    config = AnalyzeConfig.of(limit=2, engine="ray")
    assert error_of(analyze, config, resnet8).startswith("expected names of models and data with --engine ray")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "got torchrun, which starts several" in error_of(analyze, config)


def test_a_folder_that_a_machine_does_not_share_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_worker, "PATIENCE", 0.0)
    config = AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu")
    worker = Worker(config, open_analysis, str(tmp_path), 1)
    (tmp_path / "r").mkdir()
    message = error_of(worker.check_folder, ".mark")
    assert message.startswith(f"expected {tmp_path / 'r'} to be one folder for all machines of the cluster")
    (tmp_path / "r" / ".mark").touch()
    worker.check_folder(".mark")
    elsewhere = Worker(config, open_analysis, str(tmp_path / "gone"), 1)
    assert "start the command in a folder that all machines of the cluster share" in error_of(elsewhere.describe)


@pytest.mark.parametrize("name", ["attnlab", "threads"])
def test_a_worker_of_another_version_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), open_analysis, str(tmp_path), 1)
    manifest = worker.describe().manifest
    worker.check_surroundings(manifest | {"device": "another"})
    with pytest.raises(UserError, match=rf"expected the same versions and threads .*{name} was"):
        next(worker.compute([0], manifest | {name: "0"}))


def test_warnings_of_workers_are_taken_once(tmp_path, monkeypatch):
    import warnings

    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), open_analysis, str(tmp_path), 1)
        worker.describe()
        warnings.warn("look here", stacklevel=1)
        assert worker.warnings() == ["look here"]
        assert worker.warnings() == []


def test_warnings_of_the_first_look_reach_the_driver(tmp_path, monkeypatch):
    import warnings

    def look(*_: object) -> list[tuple[str, str]]:
        warnings.warn("look at this", stacklevel=1)
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("attnlab.pipelines.analyze.first_look", look)
    with warnings.catch_warnings():
        worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), open_analysis, str(tmp_path), 1)
        open_run(tmp_path / "r", worker.describe().manifest, ATTENTION)
        assert worker.begin() == ["look at this"]
