"""Maps from the features and the gradient of one pass, as Grad-CAM's: they differ in how the channels are weighted.

A is the attention layer's output, (C, h, w) of an image; S the logit of the class; g = dS / dA. All maps are signed:
the papers' last ReLU is left out, as it is of Grad-CAM. Behind a closed form g is the same in every cell, so that no
backward pass is made and nothing of the size of A is written.
"""

import torch
from torch import Tensor

from attnlab.arrays import Maps
from attnlab.attention.model_pass import ModelPass


def grad_cam_plus_plus(seen: ModelPass) -> Maps:
    """Grad-CAM++ map (Chattopadhay et al. 2018), (N, h, w): sum_k w_k A_k.

    w_k is the sum over the cells of alpha relu(g), with alpha = g^2 / (2 g^2 + g^3 sum_ab A_k,ab) (eq. 19), 0 where g
    is 0. The paper takes the gradient of Y = exp(S); a map here lacks the factor exp(S) of its image, which changes no
    ranking and overflows for large logits. The formula is meant for features behind a ReLU: where the sum of a channel
    is negative, alpha has a pole.

    grad-cam adds 1e-6 to the denominator, more than 2 g^2 in half of MobileNetV2's channels; torch-cam 0.5.0 divides a
    copy, so that its weights are the sum of relu(g)^3.
    """
    gradient, sums = _gradient(seen), seen.features.sum((2, 3), keepdim=True)
    denominator = 2 + gradient * sums  # both sides of alpha over g^2
    cells = gradient.relu() / denominator.where(denominator != 0, torch.inf)
    weights = cells.mean((2, 3)) * seen.features[0, 0].numel()
    return torch.einsum("nc,nchw->nhw", weights, seen.features)


def layer_cam(seen: ModelPass) -> Maps:
    """LayerCAM map (Jiang et al. 2021), (N, h, w): sum_k relu(g_k) A_k, cell by cell."""
    return _weighted(_gradient(seen).relu(), seen.features)


def hires_cam(seen: ModelPass) -> Maps:
    """HiResCAM map (Draelos and Carin 2020), (N, h, w): sum_k g_k A_k, cell by cell.

    Behind a closed form it is Grad-CAM's.
    """
    return _weighted(_gradient(seen), seen.features)


def xgrad_cam(seen: ModelPass) -> Maps:
    """XGrad-CAM map (Fu et al. 2020), (N, h, w): sum_k w_k A_k, w_k the mean of g_k weighted by A_k.

    w_k = sum_ij g_k,ij A_k,ij / sum_ij A_k,ij; a channel whose sum is 0, as one that a ReLU has shut, has weight 0
    (grad-cam and torch-cam add 1e-7 and 1e-8 to the sum). Behind a closed form it is Grad-CAM's.
    """
    if seen.classifier.head is not None:
        return _weighted(_gradient(seen), seen.features)
    sums = seen.features.sum((2, 3))
    weights = (seen.gradient * seen.features).sum((2, 3)) / sums.where(sums != 0, torch.inf)
    return torch.einsum("nc,nchw->nhw", weights, seen.features)


def eigen_cam(seen: ModelPass) -> Maps:
    """Eigen-CAM map (Muhammad and Yeasin 2020), (N, h, w): A, cells by channels, times its first right singular vector.

    It does not depend on a class. A singular vector has no sign of its own: here the cell of largest magnitude is
    positive, as in Chung and Ying 2025 (eq. 13); behind a ReLU no cell is negative then. A is not centred, as in the
    paper; grad-cam subtracts the mean of each channel first and leaves the sign to chance.
    """
    cells = seen.features.flatten(2)  # (N, C, h w)
    few_cells = cells.shape[2] <= cells.shape[1]
    gram = cells.mT @ cells if few_cells else cells @ cells.mT
    first = _leading_vector(gram)
    if few_cells:  # A v = s u, s^2 the eigenvalue
        squared = (first * (gram @ first[..., None])[..., 0]).sum(1, keepdim=True)
        projected = first * squared.clamp(min=torch.finfo(gram.dtype).tiny).sqrt()
    else:
        projected = (cells.mT @ first[..., None])[..., 0]
    largest = projected.gather(1, projected.abs().argmax(1, keepdim=True))
    return (projected * largest.sign()).view(-1, *seen.features.shape[2:])


def _gradient(seen: ModelPass) -> Tensor:
    """Gradient by each cell, (N, C, h, w); behind a closed form the one that a channel's cells share, (N, C, 1, 1)."""
    return seen.gradient if seen.classifier.head is None else seen.weights[..., None, None]


def _weighted(weights: Tensor, features: Tensor) -> Maps:
    """Sum over the channels of weights, (N, C, h, w) or (N, C, 1, 1), times features."""
    if weights.shape[2:] != features.shape[2:]:
        return torch.einsum("nc,nchw->nhw", weights[..., 0, 0], features)
    maps: Tensor = (weights * features).sum(1)
    return maps


def _leading_vector(gram: Tensor) -> Tensor:
    """Eigenvector of the largest eigenvalue of symmetric matrices, (N, n, n) to (N, n), with its first derivative.

    torch's own derivative is NaN where two of the other eigenvalues are equal, as the zeros of a matrix of low rank.
    """
    finite = gram.detach().nan_to_num(0, 0, 0)  # eigh raises; of an image with NaN the map is NaN nonetheless
    values, vectors = torch.linalg.eigh(finite)
    first: Tensor = vectors[..., -1]
    if gram.requires_grad:
        gaps = values[..., -1:] - values[..., :-1]
        change = (gram - gram.detach()) @ first[..., None]  # 0, but for its derivative
        others = vectors[..., :-1]
        moved = (others.mT @ change)[..., 0] / gaps.where(gaps > 0, torch.inf)
        first = first + (others @ moved[..., None])[..., 0]
    return first
