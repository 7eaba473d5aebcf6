"""Time several ways of doing one thing side by side, and say on what machine."""

import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from attnlab.pipelines.provenance import cpu_name

FIGURE = re.compile(r"figure: (.+) = ([0-9.]+)x")


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
                torch.cuda.synchronize(device)
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def paired_ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int, device: str = "cpu") -> float:
    """Median over the rounds of how many times longer one way takes than the other, run next to it.

    Other work on the machine slows both of a round alike, and moves this less than it moves two medians.
    """
    ways = {"slow": slow, "fast": fast}
    times = [side_by_side(ways, 1, device, warm=bool(number)) for number in range(rounds)]
    return statistics.median(each["slow"] / each["fast"] for each in times)


def ratio(seconds: Mapping[str, float], slow: str, fast: str) -> str:
    """How many times longer one way takes than another, for people; a dash where one was not timed."""
    return f"{seconds[slow] / seconds[fast]:.2f}x" if slow in seconds and fast in seconds else "-"


def installed(*modules: str) -> bool:
    """Whether all of these can be imported: what is measured against may be absent on a borrowed machine."""
    return all(find_spec(module) for module in modules)


def machine(device: str = "cpu", libraries: tuple[str, ...] = ("torch", "torchvision")) -> str:
    """Processor, threads and versions in a line."""
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()
    versions = ", ".join(f"{library} {_version(library)}" for library in libraries)
    return f"{where}, {torch.get_num_threads()} threads, Python {platform.python_version()}, {versions}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def say_figures(figures: Mapping[str, float]) -> None:
    """Print ratios one a line, as `benchmarks.bench` collects them; what they are of comes first."""
    for name, value in figures.items():
        print(f"figure: {name} = {value:.4f}x", flush=True)


def figures_in(printed: str) -> dict[str, float]:
    """The ratios that a benchmark printed."""
    return {name: float(value) for name, value in FIGURE.findall(printed)}
