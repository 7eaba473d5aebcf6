"""Losses of training: named terms, each a scalar that is weighted already, so that their sum is the loss."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from attnlab.arrays import Images, Labels, Logits, Maps, PerImage
from attnlab.attention.map_metrics import above_mean, normalize_max, resize_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.training import Classification


def soft_margin(logits: Logits, labels: Labels) -> Tensor:
    """Mean multi-label soft margin loss: a binary cross-entropy of each class, averaged (L_c of the paper's eq. 10)."""
    return F.multilabel_soft_margin_loss(logits, F.one_hot(labels, logits.shape[1]).to(logits.dtype))


def clean(logits: Mapping[str, Logits], labels: Labels, classify: Classification, _weight: float) -> dict[str, Tensor]:
    """The classification loss of the clean images: no defence."""
    return {"clean": classify(logits["clean"], labels)}


def adversarial(
    logits: Mapping[str, Logits], labels: Labels, classify: Classification, _weight: float
) -> dict[str, Tensor]:
    """The classification loss of the adversarial images (Madry et al. 2018, eq. 2.1)."""
    return {"adversarial": classify(logits["adversarial"], labels)}


def mixed(logits: Mapping[str, Logits], labels: Labels, classify: Classification, _weight: float) -> dict[str, Tensor]:
    """The mean of both (Kurakin et al. 2017; Tramer et al. 2018)."""
    return {kind: 0.5 * classify(logits[kind], labels) for kind in ("clean", "adversarial")}


def alp(logits: Mapping[str, Logits], labels: Labels, classify: Classification, weight: float) -> dict[str, Tensor]:
    """The mean of both, and weight * mean squared gap of the logits (adversarial logit pairing, Kannan et al. 2018).

    The squared gap is averaged over images and classes.
    """
    gap = F.mse_loss(logits["adversarial"], logits["clean"])
    return {**mixed(logits, labels, classify, weight), "pairing": weight * gap}


def trades(logits: Mapping[str, Logits], labels: Labels, classify: Classification, weight: float) -> dict[str, Tensor]:
    """Clean loss + weight * KL(p(x) || p(x_adv)), gradient through both (TRADES, Zhang et al. 2019, eq. 5)."""
    divergence = _divergence(logits["clean"], logits["adversarial"]).mean()
    return {"clean": classify(logits["clean"], labels), "divergence": weight * divergence}


def mart(logits: Mapping[str, Logits], labels: Labels, classify: Classification, weight: float) -> dict[str, Tensor]:
    """BCE(p(x_adv), y) + weight * KL(p(x) || p(x_adv)) (1 - p_y(x)) (MART, Wang et al. 2020, eqs. 9-12).

    Its boosted cross-entropy BCE = -log p_y(x_adv) - log(1 - max_{k != y} p_k(x_adv)) is two terms.
    """
    attacked = logits["adversarial"]
    rival = attacked.scatter(1, labels[:, None], -torch.inf).argmax(1, keepdim=True)
    # log(1 - p_k) from the other classes' logits: exact where p_k is close to 1
    rest = attacked.scatter(1, rival, -torch.inf).logsumexp(1) - attacked.logsumexp(1)
    doubt = 1 - logits["clean"].softmax(1).gather(1, labels[:, None])[:, 0]
    divergence = _divergence(logits["clean"], attacked) * doubt
    return {
        "adversarial": classify(attacked, labels),
        "margin": -rest.mean(),
        "divergence": weight * divergence.mean(),
    }


def hide(images: Images, maps: Maps, fill: float = 0.0) -> Images:
    """x_m = x * (1 - Att(x)): the images without the pixels they are classified by (eq. 7), `fill` in their place.

    Att(x) = [g(x) >= mean(g(x))] of the map after the ReLU, enlarged to the image (eq. 3). A step function has no
    gradient, and none goes into the map. A map that is positive nowhere has no area, and hides nothing.
    """
    positive = maps.detach().relu()
    areas = above_mean(resize_maps(positive, (images.shape[2], images.shape[3]))) & has_area(maps)[:, None, None]
    return torch.where(areas[:, None], fill, images)


def rectification(logits: Logits, masked_logits: Logits) -> PerImage:
    """-||p(x) - p(x_m)||_2 of each image: one of the two parts of L_r (eq. 8).

    The paper's f is a "prediction vector" or "soft labels" (sections 4.1, 5.1): probabilities. Where both are equal the
    gradient is 0.
    """
    # the norm's backward is 0 at 0, where a square root's is NaN
    distance: Tensor = torch.linalg.vector_norm(logits.softmax(1) - masked_logits.softmax(1), dim=1)
    return -distance


def preservation(maps: Maps, adversarial_maps: Maps) -> PerImage:
    """||g(x) - g(x_adv)||_1 a cell, of each image: L_p (eq. 9), gradient through both maps.

    Each map is taken after the ReLU and scaled to a largest value of 1, so that shrinking the maps does not help. The
    mean over the cells lies in [0, 1] and means the same for every network; the paper's sum grows with the map.
    """
    return (normalize_max(maps) - normalize_max(adversarial_maps)).abs().mean((1, 2))


def summed_preservation(maps: Maps, adversarial_maps: Maps) -> PerImage:
    """||g(x) - g(x_adv)||_1 of the same maps, summed over the cells as eq. 9 has it: it grows with the map."""
    return preservation(maps, adversarial_maps) * maps[0].numel()


def softmax_maps(seen: ModelPass) -> Maps:
    """Attention as the authors' code has it: a softmax over the cells, positive everywhere, (N, h, w).

    Of Grad-CAM by gradients that are divided by their root mean square, as there, but each image's by its own, where
    the code takes the batch's.
    """
    gradient = seen.gradient.flatten(1)
    # the norm's backward is 0 at 0
    length = torch.linalg.vector_norm(gradient, dim=1) / gradient.shape[1] ** 0.5
    weights = seen.weights / length.where(length > 0, 1)[:, None]
    cells = torch.einsum("nc,nchw->nhw", weights, seen.features)
    return cells.flatten(1).softmax(1).view(cells.shape)


def squared_rectification(logits: Logits, masked_logits: Logits) -> PerImage:
    """Minus the mean over the classes of (p(x) - p(x_m))^2 of each image: a part of L_r in the authors' code."""
    return -(logits.softmax(1) - masked_logits.softmax(1)).square().mean(1)


def squared_preservation(maps: Maps, adversarial_maps: Maps) -> PerImage:
    """Sum over the cells of (g(x) - g(x_adv))^2 of each image, g of `softmax_maps`: L_p of the authors' code.

    The code sums over the pixels of enlarged maps, of which its CIFAR-10 has 16 a cell.
    """
    return (maps - adversarial_maps).square().sum((1, 2))


def has_area(maps: Maps) -> PerImage:
    """Which maps are positive anywhere, bool. The others are zero after the ReLU, and have no area."""
    return maps.amax((1, 2)) > 0


def mean_over(values: PerImage, valid: PerImage) -> Tensor:
    """Mean of the values that are valid, a scalar; 0 if none is.

    Where several processes train together, it is so scaled that the mean over the processes is the mean over all their
    images; each of them has to call it.
    """
    count = valid.sum().to(values.dtype)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return values.where(valid, 0).sum() / count.where(count > 0, 1)


def sum_over(values: PerImage, valid: PerImage) -> Tensor:
    """Sum of the values that are valid, a scalar, so scaled likewise: as much of several processes as of one."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return values.where(valid, 0).sum() * processes


def _divergence(clean_logits: Logits, adversarial_logits: Logits) -> PerImage:
    """KL(p(x) || p(x_adv)) of each image."""
    clean_log, adversarial_log = clean_logits.log_softmax(1), adversarial_logits.log_softmax(1)
    return F.kl_div(adversarial_log, clean_log, reduction="none", log_target=True).sum(1)
