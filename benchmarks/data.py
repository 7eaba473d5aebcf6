"""Opening and decoding by reader and number of processes, against Pillow in a bare loop; and the memory it takes.

    python -m benchmarks.data [--images 200 --listed 50000 --readers folder,coco] [--folder DIR]

Images are crops of scikit-image's photographs, JPEG of 500x375, which every layout links to. The bare loop opens,
converts and resizes a file at a time, and nothing else; where a reader gives masks, it draws the object's polygon by
pycocotools and resizes that by Pillow, too. The speed of n worker processes, from the first batch of each on, is
divided by that of n such loops at once, each a process. Opening is timed with so many links to one file, in a
process that has imported everything.
"""

import gc
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import cos, pi, sin
from pathlib import Path
from statistics import median

import click
import numpy as np
import skimage.data
import torch
from PIL import Image
from pycocotools import mask

from attnlab.data import load_dataset
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.pipelines.hardware import usable_cores
from attnlab.pipelines.memory import keep_freed
from attnlab.words import counted
from benchmarks.timing import machine

HEIGHT, WIDTH, SIZE, BATCH = 375, 500, (224, 224), 20
CLASSES = [f"class-{label}" for label in range(10)]
BOX = (100, 75, 400, 300)  # half-open, of every image
TURNS = [2 * pi * point / 20 for point in range(20)]
POLYGON = [round(value, 2) for turn in TURNS for value in (250 + 150 * cos(turn), 187.5 + 112.5 * sin(turn))]
MASKED = ("coco",)  # layouts whose readers give masks
LAYOUTS: dict[str, Callable[[Path, Sequence[Path]], object]] = {}

Layout = Callable[[Path, Sequence[Path]], object]


def layout(write: Layout) -> Layout:
    """Register a function that lays images out as a reader wants them: (folder, files) with labels 0 to 9 in turn."""
    LAYOUTS[write.__name__.replace("_", "-")] = write
    return write


@layout
def folder(root: Path, files: Sequence[Path]) -> None:
    """`boxes.csv`, and images beside it."""
    names = link(root / "images", files)
    rows = [f"images/{name},{label},{','.join(map(str, BOX))}" for name, label in names]
    (root / "boxes.csv").write_text("\n".join(["image,label,x0,y0,x1,y1", *rows]))


@layout
def class_folders(root: Path, files: Sequence[Path]) -> None:
    """`CLASS/*.jpg`."""
    for label, name in enumerate(CLASSES):
        link(root / name, files[label :: len(CLASSES)])


@layout
def coco(root: Path, files: Sequence[Path]) -> None:
    """Instances with a polygon of 20 points each."""
    names = link(root / "val2017", files)
    x0, y0, x1, y1 = BOX
    size = {"width": WIDTH, "height": HEIGHT}
    of_object = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 50_000.0, "iscrowd": 0, "segmentation": [POLYGON]}
    (root / "annotations").mkdir()
    content = {
        "images": [{"id": place, "file_name": name, **size} for place, (name, _) in enumerate(names)],
        "annotations": [
            {"id": place, "image_id": place, "category_id": label + 1, **of_object}
            for place, (_, label) in enumerate(names)
        ],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)],
    }
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))


@layout
def yolo(root: Path, files: Sequence[Path]) -> None:
    """A text file an image."""
    names = link(root / "images/val", files)
    (root / "labels/val").mkdir(parents=True)
    for name, label in names:
        (root / "labels/val" / name).with_suffix(".txt").write_text(f"{label} .5 .5 .6 .6\n")
    (root / "classes.txt").write_text("\n".join(CLASSES))


@layout
def voc(root: Path, files: Sequence[Path]) -> None:
    """An XML file an image."""
    names = link(root / "JPEGImages", files)
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), BOX, strict=True)
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for name, label in names:
        text = f"<object><name>{CLASSES[label]}</name><bndbox>{corners}</bndbox></object>"
        path = (root / "Annotations" / name).with_suffix(".xml")
        path.write_text(f"<annotation><filename>{name}</filename>{size}{text}</annotation>")
    (root / "ImageSets/Main/val.txt").write_text("\n".join(Path(name).stem for name, _ in names))


def link(folder: Path, files: Sequence[Path]) -> list[tuple[str, int]]:
    """Hard links to the files under names of their own; each name with its label."""
    folder.mkdir(parents=True)
    names = [(f"{place:06d}.jpg", place % len(CLASSES)) for place in range(len(files))]
    for (name, _), file in zip(names, files, strict=True):
        os.link(file, folder / name)
    return names


def photographs(root: Path, count: int) -> list[Path]:
    """So many different JPEG files, crops of scikit-image's photographs."""
    sources = [Image.fromarray(read()) for read in (skimage.data.astronaut, skimage.data.coffee, skimage.data.cat)]
    draw = np.random.default_rng(0)
    root.mkdir(parents=True)
    files = []
    for place in range(count):
        source = sources[place % len(sources)]
        left, top = draw.integers(0, source.width // 3), draw.integers(0, source.height // 3)
        crop = source.crop((left, top, left + source.width // 2, top + source.height // 2))
        files.append(root / f"{place}.jpg")
        crop.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def bare(files: Sequence[Path], masks: bool) -> None:
    """Decode and resize a file at a time by Pillow alone, and the mask of POLYGON with each where asked for."""
    for file in files:
        with Image.open(file) as image:
            picture = image.convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR)
            torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        if masks:
            drawn = Image.fromarray(mask.decode(mask.frPyObjects([POLYGON], HEIGHT, WIDTH))[..., 0])
            torch.from_numpy(np.array(drawn.resize(SIZE[::-1], Image.Resampling.NEAREST), bool))


def bare_loops(files: Sequence[Path], count: int, masks: bool) -> float:
    """Images per second of so many bare loops at once, each over all files in a process of its own."""
    together = multiprocessing.get_context("fork")
    start, seconds = together.Barrier(count), together.Queue()

    def loop() -> None:
        start.wait()
        seconds.put(seconds_of(partial(bare, files, masks)))

    loops = [together.Process(target=loop) for _ in range(count)]
    for process in loops:
        process.start()
    rate = sum(len(files) / seconds.get() for _ in loops)
    for process in loops:
        process.join()
    return rate


def read_all(images: ImageSet, workers: int) -> float:
    """Read every image at the size; images per second, with workers from the first batch of each on."""
    total = len(images.image_ids)
    batches = [list(range(at, min(at + BATCH, total))) for at in range(0, total, BATCH)]
    start = time.perf_counter()
    read = load_batches(ResizedDataset(images, SIZE), batches, workers, warn=False)
    for number, batch in enumerate(read, 1):
        assert not batch.skipped
        if number == workers:
            start, total = time.perf_counter(), total - sum(map(len, batches[:number]))
    return total / (time.perf_counter() - start)


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory(name: str, root: Path) -> float:
    """Largest memory in MB of a process that reads a whole data set."""
    command = [sys.executable, "-m", "benchmarks.data", "--memory", name, "--folder", str(root)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@click.command()
@click.option("--images", default=200, show_default=True, help="Different images that are decoded.")
@click.option("--listed", default=50_000, show_default=True, help="Images of a set that is opened.")
@click.option("--readers", default=",".join(LAYOUTS), show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--folder", "place", type=click.Path(path_type=Path), help="Where images are made; by default in /tmp.")
@click.option("--memory", hidden=True)
def main(images: int, listed: int, readers: str, rounds: int, place: Path | None, memory: str | None) -> None:
    """Print images per second, seconds to open, and memory, by reader."""
    if memory and place:
        keep_freed()
        read_all(load_dataset(memory, place, "val"), 0)
        click.echo(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        return
    click.echo(machine())
    keep_freed()  # as every run does
    with tempfile.TemporaryDirectory(dir=place) as made:
        root = Path(made)
        files = photographs(root / "files", images)
        names = readers.split(",")
        decoding(names, root, files, rounds)
        opening(names, root, files[0], listed)


def decoding(names: Sequence[str], root: Path, files: Sequence[Path], rounds: int) -> None:
    """Print images per second of each reader and number of processes, and what that is of as many bare loops."""
    counts = range(usable_cores() + 1)
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for name in names:
        LAYOUTS[name](root / name, files)
    for round_ in range(rounds + 1):  # the first warms up
        for name in names:
            opened = load_dataset(name, root / name, "val")
            for count in counts:  # the loops right before the reader: a machine's speed drifts
                both = bare_loops(files, max(1, count), name in MASKED), read_all(opened, count)
                rates.setdefault((name, count), []).extend([both] if round_ else ())
    click.echo(f"decoding {len(files)} images of {WIDTH}x{HEIGHT} to {SIZE[1]}x{SIZE[0]}, median of {rounds}")
    for (name, count), measured in rates.items():
        loops, reader = (median(values) for values in zip(*measured, strict=True))
        share = median(own / loop for loop, own in measured)
        bare = f"{share:.2f} of {counted(max(1, count), 'bare loop')} ({loops:.1f})"
        click.echo(f"{name:16} {count} processes {reader:9.1f} images/s, {bare}")


def opening(names: Sequence[str], root: Path, file: Path, listed: int) -> None:
    """Print seconds to open so many images, and the memory of reading 500 and 5,000."""
    click.echo(f"opening {listed} images, median of 3; memory of reading 500 and 5,000")
    for name in names:
        here = root / f"{name}-listed"
        LAYOUTS[name](here, [file] * listed)
        times = []
        for _ in range(3):
            gc.collect()
            times.append(seconds_of(partial(load_dataset, name, here, "val")))
        shutil.rmtree(here)
        peaks = []
        for count in (500, 5_000):
            LAYOUTS[name](here, [file] * count)
            peaks.append(peak_memory(name, here))
            shutil.rmtree(here)
        click.echo(f"{name:16} {median(times):6.2f} s; {peaks[0]:.0f} and {peaks[1]:.0f} MB")


if __name__ == "__main__":
    main()
