"""Compute a job on a Ray cluster: workers are given parts as they come free, and again where a worker is lost."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorUnavailableError, RayError

from attnlab.errors import UserError
from attnlab.failures import WorkerLost, keeping
from attnlab.pipelines.job import Job
from attnlab.pipelines.pending_parts import Progress, quietly
from attnlab.pipelines.provenance import own_command
from attnlab.pipelines.ray_cluster import (
    LOSSES,
    WAITING,
    answer,
    answer_of_one,
    answers,
    cluster,
    tell,
    workers_asked_for,
)
from attnlab.pipelines.ray_worker import Description, Worker
from attnlab.run_opening import opened
from attnlab.runs import Run
from attnlab.schema import SCHEMAS
from attnlab.shards import Shard, launched, own_shard
from attnlab.words import counted

PIECES = 4  # in which each worker gets its share of what is left: several parts at first, one by one in the end


@dataclass(frozen=True)
class RayJob:
    """A job that is open on the workers of a cluster; see `Job`, whose attributes these are."""

    described: Description
    workers: list[Any]  # actors of `Worker`
    shard: Shard
    shard_from: str

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.described.out

    @property
    def parts(self) -> dict[int, int]:
        """Number of images of each part."""
        return self.described.parts

    @property
    def count(self) -> int:
        """Images that the workers look at, those of each model counted on their own."""
        return sum(images for number, images in self.parts.items() if self.shard.takes(number))

    @property
    def summary(self) -> str:
        """What the images are, in a line."""
        return self.described.summary

    @property
    def cost(self) -> str:
        """What LIME takes at most."""
        cost = self.described.cost
        return f"{cost}; {counted(len(self.workers), 'worker')} share it" if cost else ""

    def missing(self, run: Run) -> list[int]:
        """Numbers of the parts that no process has written yet."""
        return [number for number in self.parts if not run.part(number).exists()]

    def run(self, progress: Progress = quietly) -> Run:
        """Let the workers write what is missing; errors as of `analyze` and `evaluate`."""
        described = self.described
        manifest = {**described.manifest, "command": own_command()}
        schema = SCHEMAS[manifest["kind"]]
        whose = (manifest, schema, described.defaults, self.shard, described.chosen)
        with opened(self.out, *whose) as run, keeping(self.out):
            start = perf_counter()
            mark = f".{run.worker}.{os.getpid()}.tmp"
            try:
                (self.out / mark).touch()
                answers([worker.check_folder.remote(mark) for worker in self.workers])
            finally:
                (self.out / mark).unlink(missing_ok=True)
            tell(answer_of_one(self.workers, "begin"))
            missing = [number for number in self.missing(run) if self.shard.takes(number)]
            progress(sum(self.parts[number] for number in self.parts.keys() - {*missing} if self.shard.takes(number)))
            dispatch = _Dispatch(self, missing, progress)
            dispatch.run()
            if not self.missing(run):
                tell(answer_of_one([*reversed(dispatch.idle), *self.workers], "finish", perf_counter() - start))
        return run


@contextmanager
def ray_job(config: Any, open_job: Callable[[Any], Job[Any]]) -> Iterator[RayJob]:
    """Open a job on the workers of a cluster, each by `open_job` of the configuration, for the time of the context.

    Raises:
        UserError: If Ray is not installed, the cluster cannot be reached or has too little for the workers, versions
            differ among its machines; and as `open_job`.
    """
    options = config.processes
    if launched() > 1:
        raise UserError("expected --engine ray in one process, got torchrun, which starts several")
    shard, shard_from = own_shard(options.shard)
    with cluster(options):
        number, gpus = workers_asked_for(options, config.run.device)
        machines = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU" if gpus else "CPU")]
        beside = ceil(number / max(1, len(machines)))
        actor: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, scheduling_strategy="SPREAD")(Worker)
        workers = [actor.remote(config, open_job, os.getcwd(), beside) for _ in range(number)]
        try:
            described = answers([worker.describe.remote() for worker in workers])[0]
            answers([worker.check_surroundings.remote(described.manifest) for worker in workers])
            tell(text for told in answers([worker.warnings.remote() for worker in workers]) for text in told)
            yield RayJob(described, workers, shard, shard_from)
        finally:  # on a cluster that is kept they would go on as long as an error's traceback knows them
            for worker in workers:
                ray.kill(worker)


class _Flight(NamedTuple):
    """Parts that a worker is at."""

    worker: Any
    parts: list[int]
    done: "Counter[int]"  # images of each part that it said are done, those from before among them


class _Dispatch:
    """Gives parts to workers as they come free, the parts of a lost worker to others."""

    def __init__(self, job: RayJob, missing: list[int], progress: Progress) -> None:
        self.job = job
        self.left = missing
        self.progress = progress
        self.idle = list(job.workers)
        self.flights: dict[Any, _Flight] = {}
        self.lost: dict[Any, Any] = {}  # calls to workers that were lost, answered once Ray has started them again
        self.done: Counter[int] = Counter()  # images of each part that were counted
        self.losses: Counter[int] = Counter()  # of workers at each part
        self.told: set[str] = set()

    def run(self) -> None:
        """Have all parts computed."""
        while self.left or self.flights:
            while self.idle and self.left:
                self._send(self.idle.pop())
            calls = [*self.flights, *self.lost]
            if not calls:
                raise WorkerLost("all workers of the cluster were lost, and none was started again")
            ready, _ = ray.wait(calls, timeout=WAITING)
            if not ready and not self.flights:
                self._tell(["no worker is left; waiting for the cluster to start others"])
            for call in ready:
                if call in self.lost:
                    self._found_again(call)
                else:
                    self._receive(call)

    def _send(self, worker: Any) -> None:
        """Give a worker some of what is left: fewer as it gets less, so that all end together."""
        some = max(1, len(self.left) // (PIECES * len(self.job.workers)))
        parts, self.left = self.left[:some], self.left[some:]
        call = worker.compute.options(num_returns="streaming").remote(parts, self.job.described.manifest)
        self.flights[call] = _Flight(worker, parts, Counter())

    def _receive(self, call: Any) -> None:
        """Take what a worker has done next, or its parts back where it is lost."""
        flight = self.flights[call]
        try:
            (number, images), told = answer(next(call))
        except StopIteration:
            del self.flights[call]
            self.idle.append(flight.worker)
            return
        except WorkerLost as error:
            del self.flights[call]
            sizes = self.job.parts
            at = next((part for part in flight.parts if flight.done[part] < sizes[part]), flight.parts[-1])
            self.losses[at] += 1
            if self.losses[at] == LOSSES:
                raise WorkerLost(f"{error}, {LOSSES} times at part {at} of the run") from None
            self.left = [*flight.parts, *self.left]  # those that are whole are passed over
            self.lost[flight.worker.warnings.remote()] = flight.worker
            return
        flight.done[number] += images
        new = flight.done[number] - self.done[number]
        if new > 0:  # behind a loss what was done before comes again
            self.done[number] += new
            self.progress(new)
        self._tell(told)

    def _found_again(self, call: Any) -> None:
        """See whether a lost worker was started again; ask once more where that is not sure yet."""
        worker = self.lost.pop(call)
        try:
            ray.get(call)
            self.idle.append(worker)
        except ActorUnavailableError:
            sleep(1)
            self.lost[worker.warnings.remote()] = worker
        except RayError:
            pass  # it is gone for good

    def _tell(self, texts: Iterable[str]) -> None:
        tell(text for text in texts if text not in self.told)
        self.told.update(texts)
