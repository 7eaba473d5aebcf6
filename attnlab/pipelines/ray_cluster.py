"""Reach a Ray cluster, or start one on this machine, and take the answers of its workers."""

import os
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from attnlab.config.sections import ProcessOptions
from attnlab.errors import UserError
from attnlab.failures import WorkerLost, one_line
from attnlab.pipelines.hardware import usable_cores
from attnlab.words import counted

REACHED = 10.0  # seconds in which an address must answer
LOSSES = 3  # of workers at one part, after which it is given to no other
STORE = 100_000_000  # bytes for objects of a cluster of one's own: what crosses is small
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # else files at home, and messages to its makers
WAITING = 60.0  # seconds without any worker until a warning says so


@contextmanager
def cluster(options: ProcessOptions) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine, for the time of the context; one of the caller's is kept."""
    if ray.is_initialized():
        yield
        return
    address = options.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            _check_reachable(address)
            ray.init(address, **quiet)
        else:
            for name, value in QUIET.items():
                os.environ.setdefault(name, value)
            cores = max(usable_cores(), options.num_workers or 0)
            ray.init("local", num_cpus=cores, object_store_memory=STORE, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, AssertionError) as error:
        which = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise UserError(
            f"{which} cannot be used ({one_line(error)}); `ray start --head` starts one, and without --address the "
            "command does so itself"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Check in little time that something answers at an address; Ray itself tries for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon:
        return  # auto, local
    try:
        with socket.create_connection((host, int(port)), REACHED):
            pass
    except (OSError, ValueError) as reason:
        raise UserError(f"expected --address auto or HOST:PORT of a Ray cluster, got {address!r} ({reason})") from None


def workers_asked_for(options: ProcessOptions, device: str) -> tuple[int, float]:
    """Number of workers, and GPUs of each."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores, cards = (int(sum(machine.get(kind, 0) for machine in machines)) for kind in ("CPU", "GPU"))
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1 if cards and device != "cpu" else 0
    room = sum(_room(machine, gpus) for machine in machines)
    number = options.num_workers or max(1, room)
    if number > room:
        raise UserError(
            f"expected no more workers than the cluster has room for ({counted(cores, 'core')}, {cards} GPUs), got "
            f"{counted(number, 'worker')} with a core and {gpus:g} GPUs each; see --num-workers and --gpus-per-worker"
        )
    return number, gpus


def _room(machine: Mapping[str, float], gpus: float) -> int:
    """Workers for which a machine has room; a worker's share of a GPU is of one GPU."""
    cores, cards = int(machine.get("CPU", 0)), int(machine.get("GPU", 0))
    if not gpus:
        return cores
    return min(cores, cards // int(gpus) if gpus >= 1 else cards * int(1 / gpus))


def answers(calls: list[Any]) -> list[Any]:
    """What workers answer, in order; the error of a worker is raised as it was."""
    _ready, late = ray.wait(calls, num_returns=len(calls), timeout=WAITING)
    if late:
        tell([f"waiting for {len(late)} of {counted(len(calls), 'worker')}: does the cluster have room for them?"])
    return [answer(call) for call in calls]


def answer(call: Any) -> Any:
    """What a worker answers; its own errors are raised as they were, and WorkerLost where it is lost."""
    try:
        return ray.get(call)
    except RayTaskError as error:
        raise error.cause or WorkerLost(one_line(error)) from None
    except RayError as error:
        raise WorkerLost(f"a worker of the cluster was lost ({one_line(error)})") from None


def answer_of_one(workers: list[Any], method: str, *given: Any) -> Any:
    """What one of several workers answers: the next one where the first is lost."""
    for worker in workers * LOSSES:
        try:
            return answer(getattr(worker, method).remote(*given))
        except WorkerLost as error:
            lost = error
            sleep(1)
    raise lost


def tell(texts: Iterable[str]) -> None:
    """Warn of what workers warned of, once each."""
    for text in dict.fromkeys(texts):
        warnings.warn(text, stacklevel=3)
