"""What a list of images holds, in a line before a run: counts, ground truth, and what cannot be used and why."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attnlab.boxes import mask_of, usable
from attnlab.data.base import UNLABELLED, Example, ImageSet
from attnlab.errors import Unusable
from attnlab.words import counted

SAMPLED = 16  # images that are read for what is known of their pixels alone
REASONS = 3  # kinds of reasons that are named


class Truth(NamedTuple):
    """Ground truth of one image, before it is resized."""

    boxes: int  # usable ones
    masked: bool  # whether its mask counts
    share: float  # of the frame's area that it covers; NaN without any


@dataclass(frozen=True)
class Summary:
    """What is known of images before they are computed with.

    Attributes:
        images: Number of images asked for.
        classes: Number of classes among those that can be used.
        labelled: Whether they have labels.
        has_truth: Whether the set has ground truth at all.
        truths: Of images that were read, evenly spaced.
        reasons: Why images cannot be used, each with their number, the most frequent first. Of those that were not
            read only what is known without reading them.
    """

    images: int
    classes: int
    labelled: bool
    has_truth: bool
    truths: Sequence[Truth]
    reasons: Mapping[str, int]

    def __str__(self) -> str:
        """In a line."""
        known = [truth for truth in self.truths if not math.isnan(truth.share)]
        of = f" of {counted(self.classes, 'class')}" if self.classes else "" if self.labelled else " without labels"
        parts = [f"{counted(self.images, 'image')}{of}"]
        if not self.has_truth:
            parts.append("no boxes or masks")
        elif known:
            boxes = sum(truth.boxes for truth in self.truths) / len(self.truths)
            masks = sum(truth.masked for truth in known)
            listed = [f"{boxes:.1f} boxes an image"] + ([f"masks of {masks}"] if masks else [])
            share = 100 * sum(truth.share for truth in known) / len(known)
            parts.append(
                f"{' and '.join(listed)}, which cover {share:.0f} % of the frame (of {len(self.truths)} that were read)"
            )
        elif self.truths:
            parts.append(f"no usable box or mask in {counted(len(self.truths), 'image')} that were read")
        if self.reasons:
            shown = [f"{count} {reason}" for reason, count in list(self.reasons.items())[:REASONS]]
            more = ", ..." if len(self.reasons) > REASONS else ""
            parts.append(f"{sum(self.reasons.values())} cannot be used ({', '.join(shown)}{more})")
        return "; ".join(parts)


def summarise(images: ImageSet, positions: Sequence[int], truth: str = "mask") -> Summary:
    """Look at images of a set: at all of them as far as they need not be read, and into a few.

    Args:
        images: Any image set.
        positions: Indices of those that are asked for.
        truth: A name in TRUTHS, as of `attnlab.data.resizing.ResizedDataset`.
    """
    labels = {position: images.label_of(position) for position in positions}
    usable_ones = [position for position, label in labels.items() if label is not None]
    step = max(1, len(usable_ones) // SAMPLED)
    looked = [_look(images, position, truth) for position in usable_ones[::step][:SAMPLED]]
    reasons = Counter(str(one) for one in looked if isinstance(one, Unusable))
    reasons.update(_reasons(images, [position for position, label in labels.items() if label is None]))
    return Summary(
        images=len(positions),
        classes=len(set(labels.values()) - {None, UNLABELLED}),
        labelled=UNLABELLED not in labels.values(),
        has_truth=images.has_boxes,
        truths=[one for one in looked if isinstance(one, Truth)],
        reasons=dict(reasons.most_common()),
    )


def _reasons(images: ImageSet, positions: Sequence[int]) -> Iterator[str]:
    """Why images without a label cannot be used."""
    for position in positions:
        try:
            images.read(position)
        except Unusable as reason:
            yield str(reason)


def _look(images: ImageSet, position: int, truth: str) -> Truth | Unusable:
    """The ground truth of an image, or why it cannot be used."""
    try:
        return truth_of(images.read(position), truth)
    except Unusable as reason:
        return reason


def truth_of(example: Example, truth: str = "mask") -> Truth:
    """The ground truth of an image as it is stored; see `summarise`."""
    height, width = example.size
    boxes = usable(example.boxes, height, width)
    mask = example.mask_that_counts()[0] if truth == "mask" or not len(example.boxes) else None
    if mask is not None:
        return Truth(len(boxes), True, float(mask.mean()) if mask.any() else math.nan)
    return Truth(len(boxes), False, float(mask_of(boxes, height, width).float().mean()) if len(boxes) else math.nan)
