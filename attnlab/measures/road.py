"""ROAD (Rong et al. 2022): remove and debias, with pixels filled in from their neighbours instead of greyed."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Maps, PerImage
from attnlab.attention.map_metrics import is_constant, top_k_mask
from attnlab.attention.masked_inference import MaskedInference
from attnlab.models.classifier import Classifier

KEPT = (20, 40, 60, 80)  # percent of the pixels that are kept
NOISE = 0.01  # standard deviation of what is added to pixels that are filled in
#: weight of a pixel's neighbour to the right, below, and to the lower right and left, as of those across from them
NEIGHBOURS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}


def road(
    classifier: Classifier,
    images: Images,
    maps: Maps,
    classes: Labels,
    seeds: Sequence[int],
    batch_size: int = 64,
    noise: float = NOISE,
) -> PerImage:
    """Mean over the KEPT of (score without the least relevant - score without the most relevant pixels) / 2.

    Removed pixels are imputed by `filled_in`, with Gaussian noise of each image's seed; the score is the softmax
    probability of the class. Combined as `ROADCombined` of the package grad-cam does.

    Args:
        classifier: In eval mode.
        images: Pixels in [0, 1], (N, C, H, W).
        maps: Signed, at the images' size, (N, H, W).
        classes: That the maps explain, (N,).
        seeds: Of each image's noise.
        batch_size: Images of a forward pass, halved when memory runs out.
        noise: Standard deviation in pixels of [0, 1].

    Returns:
        In [-1, 1], higher is better: (N,), float64, NaN where a map is constant.
    """
    removed = _removed(maps)  # (N, 2 K, H, W)
    imputed = torch.stack([_imputed(*each, noise) for each in zip(images.cpu(), removed.cpu(), seeds, strict=True)])
    count = removed.shape[1]
    engine = MaskedInference(
        classifier,
        imputed.to(images).flatten(0, 1),
        classes.repeat_interleave(count),
        torch.zeros(len(images) * count, *maps.shape[1:], dtype=torch.long, device=images.device),
        "grey",
        batch_size,
    )
    scores = torch.cat(engine([(image, torch.ones(1, 1)) for image in range(len(images) * count)]))
    least, most = scores.view(len(images), 2, -1).mean(2).unbind(1)
    return ((least - most) / 2).masked_fill(is_constant(maps).cpu(), torch.nan)


def _removed(maps: Maps) -> Areas:
    """Which pixels go: the least relevant, then the most relevant, for each of KEPT, (N, 2 K, H, W).

    Of p percent, those are kept that lie below the p-th percentile, linear between pixels; of equal values the lower
    index is the higher one.
    """
    kept = [-(-percent * (maps[0].numel() - 1) // 100) for percent in KEPT]
    counts = [torch.full((len(maps),), count) for count in kept]
    least = [~top_k_mask(maps, count) for count in counts]
    most = [top_k_mask(maps, maps[0].numel() - count) for count in counts]
    return torch.stack(least + most, 1)


def _imputed(image: Tensor, removed: Areas, seed: int, noise: float) -> Images:
    """An image (C, H, W) with each of these sets of pixels, (K, H, W), filled in: (K, C, H, W)."""
    filled = torch.stack([filled_in(image, one) for one in removed])
    draws = torch.randn(filled.shape, generator=torch.Generator().manual_seed(seed))
    return filled + noise * draws * removed[:, None]


def filled_in(image: Tensor, removed: Areas) -> Tensor:
    """The image (C, H, W) whose removed pixels, (H, W), are the weighted mean of their eight neighbours, all at once.

    A neighbour beside the pixel weighs 1/6, one at a corner 1/12, one beyond the frame nothing, scaled to a sum of 1
    (Rong et al. 2022, section 4); the sparse linear system is solved exactly.
    """
    gone = removed.flatten().numpy().nonzero()[0]
    kept = (~removed).flatten().numpy().nonzero()[0]
    pixels = image.double().flatten(1).numpy().copy()  # (C, H W)
    if not len(gone) or not len(kept):
        return image
    height, width = removed.shape
    index = np.arange(height * width).reshape(height, width)
    weights = sparse.csr_matrix((height * width,) * 2)
    for (down, right), weight in NEIGHBOURS.items():
        here = index[: height - down, max(0, -right) : width - max(0, right)].ravel()
        there = here + down * width + right
        one_way = sparse.csr_matrix((np.full(len(here), weight), (here, there)), weights.shape)
        weights = weights + one_way + one_way.T
    from_kept = weights[gone][:, kept] @ pixels[:, kept].T
    system = sparse.diags(np.asarray(weights[gone].sum(1)).ravel()) - weights[gone][:, gone]
    # symmetric and diagonally dominant: no pivoting, and an order of elimination for such
    solver = splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    pixels[:, gone] = solver.solve(from_kept).T
    return torch.from_numpy(pixels).view(image.shape).to(image.dtype)
