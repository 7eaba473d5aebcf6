"""How far a map has moved from the clean one: a value per image, (N,), 0 at the clean map, with a gradient by the map.

A map with no positive value does not show where a classifier looks. Its distance is 0, so that an attack gains nothing
by removing the evidence; records leave it out, see `shows`. All but `cosine` are of maps after the ReLU, scaled to a
sum of 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Maps, PerImage

SHARE = 0.2  # of the cells, the highest of the clean map, that `top-k` is about: 10 of 49, 13 of 64


def mass_out_of_top_k(clean: Maps, maps: Maps) -> PerImage:
    """Share of a map's mass that has left the highest fifth of the clean map's cells (Ghorbani et al. 2019, top-k).

    The paper climbs minus the sum over the clean image's top k; here the clean map's own sum is added, so that 0 is the
    clean map and 1 the most.
    """
    count = max(1, round(SHARE * clean[0].numel()))
    highest = clean.flatten(1).argsort(dim=1, descending=True, stable=True)[:, :count]
    left = (_mass(clean) - _mass(maps)).flatten(1).gather(1, highest).sum(1)
    return left * both_show(clean, maps, "top-k")


def euclidean(clean: Maps, maps: Maps) -> PerImage:
    """Euclidean distance of the maps, from 0 to the root of 2 (Dombrowski et al. 2019: their loss has its square)."""
    distance: PerImage = torch.linalg.vector_norm(_mass(clean) - _mass(maps), dim=(1, 2))
    return distance * both_show(clean, maps, "l2")


def cosine(clean: Maps, maps: Maps) -> PerImage:
    """1 less the cosine of the signed maps, from 0 to 2."""
    return (1 - F.cosine_similarity(clean.flatten(1), maps.flatten(1))) * both_show(clean, maps, "cosine")


def shift_of_centre(clean: Maps, maps: Maps) -> PerImage:
    """Distance of the maps' centres of mass, in heights and widths of the image (Ghorbani et al. 2019, mass centre)."""
    distance: PerImage = torch.linalg.vector_norm(_centres(clean) - _centres(maps), dim=1)
    return distance * both_show(clean, maps, "centre")


def shows(maps: Maps, distance: str) -> PerImage:
    """Which maps have what a distance is about, (N,), bool: a positive value, of `cosine` one that is not 0."""
    return maps.flatten(1).any(1) if distance == "cosine" else maps.amax((1, 2)) > 0


def both_show(clean: Maps, maps: Maps, distance: str) -> PerImage:
    """Whether both maps have what a distance is about, (N,), bool; if one has not, the distance is 0."""
    return shows(clean, distance) & shows(maps, distance)


def _mass(maps: Maps) -> Maps:
    """Maps after the ReLU, each scaled to a sum of 1; all 0 where nothing is positive."""
    positive = maps.relu()
    total = positive.sum((1, 2), keepdim=True)
    return positive / total.where(total > 0, 1)


def _centres(maps: Maps) -> Tensor:
    """Centre of mass of each map, 0 to 1 from top to bottom and from left to right, (N, 2)."""
    mass = _mass(maps)
    middles = [(torch.arange(length, device=maps.device) + 0.5) / length for length in maps.shape[1:]]
    return torch.stack([mass.sum(2) @ middles[0].to(mass), mass.sum(1) @ middles[1].to(mass)], 1)
