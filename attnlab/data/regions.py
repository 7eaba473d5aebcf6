"""Regions of an image that an attack may change, by the image's ground truth; no torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnlab.arrays import Areas

#: every pixel, those outside the ground truth alone, or those inside alone
WHERE = ("all", "outside", "inside")


def region_of(where: str, truth: "Areas") -> "Areas":
    """Pixels of that region, (..., H, W), from the ground truth, likewise; of the whole image all."""
    return truth if where == "inside" else ~truth if where == "outside" else truth | True


def lacks_region(where: str, truth: "Areas") -> str:
    """Why an image with this ground truth, (H, W), has no such region; empty where it has one."""
    if where == "all" or (truth.any() and not truth.all()):
        return ""
    if not truth.any():
        return f"no ground truth in the frame, {where} which to attack it"
    return "its ground truth fills the frame, so that nothing is outside"
