"""Captum's methods on a `ModelPass`: passes that fit the memory, random numbers per image, channels summed."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention.masked_inference import in_batches
from attnlab.attention.model_pass import ModelPass
from attnlab.models.classifier import Classifier

#: passes, images, their classes, their seeds -> attributions of each pixel and channel, (N, C, H, W)
Attribute = Callable[["Passes", Images, Labels, list[int]], Tensor]


class Passes:
    """A classifier in passes of at most `size` images, halved for good when memory runs out.

    Captum calls it as its forward function and `gradient` as its gradient function, with as many images as it likes:
    so the size of a pass changes no random number that captum draws.
    """

    def __init__(self, classifier: Classifier, size: int) -> None:
        self.classifier = classifier
        self.size = size

    @torch.no_grad()
    def __call__(self, images: Images) -> Logits:
        """Logits without a gradient, (N, K)."""
        infer, normalise = self.classifier.infer, self.classifier.normalise
        return self.in_parts(len(images), lambda part: infer(normalise(images[part])))

    def gradient(
        self,
        forward_fn: Callable[[Images], Logits],
        inputs: tuple[Images],
        target_ind: Labels,
        additional_forward_args: None = None,
    ) -> tuple[Tensor]:
        """Gradient of each image's logit by its pixels, (N, C, H, W), of the forward function captum asks for."""
        (images,) = inputs
        classes = target_ind.expand(len(images))  # of one image captum repeats the class no more often than once

        def of_part(part: slice) -> Tensor:
            pixels = images[part].detach().requires_grad_()
            with torch.enable_grad():
                score = forward_fn(pixels).gather(1, classes[part, None]).sum()
            return torch.autograd.grad(score, pixels)[0]

        return (self.in_parts(len(images), of_part),)

    def in_parts(self, count: int, run: Callable[[slice], Tensor], samples: int = 1) -> Tensor:
        """What `run` gives for 0 ... count, part by part; each of the count stands for so many images of a pass."""
        step = max(1, self.size // samples)
        values, fits = in_batches(run, count, step)
        if fits < step:
            self.size = min(self.size, fits * samples)
        return torch.cat(values)


def pixel_maps(seen: ModelPass, attribute: Attribute, *, samples: int = 1, each: bool = False) -> Maps:
    """Signed map of each image at its own size, (N, H, W): the attributions of a pixel's channels, summed.

    `samples` images of a pass are made of each image at once. With `each` they are attributed one by one, each with
    random numbers of its own seed.
    """
    passes = Passes(seen.classifier, seen.batch_size)
    images, seeds = seen.images.detach(), list(seen.seeds)

    def of_part(part: slice) -> Tensor:
        with _quiet(), drawing(seeds[part.start], images.device):
            return attribute(passes, images[part], seen.classes[part], seeds[part]).detach().sum(1).to(images.dtype)

    if not each:
        return passes.in_parts(len(images), of_part, samples)
    return torch.cat([of_part(slice(number, number + 1)) for number in range(len(images))])


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch, numpy and Python draw from a seed inside the block, and go on afterwards as if nothing were drawn."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back captum's warnings that it sets hooks and flags: what it sets is taken back."""
    with warnings.catch_warnings():
        for text in ("Setting (forward|backward)", "Input Tensor .* did not already require"):
            warnings.filterwarnings("ignore", message=rf"\s*{text}")
        yield


def captum(name: str) -> Any:
    """A class of captum.attr, which is imported when the first is used."""
    import captum.attr

    return getattr(captum.attr, name)
