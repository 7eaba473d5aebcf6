"""Peak memory and seconds of what comes after a run, at several numbers of images: tables, figures, page, a last look.

python -m benchmarks.scale_records DIR --images 1000 --images 50000
python -m benchmarks.scale_records DIR --images 500 --images 5000 --lime

A small run is made for good: scenes, 7x7 maps, 1,000 classes. Its records are then repeated in new parts by the
library's own writer, each under the name of another image, with another class and other numbers, until every image of
a folder has one. What is measured reads nothing that a run of so many images would not have.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.provenance import describe_data
from attnlab.runs import Run
from attnlab.schema import ATTENTION
from benchmarks.timing import machine

SEEDS, PART, CLASSES = 256, 256, 1000  # images that are computed for good, records of a part, classes
NETWORK = """
from attnlab.models.load import load_model
from torch import nn

def build():
    network = load_model("resnet8").network
    last, network.classifier = network.classifier, nn.Linear(96, 1000)
    nn.init.zeros_(network.classifier.weight)
    nn.init.constant_(network.classifier.bias, -20)
    network.classifier.weight.data[:10], network.classifier.bias.data[:10] = last.weight.data, last.bias.data
    network.input_size = (56, 56)
    return network
"""
#: the command line, which prints in the end the most memory that its process held: `VmHWM: 1234 kB`
PROGRAM = """
import atexit, sys
from attnlab_cli import main
atexit.register(lambda: print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))))
sys.argv[0] = "attnlab"
main()
"""
#: what is measured -> words behind `attnlab`; RUN is the run's folder
COMMANDS = {
    "tables": ("tables", "RUN"),
    "figures": ("figures", "RUN", "--trust-code"),
    "report --no-images": ("report", "RUN", "--no-images", "--out", "RUN/bare.html"),
    "report": ("report", "RUN", "--trust-code"),
    "analyze, all parts whole": ("analyze",),  # the same command again
}


def data_of(folder: Path, count: int) -> Path:
    """A data set of so many images, links to a few scenes, in files that exist once."""
    root = folder / f"data-{count}"
    if (root / "boxes.csv").exists():
        return root
    root.mkdir(parents=True)
    scenes = load_dataset("scenes", split="val")
    draw, lines = np.random.default_rng(0), ["image,label,x0,y0,x1,y1"]
    seeds = [scenes.read(number) for number in range(SEEDS)]
    for number in range(count):
        name, seed = f"ILSVRC2012_val_{number:08d}.png", seeds[number % SEEDS]
        if number < SEEDS:
            seed.image.save(root / name)
        else:
            os.link(root / f"ILSVRC2012_val_{number % SEEDS:08d}.png", root / name)
        label = seed.label + (10 * int(draw.integers(CLASSES // 10)) if number >= SEEDS else 0)
        lines += [f"{name},{label},{','.join(f'{edge:g}' for edge in box)}" for box in seed.boxes.tolist()]
    (root / "classes.txt").write_text("".join(f"class {number}, or its other name\n" for number in range(CLASSES)))
    (root / "net.py").write_text(NETWORK)
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


def run_of(folder: Path, count: int, *, lime: bool) -> tuple[Path, list[str]]:
    """A finished run of so many images, and the words of the command that would make it."""
    root, out = data_of(folder, count), folder / f"run{'-lime' if lime else ''}-{count}"
    options = {"data": "folder", "root": root, "model": f"{root}/net.py:build", "batch_size": 64, "workers": 0}
    if lime:
        options |= {"method": "grad-cam,lime", "lime_superpixels": "slic", "lime_samples": "50", "lime_batch_size": 50}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    if (out / "records" / f"part-{(count - 1) // PART:05d}.parquet").exists():
        return out, [*words, f"--out={out}"]
    analyze(AnalyzeConfig.of(**options, limit=SEEDS, out=out))
    images: Any = load_dataset("folder", root, "val")
    run = Run(out, ATTENTION)
    rows, manifest = run.table().to_pylist(), run.manifest
    manifest["options"]["images"] = count
    manifest["data"] = describe_data(images, range(count))
    run.write_manifest(manifest)
    draw = np.random.default_rng(1)
    for number, start in enumerate(range(0, count, PART)):
        places = range(start, min(start + PART, count))
        run.write_part(number, [_renamed(rows[at % SEEDS], images, at, draw) for at in places])
    return out, [*words, f"--out={out}"]


def _renamed(record: Mapping[str, Any], images: Any, place: int, draw: np.random.Generator) -> dict[str, Any]:
    """A record as another image's, of another class; its numbers are moved a little."""
    shift = images.entries[place].label - record["label"]

    def near(value: float | None) -> float | None:
        return None if value is None else float(np.clip(value + draw.normal(0, 0.02), 0, 1))

    def moved(row: Mapping[str, Any]) -> dict[str, Any]:
        maps = [{**one, "iou_att_gt": near(one["iou_att_gt"])} for one in row["maps"]]
        return {**row, "confidence": near(row["confidence"]), "maps": maps, "prediction": row["prediction"] + shift}

    attacked = [moved(row) for row in record["adversarial"]]
    return {
        **moved(record),
        "image_id": images.image_ids[place],
        "label": record["label"] + shift,
        "adversarial": attacked,
    }


def measured(words: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a command of attnlab in a process of its own, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split()[-2]) / 1024


@click.command()
@click.argument("folder", type=Path)
@click.option("--images", "counts", type=int, multiple=True, default=(1000, 50_000), show_default=True)
@click.option("--lime", is_flag=True, help="Of runs with LIME.")
@click.option("--only", multiple=True, type=click.Choice(list(COMMANDS)))
def main(folder: Path, counts: tuple[int, ...], lime: bool, only: tuple[str, ...]) -> None:
    """Make runs in FOLDER, or take those that are there, and print a table of seconds and peak memory."""
    runs = {count: run_of(folder.resolve(), count, lime=lime) for count in counts}
    print(machine(libraries=("pandas", "pyarrow", "numpy")), flush=True)
    print(f"\n| command | {' | '.join(f'{count:,} images' for count in counts)} | memory |")
    print(f"|---|{'---|' * len(counts)}---|", flush=True)
    for name in only or COMMANDS:
        took = []
        for out, again in runs.values():
            words = (
                again
                if COMMANDS[name] == ("analyze",)
                else [word.replace("RUN", str(out)) for word in COMMANDS[name][1:]]
            )
            took.append(measured([COMMANDS[name][0], *words]))
        cells = [f"{seconds:.1f} s, {memory:.0f} MB" for seconds, memory in took]
        print(f"| {name} | {' | '.join(cells)} | {took[-1][1] / took[0][1]:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
