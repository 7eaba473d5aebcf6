"""Defaults of device, batch size, workers, and each data set's model."""

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from attnlab.attention.masked_inference import MaskedInference, in_batches
from attnlab.data import DATASETS
from attnlab.data.base import ImageSet
from attnlab.data.resizing import Batch
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.shards import launched
from attnlab.superpixels import grid, superpixels
from attnlab.words import counted

#: pixels of a batch: small batches keep a CPU's caches warm, large ones fill a GPU
PIXELS = {"cpu": 500_000, "cuda": 4_000_000}
LARGEST_PASS = 1024  # images of a pass that are tried
LARGEST_BATCH = {"cpu": 64, "cuda": 1024}
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container


def model_for(data: str) -> str:
    """Name of the model that belongs to a data set, or a UserError where none does."""
    if not DATASETS[data].model:
        raise UserError(f"data set {data!r} has no model of its own; name one with --model")
    return DATASETS[data].model


def choose_device(name: str) -> torch.device:
    """The device of that name, which is to be had here; `auto` is the first GPU, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        float(torch.ones(1, device=device))  # of a device without numbers, such as meta, there is none
    except (RuntimeError, AssertionError, ImportError, AttributeError, ValueError) as error:
        known = name.partition(":")[0] in ("cpu", "cuda", "mps", "xpu")
        reason = f" ({str(error).strip().splitlines()[0].partition('. ')[0]})" if known else ""
        raise UserError(
            f"expected --device to be auto, cpu or an accelerator of this machine, got {name!r}{reason}; "
            "try --device cpu"
        ) from None
    return device


def own_device(name: str) -> torch.device:
    """The device of that name; of several processes that torchrun started each has the GPU of its own number.

    Raises:
        UserError: If it is not to be had here, or one GPU is named for several processes.
    """
    device = choose_device(name)
    if launched() > 1 and device.index is not None:
        raise UserError(f"expected --device cuda under torchrun, which gives each process its own GPU, got {name}")
    number = os.environ.get("LOCAL_RANK", "0")  # of this process among those torchrun started on this machine
    return choose_device(f"cuda:{number}") if device == torch.device("cuda") and launched() > 1 else device


def batch_size(device: torch.device, size: tuple[int, int]) -> int:
    """Images a pass for a model of that input size."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    return max(1, min(LARGEST_BATCH[kind], PIXELS[kind] // (size[0] * size[1])))


def fastest_batch(run: Callable[[int], int], device: torch.device) -> tuple[int, float]:
    """Images a pass that give the most images a second, and how many those are.

    Found by trying, twice as many each time, as long as it pays and there is memory for it. `run` makes a pass of so
    many images, and returns how many of them memory allowed at once.
    """
    best, best_speed = 1, 0.0
    size = 32 if device.type == "cuda" else 1
    while size <= LARGEST_PASS:
        fits, seconds = zip(*(_timed(run, size) for _ in range(3)), strict=True)
        speed = size / min(seconds)
        if speed > best_speed * 1.02:
            best, best_speed = min(fits), speed
        if min(fits) < size or size >= 4 * best:  # memory ran out, or it does not pay any more
            break
        size *= 2
    return best, best_speed


def _timed(run: Callable[[int], int], size: int) -> tuple[int, float]:
    start = perf_counter()
    with naming(f"{counted(size, 'image')}, tried as a batch"):
        fits = run(size)
    return fits, perf_counter() - start


def lime_batch_size(classifier: Classifier) -> tuple[int, float]:
    """LIME's samples a pass, and samples a second, composing included."""
    height, width = classifier.input_size
    image = torch.rand(1, classifier.channels, height, width, device=classifier.device)
    segments = torch.from_numpy(grid(np.empty((height, width)), 0))[None].to(classifier.device)
    sampler = MaskedInference(classifier, image, torch.zeros(1, dtype=torch.long), segments, "grey", 1)
    shown = torch.rand(LARGEST_PASS, int(segments.max()) + 1) < 0.5

    def run(size: int) -> int:
        sampler.batch_size = size
        sampler([(0, shown[:size])])
        return sampler.batch_size

    with frozen_eval(classifier):
        return fastest_batch(run, classifier.device)


def map_batch_size(classifier: Classifier) -> tuple[int, float]:
    """Images a pass of an attention method's own, its gradient by the pixels included, and forward passes a second.

    The backward pass counts as two forward passes.
    """
    image = torch.rand(1, classifier.channels, *classifier.input_size, device=classifier.device)

    def gradient(part: slice) -> float:
        pixels = image.repeat(part.stop - part.start, 1, 1, 1).requires_grad_()
        with torch.enable_grad():
            score = classifier(pixels)[:, 0].sum()
        return float(torch.autograd.grad(score, pixels)[0].sum())  # waits for the device

    with frozen_eval(classifier):
        size, speed = fastest_batch(lambda size: in_batches(gradient, size, size)[1], classifier.device)
    return size, 3 * speed


def cutting_seconds(batch: Batch, method: str) -> float:
    """Seconds that an image of a batch takes to be cut into superpixels, on average."""
    start = perf_counter()
    for pixels in batch.pixels.numpy():
        superpixels(pixels / np.float32(255), method, 0)
    return (perf_counter() - start) / max(1, len(batch.pixels))


def workers(images: ImageSet, with_lime: bool = False) -> int:
    """Processes that decode images and cut superpixels; none where there is nothing to decode or cut."""
    return 0 if images.size and not with_lime else reading_processes()


def reading_processes() -> int:
    """One a core that this process may use, at most 8; under torchrun this process's share of them."""
    return min(8, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def usable_cores() -> int:
    """Cores that this process may use: those of the machine less what affinity and a container's quota take away."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        return min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one without a limit (`max`)
        return cores
