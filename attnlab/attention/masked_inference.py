"""Images partly hidden: composed in whole batches on the device, and what a classifier makes of them.

LIME asks it for superpixels, insertion and deletion for steps of pixels, infidelity for squares.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Images, Labels
from attnlab.errors import UserError
from attnlab.hooks import out_of_memory
from attnlab.models.classifier import Classifier

GREY = 0.5
HIDES = ("grey", "mean")
Answer = TypeVar("Answer")


class NotFinite(UserError):  # noqa: N818 - named after what the model gave
    """The model gave NaN for a perturbed image; `image` is the number of that image."""

    def __init__(self, image: int, name: str = "") -> None:
        super().__init__(f"the model gave NaN for a perturbed copy of image {name or image}")
        self.image = image


def in_batches(run: Callable[[slice], Answer], count: int, batch_size: int) -> tuple[list[Answer], int]:
    """What `run` gives for one batch of `count` items after the other, and the batch size that memory allowed.

    The batch size is halved for good each time memory runs out.
    """
    answers: list[Answer] = []
    start = 0
    while start < count:
        try:
            answers.append(run(slice(start, min(count, start + batch_size))))
            start += batch_size
        except RuntimeError as error:
            if batch_size == 1 or not out_of_memory(error):
                raise
            batch_size //= 2
    return answers, batch_size


class MaskedInference:
    """Asks a classifier for the explained class's probability of images that are partly hidden."""

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        classes: Labels,
        segments: Tensor,
        hide: str | Images,
        batch_size: int,
    ) -> None:
        """Normalise the images and what hides them, as HIDES names it or as images of their own, once for all samples.

        `segments` is the superpixel of each pixel, (N, H, W), from 0 on; `batch_size`, the samples of a forward pass,
        is halved for good when memory runs out. The classifier is in eval mode.
        """
        self.classifier = classifier
        self.classes = classes.to(images.device)
        self.batch_size = batch_size
        # normalisation works pixel by pixel, so it may come before the images are composed
        self.images = self._flat(classifier.normalise(images))
        hidden = hidden_images(images, segments.long(), hide) if isinstance(hide, str) else hide
        self.hidden = self._flat(classifier.normalise(hidden))
        self.segments = self._flat(segments.long()[:, None].expand_as(images))
        self.shape = images.shape[1:]

    @torch.no_grad()
    def __call__(self, samples: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """Probabilities of samples, which may belong to several images: per pair (samples,), float64 on the CPU.

        A pair holds an image's number and what its samples show, (samples, superpixels), bool or the share of each
        superpixel that shines through what hides it, in [0, 1]. Raises NotFinite.
        """
        widest = max(rows.shape[1] for _, rows in samples)
        shown = torch.cat([F.pad(rows, (0, widest - rows.shape[1])) for _, rows in samples])
        owners = torch.cat([torch.full((len(rows),), image) for image, rows in samples])
        shown = shown.to(self.images)
        values, self.batch_size = in_batches(
            lambda part: self._probabilities(shown[part], owners[part]), len(shown), self.batch_size
        )
        probabilities = torch.cat(values).double().cpu()
        finite = probabilities.isfinite()
        if not finite.all():
            raise NotFinite(int(owners[~finite][0]))
        return list(torch.split(probabilities, [len(rows) for _, rows in samples]))

    def _probabilities(self, shown: Tensor, owners: Tensor) -> Tensor:
        """Compose one batch and run it: (B,); the owners are on the CPU, so that nothing waits for the device."""
        composed = self.images.new_empty(len(shown), self.images.shape[1])
        start = 0
        for owner, run in groupby(owners.tolist()):
            rows = slice(start, start + len(list(run)))
            mask = shown[rows].gather(1, self.segments[owner].expand(rows.stop - start, -1))
            # at the ends, 0 and 1, lerp gives its ends to the bit
            torch.lerp(self.hidden[owner], self.images[owner], mask, out=composed[rows])
            start = rows.stop
        logits = self.classifier.infer(self._unflat(composed))
        return logits.softmax(1).gather(1, self.classes[owners.to(self.classes.device)][:, None])[:, 0]

    def _flat(self, values: Tensor) -> Tensor:
        """Images or their segments value by value as the network has them in memory, (N, C, H, W) to (N, C H W)."""
        channels_last = self.classifier.memory_format == torch.channels_last
        return (values.permute(0, 2, 3, 1) if channels_last else values).flatten(1)

    def _unflat(self, flat: Tensor) -> Tensor:
        channels, height, width = self.shape
        if self.classifier.memory_format == torch.channels_last:
            return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(-1, channels, height, width)


def hidden_images(images: Images, segments: Tensor, hide: str) -> Images:
    """Images that hidden superpixels show: grey, or each superpixel's own mean colour, (N, C, H, W)."""
    if hide == "grey":
        return torch.full_like(images, GREY)
    flat = segments.flatten(1)[:, None].expand(-1, images.shape[1], -1)  # (N, C, H W)
    sums = torch.zeros(*images.shape[:2], int(segments.max()) + 1, dtype=torch.float64, device=images.device)
    counts = torch.zeros_like(sums).scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.float64))
    sums.scatter_add_(2, flat, images.flatten(2).double())
    return (sums / counts.clamp(min=1)).gather(2, flat).view(images.shape).to(images.dtype)
