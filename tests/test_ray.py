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
from attnlab.failures import WorkerLost
from attnlab.pipelines.analyze import analyze, open_analysis
from attnlab.pipelines.evaluate import evaluate

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402 - known where ray is

from attnlab.pipelines import ray_cluster, ray_engine  # noqa: E402
from attnlab.pipelines.ray_engine import ray_job  # noqa: E402

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


@pytest.mark.slow
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
    with ray_job(config, open_analysis) as job:
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
