"""Several processes against one: speed, bytes; what the machinery costs one; a long run's rate and memory.

    python -m benchmarks.scale shares [--root DIR --limit 400 --rounds 3]
    python -m benchmarks.scale cost --before CHECKOUT [--root DIR --limit 100 --rounds 5]
    python -m benchmarks.scale long [--images 50000]

`shares`: MobileNetV2 on ImageNet's validation images, one thread each, no worker processes: one process, two shards
side by side, Ray with two workers. Whole seconds, starts included, and the steady rate that the commands print, which
begins behind the first batch. Then the same analysis by every way to share it (torchrun, a Slurm array's variables,
Ray with one to three workers), and whether records and tables are the same bytes.

`cost`: the same analysis by this checkout and by another one with an environment of its own, in turn.

`long`: synthetic images of 64 x 64 pixels, made once, and a small network: images a second of each tenth of the run,
and the process's memory there.
"""

import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.timing import machine

ROOT = Path(__file__).resolve().parents[1]
SIDE, CLASSES = 64, 10
NETWORK = f"""
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, {CLASSES}),
    )

build.input_size = ({SIDE}, {SIDE})
"""
Line = list[str]


def attnlab(words: Line, checkout: Path = ROOT) -> Line:
    """The command line of a checkout."""
    own = checkout / ".venv/bin/python"
    return [str(own if checkout != ROOT and own.exists() else sys.executable), "-m", "attnlab_cli", *words]


def started(line: Line, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """A process of one thread."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, env=variables, text=True, cwd=folder, **pipes)  # type: ignore[call-overload, no-any-return]


def seconds_of(lines: list[Line], folder: Path, **environment: str) -> tuple[float, float]:
    """Seconds until processes side by side have ended, and the sum of their steady rates, images a second."""
    start = time.monotonic()
    processes = [started(line, folder, **environment) for line in lines]
    said = [process.communicate()[1] for process in processes]
    seconds = time.monotonic() - start
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            raise click.ClickException(text)
    rates = [re.findall(r"([\d.]+) images/s", text)[-1:] for text in said]
    return seconds, sum(float(rate) for of_one in rates for rate in of_one)


def mark(run: Path) -> str:
    """Hash of the records and tables of a run."""
    files = sorted([*run.glob("records/*"), *run.glob("tables/*"), run / "skipped.csv"])
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[:12]


def analysis(root: str, limit: int, *more: str) -> Line:
    """An analysis whose parts are small enough to be shared."""
    weights = Path(root).parent / "weights/mobilenet_v2_tf"
    network = ["--model", f"{weights}.py:build", "--weights", f"{weights}.safetensors", "--eps", "4/255"]
    size = str(max(1, limit // 16))
    sizes = ["--limit", str(limit), "--part-size", size, "--batch-size", "8", "--workers", "0", "--device", "cpu"]
    return ["analyze", "--data", "imagenet", "--root", root, "--split", "val", *network, *sizes, *more]


@click.group()
def main() -> None:
    """Measure; see the module."""
    click.echo(machine(libraries=("torch", "torchvision", "ray", "pyarrow")))


DATA = click.option("--root", default=str(ROOT.parent / "shared/data/imagenet-val"), help="ImageNet's folder.")


@main.command()
@DATA
@click.option("--limit", default=400)
@click.option("--rounds", default=3)
def shares(root: str, limit: int, rounds: int) -> None:
    """Several processes against one, and their bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder, marks = Path(name), {}
        taken: dict[str, list[tuple[float, float]]] = {}
        for round_ in range(rounds):
            for way, options in {
                "one process": [[]],
                "two shards": [["--shard", "1/2"], ["--shard", "2/2"]],
                "Ray, two workers": [["--engine", "ray", "--num-workers", "2"]],
            }.items():
                out = f"{way}-{round_}"
                lines = [attnlab(analysis(root, limit, *words, "--out", out)) for words in options]
                taken.setdefault(way, []).append(seconds_of(lines, folder))
                marks[way] = mark(folder / out)
        whole, steady = (
            {way: statistics.median(values[at] for values in of_way) for way, of_way in taken.items()} for at in (0, 1)
        )
        for way in taken:
            gain = f"{whole['one process'] / whole[way]:.2f}x whole, {steady[way] / steady['one process']:.2f}x steady"
            click.echo(f"{way}: {whole[way]:.1f} s, {steady[way]:.1f} images/s steady; {gain}")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        small = analysis(root, limit, "--out")
        seconds_of([[*torchrun, "-m", "attnlab_cli", *small, "torchrun"]], folder)
        marks["torchrun, two processes"] = mark(folder / "torchrun")
        for task in ("1", "2"):
            array = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
            seconds_of([attnlab([*small, "slurm"])], folder, **array)
        marks["a Slurm array's variables"] = mark(folder / "slurm")
        for number in ("1", "3"):
            seconds_of([attnlab([*small, f"ray-{number}", "--engine", "ray", "--num-workers", number])], folder)
            marks[f"Ray, {number} workers"] = mark(folder / f"ray-{number}")
        for way, made in marks.items():
            click.echo(f"{made}  {way}")
        click.echo("equal" if len(set(marks.values())) == 1 else "DIFFERENT")


@main.command()
@DATA
@click.option("--before", required=True, type=click.Path(path_type=Path, exists=True), help="Another checkout.")
@click.option("--limit", default=100)
@click.option("--rounds", default=5)
def cost(root: str, before: Path, limit: int, rounds: int) -> None:
    """One process of this checkout against one of another: seconds of CPU, which other programs disturb less."""
    with tempfile.TemporaryDirectory() as name:
        taken: dict[str, list[float]] = {"before": [], "now": []}
        for round_ in range(rounds):
            for way in list(taken) if round_ % 2 else list(taken)[::-1]:
                line = attnlab(analysis(root, limit, "--out", f"{way}-{round_}"), before if way == "before" else ROOT)
                process = started(line, Path(name))
                _, status, used = os.wait4(process.pid, 0)
                if status:
                    raise click.ClickException(process.stderr.read() if process.stderr else "")
                taken[way].append(used.ru_utime + used.ru_stime)
        ratios = [now / then for now, then in zip(taken["now"], taken["before"], strict=True)]
        medians = ", ".join(f"{way} {statistics.median(seconds):.2f} s" for way, seconds in taken.items())
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        click.echo(f"{medians}; now / before {statistics.median(ratios):.4f}, {spread} (median of {rounds} pairs)")


@main.command()
@click.option("--images", default=50_000)
@click.option("--folder", default=str(Path(tempfile.gettempdir()) / "attnlab-scale"), help="Where the images are kept.")
@click.option("--out", default="", help="Folder of the run, kept; by default one that is not.")
def long(images: int, folder: str, out: str) -> None:
    """A long run's rate and memory."""
    data = Path(folder)
    _draw(data, images)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "net.py").write_text(NETWORK)
        run = Path(out) if out else Path(name) / "run"
        words = [
            "analyze",
            "--data",
            "folder",
            "--root",
            str(data),
            "--model",
            f"{name}/net.py:build",
            "--weights",
            "none",
        ]
        words += ["--mean", "0", "--std", "1", "--limit", str(images), "--workers", "1", "--out", str(run)]
        process = started(attnlab(words), Path(name))
        start, seen = time.monotonic(), []
        while process.poll() is None:
            parts = len(list(run.glob("records/*.parquet")))
            seen.append((time.monotonic() - start, parts * 256, _resident(process.pid)))
            time.sleep(0.5)
        if process.returncode:
            raise click.ClickException(process.communicate()[1])
        first, last = (next(at for at, (_, done, _) in enumerate(seen) if done >= least) for least in (1, seen[-1][1]))
        for tenth in range(10):
            low, high = (first + (last - first) * (tenth + more) // 10 for more in (0, 1))
            (t0, n0, _), (t1, n1, _) = seen[low], seen[high]
            most = max(memory for _, _, memory in seen[low : high + 1])
            click.echo(f"{n0:6d} to {n1:6d} images: {(n1 - n0) / (t1 - t0):6.1f} images/s, {most:5.0f} MB")
        click.echo(f"{seen[-1][0]:.0f} s; peak memory {max(memory for _, _, memory in seen):.0f} MB")


def _draw(folder: Path, images: int) -> None:
    """Synthetic images with a box each: noise with a brighter rectangle."""
    if (folder / "boxes.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    rows = ["image,label,x0,y0,x1,y1"]
    for number in range(images):
        pixels = draw.integers(0, 128, (SIDE, SIDE, 3), np.uint8)
        x0, y0 = draw.integers(0, SIDE // 2, 2)
        x1, y1 = draw.integers(SIDE // 2 + 1, SIDE, 2)
        pixels[y0:y1, x0:x1] += 100
        name = f"{number // 1000:02d}/{number:05d}.png"
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        rows.append(f"{name},{number % CLASSES},{x0},{y0},{x1},{y1}")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def _resident(pid: int) -> float:
    """Megabytes of a process in memory."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
