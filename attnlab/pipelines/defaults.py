"""What a run uses where the user says nothing."""

import os
from time import perf_counter

import torch
from torch import Tensor

from attnlab.data.base import ImageSet
from attnlab.errors import UserError
from attnlab.hooks import borrowed, out_of_memory
from attnlab.models.classifier import Classifier

#: data set -> model that belongs to it
MODELS = {"scenes": "resnet8", "imagenet": "inception_v3"}

#: pixels of a batch: small batches keep a CPU's caches warm, large ones fill a GPU
PIXELS = {"cpu": 500_000, "cuda": 4_000_000}
LARGEST_LIME_BATCH = 1024
LARGEST_BATCH = {"cpu": 64, "cuda": 128}


def model_for(data: str) -> str:
    """Name of the model that belongs to a data set.

    Raises:
        UserError: If none does.
    """
    if data not in MODELS:
        raise UserError(f"data set {data!r} has no model of its own; name one with --model")
    return MODELS[data]


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        UserError: If it is not to be had here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        known = name.partition(":")[0] in ("cpu", "cuda", "mps", "xpu")
        reason = f" ({str(error).strip().splitlines()[0]})" if known else ""
        raise UserError(
            f"expected --device to be auto, cpu or an accelerator of this machine, got {name!r}{reason}; "
            "try --device cpu"
        ) from None
    return device


def batch_size(device: torch.device, size: tuple[int, int]) -> int:
    """Images a pass for a model of that input size."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    return max(1, min(LARGEST_BATCH[kind], PIXELS[kind] // (size[0] * size[1])))


def lime_batch_size(classifier: Classifier) -> tuple[int, float]:
    """Samples a pass that give the most samples a second, and how many those are.

    Found by trying, twice as many each time, as long as it pays and there is memory for it.
    """
    device = classifier.device
    best, best_speed = 0, 0.0
    size = 32 if device.type == "cuda" else 1
    with torch.no_grad(), borrowed(classifier):
        while size <= LARGEST_LIME_BATCH:
            images = torch.rand(size, classifier.channels, *classifier.input_size, device=device)
            try:
                speed = max(_speed(classifier, images) for _ in range(3))
            except RuntimeError as error:
                if not out_of_memory(error) or size == 1:
                    raise
                if best:
                    break
                size //= 2
                continue
            if speed > best_speed * 1.02:
                best, best_speed = size, speed
            elif size >= 4 * best:
                break
            size *= 2
    return best, best_speed


def _speed(classifier: Classifier, images: Tensor) -> float:
    start = perf_counter()
    classifier(images).sum().item()  # waits for the device
    return len(images) / (perf_counter() - start)


def workers(images: ImageSet, with_lime: bool = False) -> int:
    """Processes that decode images and cut superpixels; none where there is nothing to decode or cut."""
    return 0 if images.size and not with_lime else min(8, os.cpu_count() or 1)
