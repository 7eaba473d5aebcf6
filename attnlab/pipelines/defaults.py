"""What a run uses where the user says nothing."""

import os

import torch

from attnlab.data.base import ImageSet
from attnlab.errors import UserError

#: data set -> model that belongs to it
MODELS = {"scenes": "resnet8", "imagenet": "inception_v3"}

#: pixels of a batch: small batches keep a CPU's caches warm, large ones fill a GPU
PIXELS = {"cpu": 500_000, "cuda": 16_000_000}
LARGEST_BATCH = {"cpu": 64, "cuda": 256}


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


def workers(images: ImageSet) -> int:
    """Processes that decode images; none for sets whose images are all of one size, which need no decoding."""
    return 0 if images.size else min(8, os.cpu_count() or 1)
