"""Time several ways of doing one thing side by side, and say on what machine."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import torch

from attnlab.pipelines.manifest import cpu_name


def side_by_side(
    ways: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", *, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each way, run in turn A B C A B C ...

    Args:
        ways: Name -> what is timed.
        rounds: Times each is run.
        device: Waited for after each.
        warm: All is loaded already; otherwise a first round is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(warm, rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine(device: str = "cpu", libraries: tuple[str, ...] = ("torch", "torchvision")) -> str:
    """Processor, threads and versions in a line."""
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()
    versions = ", ".join(f"{library} {version(library)}" for library in libraries)
    return f"{where}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {versions}"
