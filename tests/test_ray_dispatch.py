"""How the driver shares parts among workers and goes on where some are lost; Ray's calls are answered in process."""

import warnings
from pathlib import Path

import pytest
from common import error_of

from attnlab.config import AnalyzeConfig
from attnlab.failures import WorkerLost
from attnlab.pipelines.analyze import analyze, open_analysis

ray = pytest.importorskip("ray")

from ray_in_process import in_process  # noqa: E402 - known where ray is

from attnlab.pipelines import ray_cluster  # noqa: E402
from attnlab.pipelines.ray_cluster import QUIET, answers, cluster  # noqa: E402
from attnlab.pipelines.ray_engine import ray_job  # noqa: E402

SMALL = {"limit": 7, "part_size": 2, "batch_size": 2, "steps": 2, "workers": 0, "device": "cpu"}


def made(folder: Path) -> dict[str, bytes]:
    """The records of a run, and what could not be used."""
    return {path.name: path.read_bytes() for path in [*folder.glob("records/*"), folder / "skipped.csv"]}


@pytest.fixture(autouse=True)
def of_this_test(monkeypatch, tmp_path):
    """What a worker changes in its process."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("whole") / "r"
    analyze(AnalyzeConfig.of(**SMALL, out=out))
    return made(out)


@pytest.mark.parametrize(
    "losses",
    [{1: [], 3: ["unavailable", "late"]}, {2: ["dead"]}],
    ids=["started again", "one for good"],
)
def test_parts_of_lost_workers_go_to_others_and_no_image_counts_twice(tmp_path, monkeypatch, whole, losses):
    there = in_process(monkeypatch, losses=losses)
    seen: list[int] = []
    run = analyze(AnalyzeConfig.of(**SMALL, engine="ray", out=tmp_path / "r"), progress=seen.append)
    assert (sum(seen), bool(run.manifest["finished"])) == (7, True)
    assert made(tmp_path / "r") == whole
    assert len(there.killed) == 2, "no worker is left on a cluster that is the caller's"
    assert there.answered >= 4 + len(losses)


def test_a_resumed_run_computes_only_what_is_missing(tmp_path, monkeypatch, whole):
    config = AnalyzeConfig.of(**SMALL, engine="ray", out=tmp_path / "r")
    in_process(monkeypatch)
    analyze(config)
    for number in (1, 3):
        (part,) = (tmp_path / "r" / "records").glob(f"part-*{number}.parquet")
        part.unlink()
    again = in_process(monkeypatch)
    seen: list[int] = []
    with ray_job(config, open_analysis) as job:
        assert (job.count, sorted(job.parts.items())) == (7, [(0, 2), (1, 2), (2, 2), (3, 1)])
        assert (job.cost, "7 images" in job.summary) == ("", True)
        run = job.run(seen.append)
        assert job.missing(run) == []
    assert seen[0] == 4, "images of parts that are there"
    assert (sum(seen), made(tmp_path / "r") == whole) == (7, True)
    assert again.answered == 2 + 2, "of each part what was there, and its batch"


def test_without_any_worker_left_the_command_ends_and_keeps_what_is_finished(tmp_path, monkeypatch):
    in_process(monkeypatch, losses={4: ["dead"], 5: ["dead"]})
    message = error_of(analyze, AnalyzeConfig.of(**SMALL, engine="ray", out=tmp_path / "r"))
    assert message == (
        "all workers of the cluster were lost, and none was started again; what is finished is kept in "
        f"{tmp_path / 'r'}: repeat the command to resume"
    )
    assert list((tmp_path / "r" / "records").glob("*.parquet"))


def test_a_workers_own_error_is_raised_as_it_was(tmp_path, monkeypatch):
    in_process(monkeypatch)
    folder = tmp_path / "empty"
    folder.mkdir()
    config = AnalyzeConfig.of(**SMALL, engine="ray", data="folder", root=folder, out=tmp_path / "r")
    assert error_of(analyze, config) == error_of(analyze, config.having(engine="local"))


def test_where_the_only_workers_wait_to_be_started_it_is_said(tmp_path, monkeypatch):
    in_process(monkeypatch, losses={1: ["late"]})
    config = AnalyzeConfig.of(**SMALL, engine="ray", num_workers=1, out=tmp_path / "r")
    told: list[str] = []
    monkeypatch.setattr(ray_cluster.warnings, "warn", lambda text, **_: told.append(text))
    analyze(config)
    assert told == ["no worker is left; waiting for the cluster to start others"]


def test_workers_that_do_not_answer_are_counted(monkeypatch):
    class Late:
        def __init__(self, late: int) -> None:
            self.late, self.answer = late, lambda: late

    in_process(monkeypatch)
    told: list[str] = []
    monkeypatch.setattr(ray_cluster.warnings, "warn", lambda text, **_: told.append(text))
    assert answers([Late(0), Late(1), Late(2)]) == [0, 1, 2]
    assert told == ["waiting for 2 of 3 workers: does the cluster have room for them?"]


def test_a_question_to_one_worker_goes_to_the_next_where_it_is_lost(monkeypatch):
    lost = ray.exceptions.ActorDiedError()
    asked: list[str] = []

    class Asked:
        def __init__(self, name: str, there: bool) -> None:
            self.name, self.there = name, there

        def __getattr__(self, method: str) -> "Asked":
            return self

        def remote(self, *given: int) -> "Asked":
            asked.append(self.name)
            return self

        def answer(self) -> str:
            if not self.there:
                raise lost
            return self.name

    in_process(monkeypatch)
    assert ray_cluster.answer_of_one([Asked("a", False), Asked("b", True)], "begin", 1) == "b"
    assert asked == ["a", "b"]
    asked.clear()
    with pytest.raises(WorkerLost, match=r"^a worker of the cluster was lost \(ActorDiedError"):
        ray_cluster.answer_of_one([Asked("a", False), Asked("c", False)], "begin")
    assert asked == ["a", "c"] * ray_cluster.LOSSES


@pytest.mark.parametrize("address", [None, "auto"])
def test_a_cluster_of_ones_own_has_a_core_for_each_worker_and_ends_with_the_command(monkeypatch, address):
    calls: list[object] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *where, **how: calls.append((*where, how.get("num_cpus"))))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(ray_cluster, "usable_cores", lambda: 3)
    for number in (None, 5):
        with cluster(AnalyzeConfig.of(engine="ray", address=address, num_workers=number).processes):
            calls.append("open")
    first, second = (("local", 3), ("local", 5)) if address is None else (("auto", None),) * 2
    assert calls == [first, "open", "shutdown", second, "open", "shutdown"]
