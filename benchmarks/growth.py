"""How time and memory grow with images, image size, LIME's samples, attack steps, models and processes.

    python -m benchmarks.growth [--only images] [--out runs/growth]

Each point is a command in a process of its own: its CPU seconds, which other work on the machine moves little, and the
most memory it held. A line through the points says what the start costs and what one more costs; beside it stands what
one more costs over the last doubling, as a multiple of what it costs before: 1 is linear. Processes share one analysis
and one core each, so their wall time stands there. Repeat it to measure what is missing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.pieces import ROOT
from benchmarks.scale_records import data_of
from benchmarks.sections import write_section
from benchmarks.study import write
from benchmarks.timing import machine

PAGE, PLOT = ROOT / "benchmarks/results.md", ROOT / "docs/images/growth.webp"
NETWORK = """
import os
from attnlab.models.load import load_model

def build():
    network = load_model("resnet8").network
    side = int(os.environ["GROWTH_SIDE"])
    network.input_size = (side, side)
    return network
"""
Words = list[str]


@dataclass(frozen=True)
class Axis:
    """What is changed, to what, and the commands of a value, which run side by side.

    Attributes:
        values: In doublings, so that the last step stands against those before.
        commands: Folder for files and a value to words behind `attnlab`.
        of: What the values count.
    """

    values: tuple[int, ...]
    commands: Callable[[Path, int], list[Words]]
    of: str


def analysis(folder: Path, *words: str) -> Words:
    """A new analysis, by default of scenes by the built-in network, without worker processes."""
    return ["analyze", "--workers", "0", "--device", "cpu", "--out", tempfile.mkdtemp(dir=folder), *words]


def of_images(folder: Path, count: int) -> list[Words]:
    """An analysis of a folder of small images."""
    root = data_of(folder, count)
    data = ["--data", "folder", "--root", str(root), "--model", f"{root}/net.py:build", "--batch-size", "32"]
    return [analysis(folder, *data)]


def of_pixels(folder: Path, pixels: int) -> list[Words]:
    """An analysis at a size; the network is convolutional throughout."""
    (folder / "any_size.py").write_text(NETWORK)
    model = ["--model", f"{folder}/any_size.py:build", "--batch-size", "8"]
    return [analysis(folder, *model, "--limit", "256")]


def of_samples(folder: Path, samples: int) -> list[Words]:
    """LIME at a number of samples, and Grad-CAM, which has to be there."""
    lime = ["--method", "grad-cam,lime", "--lime-samples", str(samples), "--lime-batch-size", "125"]
    return [analysis(folder, *lime, "--limit", "16", "--batch-size", "8")]


def of_steps(folder: Path, steps: int) -> list[Words]:
    """PGD of a number of steps."""
    attack = ["--attack", "pgd", "--steps", str(steps)]
    return [analysis(folder, *attack, "--limit", "64", "--batch-size", "8")]


def of_models(folder: Path, models: int) -> list[Words]:
    """A study of records that a generator made."""
    runs = [folder / f"model-{number}" for number in range(models)]
    for number, run in enumerate(runs):
        if not (run / "run.json").exists():
            write(run, 1_000, ["grad-cam"], f"model{number}", number)
    return [["study", *map(str, runs), "--out", tempfile.mkdtemp(dir=folder)]]


def of_processes(folder: Path, processes: int) -> list[Words]:
    """One analysis of a folder of images in shards."""
    root = data_of(folder, 4_000)
    data = ["--data", "folder", "--root", str(root), "--model", f"{root}/net.py:build", "--batch-size", "32"]
    line = analysis(folder, *data)
    return [[*line, "--shard", f"{number}/{processes}"] for number in range(1, processes + 1)]


#: one more is a line here
AXES = {
    "images": Axis((500, 1_000, 2_000, 4_000, 8_000), of_images, "images of 56 x 56 pixels"),
    "image size": Axis((64**2, 90**2, 128**2, 181**2, 256**2), of_pixels, "pixels an image, 256 images"),
    "LIME samples": Axis((125, 250, 500, 1_000, 2_000), of_samples, "samples an image, 16 images"),
    "PGD steps": Axis((5, 10, 20, 40, 80), of_steps, "steps, 64 images"),
    "models": Axis((2, 4, 8, 16), of_models, "models of a study of 1,000 images"),
    "processes": Axis((1, 2, 4), of_processes, "shards of an analysis of 4,000 images"),
}


def taken(commands: Sequence[Words], value: int) -> dict[str, float]:
    """Wall and CPU seconds and the most megabytes of any of the commands, which run side by side and must succeed."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "GROWTH_SIDE": str(round(value**0.5))}
    start, processes = time.perf_counter(), []
    for words in commands:
        line = [sys.executable, "-m", "attnlab_cli", *words]
        processes.append(subprocess.Popen(line, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    cpu = memory = 0.0
    for process in processes:
        said = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise click.ClickException(said.decode(errors="replace"))
        cpu, memory = cpu + used.ru_utime + used.ru_stime, max(memory, used.ru_maxrss / 1024)
    return {"value": value, "wall": time.perf_counter() - start, "cpu": cpu, "memory": memory}


def line_through(values: Sequence[float], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Seconds of the start, seconds of one more, and what one more costs over the last step against those before."""
    more, start = np.polyfit(values, seconds, 1, w=1 / np.asarray(seconds))
    before = (seconds[-2] - seconds[0]) / (values[-2] - values[0])
    last = (seconds[-1] - seconds[-2]) / (values[-1] - values[-2])
    return float(start), float(more), float(last / before)


def row(name: str, points: pd.DataFrame) -> str:
    """The page's line of an axis."""
    clock = "wall" if name == "processes" else "cpu"
    at = ", ".join(f"{one.value:,.0f}: {getattr(one, clock):.1f} s" for one in points.itertuples())
    memory = f"{points['memory'].min():.0f} to {points['memory'].max():.0f} MB"
    if name == "processes":
        return f"| {name} | {AXES[name].of} | {at} | | | {memory} |"
    start, more, bend = line_through(points["value"].tolist(), points["cpu"].tolist())
    return f"| {name} | {AXES[name].of} | {at} | {start:.1f} s and {1000 * more:.3g} ms each | {bend:.2f} | {memory} |"


def draw(found: Mapping[str, pd.DataFrame], path: Path) -> None:
    """A panel an axis: seconds, and memory on the other side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(2, 3).flat, found.items(), strict=False):
        clock = "wall" if name == "processes" else "cpu"
        axes.plot(points["value"], points[clock], "o-", color="#3366cc")
        axes.set(title=name, xlabel=AXES[name].of, ylim=(0, None), xlim=(0, None))
        axes.set_ylabel("wall seconds" if clock == "wall" else "CPU seconds", color="#3366cc")
        right = axes.twinx()
        right.plot(points["value"], points["memory"], "s--", color="#cc6633", markersize=4)
        right.set_ylabel("MB of a process", color="#cc6633")
        right.set_ylim(0, 1.6 * points["memory"].max())
    figure.savefig(path, dpi=110)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(AXES)), help="Measure these alone.")
@click.option("--rounds", default=1, show_default=True, help="Times each point is measured; the median counts.")
@click.option("--out", default=Path("runs/growth"), show_default=True, type=click.Path(path_type=Path))
def main(only: tuple[str, ...], rounds: int, out: Path) -> None:
    """Measure what is missing, print a table, and write it and its plot unless only some were measured."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "points.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for name in only or AXES:
        done = {line["value"] for line in lines if line["axis"] == name}
        with tempfile.TemporaryDirectory() as place:
            for value in sorted(set(AXES[name].values) - done):
                measured = [taken(AXES[name].commands(Path(place), value), value) for _ in range(rounds)]
                lines.append({"axis": name} | pd.DataFrame(measured).median().to_dict())
                click.echo(json.dumps(lines[-1]))
                kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
    points = pd.DataFrame(lines).sort_values("value")
    found = {name: points[points["axis"] == name] for name in only or AXES}
    head = [
        f"{machine()}, one thread, median of {rounds}. `python -m benchmarks.growth --rounds {rounds}`:", "",
        "| axis | of | CPU seconds (of processes: wall seconds) | line | last doubling to those before | memory |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    text = "\n".join([*head, *(row(name, of_one) for name, of_one in found.items())])
    click.echo(text)
    if not only:
        write_section(PAGE, "benchmarks.growth", text)
        draw(found, PLOT)


if __name__ == "__main__":
    main()
