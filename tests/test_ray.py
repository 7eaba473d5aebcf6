"""Runs on a Ray cluster: the bytes of one process, also where workers, machines or the driver are lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from common import error_of
from processes import ended, start

from attnlab.config import AnalyzeConfig, AttackConfig, EvaluateConfig
from attnlab.errors import UserError
from attnlab.failures import WorkerLost
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.evaluate import evaluate
from attnlab.run_opening import open_run
from attnlab.schema import ATTENTION

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402 - known where ray is

from attnlab.pipelines import ray_cluster, ray_engine, ray_worker  # noqa: E402
from attnlab.pipelines.ray_cluster import workers_asked_for  # noqa: E402
from attnlab.pipelines.ray_engine import ray_job  # noqa: E402
from attnlab.pipelines.ray_worker import Worker  # noqa: E402

SMALL = {"limit": 22, "part_size": 4, "batch_size": 3, "workers": 0, "device": "cpu"}
EVALUATED = {"limit": 10, "part_size": 4, "attacks": "clean,pgd2", "workers": 0, "device": "cpu"}
PATIENCE = 240  # seconds; most runs here take ten
NODE = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}


def made(folder: Path) -> dict[str, bytes]:
    """The records of a run, and what could not be used."""
    return {path.name: path.read_bytes() for path in [*folder.glob("records/*"), folder / "skipped.csv"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Runs of one process with one thread, as workers have."""
    folder = tmp_path_factory.mktemp("whole")
    for command, options in (("analyze", SMALL), ("evaluate", EVALUATED)):
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        ended(start(command, *words, "--out", folder / command))
    return folder


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes on this machine, each with two cores."""
    for name, value in (*ray_cluster.QUIET.items(), ("OMP_NUM_THREADS", "1")):
        monkeypatch.setenv(name, value)
    try:
        nodes = Cluster(initialize_head=True, head_node_args=NODE)
        nodes.add_node(**{name: value for name, value in NODE.items() if name != "include_dashboard"})
    except Exception as error:  # of Ray's own, before any of attnlab runs
        pytest.skip(f"Ray starts no cluster on this machine: {type(error).__name__}: {error}")
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(PATIENCE)
    yield nodes
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    ray.shutdown()
    nodes.shutdown()


def too_late(*_: object) -> None:
    raise TimeoutError(f"a run on the cluster took more than {PATIENCE} s")


def pids(job: Any) -> list[int]:
    return ray.get([worker.__ray_call__.remote(lambda _self: os.getpid()) for worker in job.workers])


def ended_for_good(worker: Any) -> bool:
    """Whether an actor ends."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            ray.get(worker.warnings.remote(), timeout=5)
        except ray.exceptions.ActorDiedError:
            return True
        except ray.exceptions.RayError:
            pass
        time.sleep(0.2)
    return False


# ------------------------------------------------------------------ the same bytes


def test_two_workers_give_the_bytes_of_one_process(tmp_path, whole, cluster):
    config = AnalyzeConfig.of(**SMALL, engine="ray", address=cluster.address, num_workers=2, out=tmp_path / "r")
    seen: list[int] = []
    assert analyze(config, progress=seen.append).manifest["finished"]
    assert sum(seen) == 22
    assert made(tmp_path / "r") == made(whole / "analyze")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_and_the_bytes_are_those_of_one_process(tmp_path, whole, cluster):
    config = AnalyzeConfig.of(**SMALL, engine="ray", num_workers=2, out=tmp_path / "r")
    ray.init(cluster.address, log_to_driver=False)  # as a notebook does; the command leaves it as it is
    killed, seen = [], []
    with ray_job(config) as job:
        first, second = pids(job)

        def kill(images: int) -> None:
            seen.append(images)
            if len(seen) == 3:
                os.kill(first, signal.SIGKILL)
                killed.append(first)

        run = job.run(kill)
        assert job.missing(run) == []
    assert killed
    assert ended_for_good(job.workers[1]), "none works on"
    assert ray.is_initialized()
    assert (first != second, sum(seen)) == (True, 22), "no image is counted twice"
    assert made(tmp_path / "r") == made(whole / "analyze")
    assert run.manifest["finished"]
    assert analyze(config.having(engine="local", num_workers=None)).manifest == run.manifest


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3])
def test_any_number_of_workers_gives_the_bytes_of_one_process(tmp_path, whole, cluster, number):
    how = {"engine": "ray", "address": cluster.address, "num_workers": number}
    analyze(AnalyzeConfig.of(**SMALL, **how, out=tmp_path / "analyze"))
    evaluate(EvaluateConfig.of(**EVALUATED, **how, out=tmp_path / "evaluate"))
    for name in ("analyze", "evaluate"):
        assert made(tmp_path / name) == made(whole / name)


@pytest.mark.slow
def test_files_of_an_attack_and_explanations_of_lime_are_those_of_one_process(tmp_path, cluster):
    how = {"engine": "ray", "address": cluster.address, "num_workers": 2}
    attack = {"attack": "pgd2", "limit": 6, "part_size": 2, "workers": 0, "device": "cpu", "batch_size": 2}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in attack.items()]
    ended(start("attack", *words, "--out", tmp_path / "one"))
    evaluate(AttackConfig.of(**attack, **how, out=tmp_path / "ray"))
    kept = [
        {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".npy", ".png", ".parquet")}
        for folder in (tmp_path / "one", tmp_path / "ray")
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 6 + 6 + 3
    lime = {"method": "grad-cam,lime", "lime_samples": 30, "lime_superpixels": "slic", "limit": 6, "part_size": 2}
    lime |= {"batch_size": 2, "device": "cpu", "workers": 1}
    run = analyze(AnalyzeConfig.of(**lime, **how, out=tmp_path / "lime-ray"))
    size = run.manifest["lime_batch_size"]
    words = [f"--{name.replace('_', '-')}={value}" for name, value in (lime | {"lime_batch_size": size}).items()]
    ended(start("analyze", *words, "--out", tmp_path / "lime-one"))
    assert made(tmp_path / "lime-ray") == made(tmp_path / "lime-one")


# ------------------------------------------------------------------ losses


@pytest.mark.slow
def test_a_machine_that_is_lost_gives_its_parts_to_others(tmp_path, whole, cluster):
    config = AnalyzeConfig.of(**SMALL, engine="ray", address=cluster.address, num_workers=2, out=tmp_path / "r")
    seen = []

    def lose(images: int) -> None:
        seen.append(images)
        if len(seen) == 3:
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)

    analyze(config, progress=lose)
    assert sum(seen) == 22
    assert made(tmp_path / "r") == made(whole / "analyze")


@pytest.mark.slow
def test_where_the_driver_or_the_head_is_killed_the_same_command_goes_on(tmp_path, whole, cluster):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    words += ["--engine=ray", "--num-workers=2", "--out", str(tmp_path / "r")]
    program = [sys.executable, "-m", "attnlab_cli", "analyze", *words]
    for victim in ("driver", "head"):
        driver = subprocess.Popen([*program, "--address", cluster.address], stderr=subprocess.PIPE)
        end = time.monotonic() + 120
        while not list(tmp_path.glob("r/records/part*")) and driver.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        if victim == "driver":
            driver.kill()
        else:
            cluster.shutdown()
        driver.wait(180)
    ended(start("analyze", *words))
    assert made(tmp_path / "r") == made(whole / "analyze")


def test_a_part_that_kills_every_worker_ends_the_command(monkeypatch):
    dispatch = ray_engine._Dispatch.__new__(ray_engine._Dispatch)
    dispatch.__dict__.update(flights={}, lost={}, left=[], idle=[], losses=ray_engine.Counter())
    dispatch.job = SimpleNamespace(parts={6: 4, 7: 4, 8: 4})

    class Lost:
        def __next__(self) -> None:
            raise WorkerLost("a worker was lost")

    class Actor:
        class warnings:  # noqa: N801 - a method of Ray's
            @staticmethod
            def remote() -> object:
                return object()

    for _ in range(ray_cluster.LOSSES - 1):
        call = Lost()
        dispatch.flights[call] = ray_engine._Flight(Actor(), [6, 7, 8], ray_engine.Counter({6: 4, 7: 2, 8: 0}))
        dispatch._receive(call)
    assert dispatch.left == [6, 7, 8, 6, 7, 8]
    call = Lost()
    dispatch.flights[call] = ray_engine._Flight(Actor(), [7], ray_engine.Counter())
    assert error_of(dispatch._receive, call) == "a worker was lost, 3 times at part 7 of the run"


# ------------------------------------------------------------------ what is refused


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
    worker = Worker(config, str(tmp_path), 1)
    (tmp_path / "r").mkdir()
    message = error_of(worker.check_folder, ".mark")
    assert message.startswith(f"expected {tmp_path / 'r'} to be one folder for all machines of the cluster")
    (tmp_path / "r" / ".mark").touch()
    worker.check_folder(".mark")
    elsewhere = Worker(config, str(tmp_path / "gone"), 1)
    assert "start the command in a folder that all machines of the cluster share" in error_of(elsewhere.describe)


@pytest.mark.parametrize("name", ["attnlab", "threads"])
def test_a_worker_of_another_version_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), str(tmp_path), 1)
    manifest = worker.describe().manifest
    worker.check_surroundings(manifest | {"device": "another"})
    with pytest.raises(UserError, match=rf"expected the same versions and threads .*{name} was"):
        next(worker.compute([0], manifest | {name: "0"}))


def test_warnings_of_workers_are_taken_once(tmp_path, monkeypatch):
    import warnings

    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), str(tmp_path), 1)
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
        worker = Worker(AnalyzeConfig.of(limit=2, out=tmp_path / "r", device="cpu"), str(tmp_path), 1)
        open_run(tmp_path / "r", worker.describe().manifest, ATTENTION)
        assert worker.begin() == ["look at this"]
