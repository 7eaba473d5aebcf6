"""Batch norms that processes share, on the CPU.

torch's `SyncBatchNorm` is made of five kernels that only GPUs have. Here they are written out by what they compute, and
refuse the statistics whose types a GPU's refuse.
"""

from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnlab.training.distributed import ProcessGroup


def across(values: Tensor, x: Tensor) -> Tensor:
    """A value a channel, to be broadcast over the others."""
    return values.view(-1, *[1] * (x.ndim - 2))


def places(x: Tensor) -> list[int]:
    """All dimensions but the channels'."""
    return [0, *range(2, x.ndim)]


def wide(kind: torch.dtype) -> torch.dtype:
    """What a GPU adds up in."""
    return torch.float32 if kind in (torch.float16, torch.bfloat16) else kind


def stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x.to(wide(x.dtype)), places(x), correction=0)
    return mean, (variance + eps).rsqrt()


def gather(
    x: Tensor,
    means: Tensor,
    scales: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    kind = x.dtype if running_mean is None else running_mean.dtype
    for name, given, asked in [("mean", means, wide(kind)), ("invstd", scales, wide(kind)), ("counts", counts, kind)]:
        if given.dtype != asked:
            raise RuntimeError(f"Expected {name} to have type {asked} but got {given.dtype}")
    rows = counts.to(means.dtype)[:, None]
    count = rows.sum()
    mean = (means * rows).sum(0) / count
    variance = ((scales**-2 - eps + (means - mean) ** 2) * rows).sum(0) / count
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(kind), momentum)
        running_var.lerp_((variance * count / (count - 1)).to(kind), momentum)
    return mean, (variance + eps).rsqrt()


def normalise(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, _eps: float) -> Tensor:
    result = (x.to(mean.dtype) - across(mean, x)) * across(scale, x)
    return (result * across(weight.to(mean.dtype), x) + across(bias.to(mean.dtype), x)).to(x.dtype)


def backward_sums(
    gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, *_wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide_gradient = gradient.to(mean.dtype)
    total = wide_gradient.sum(places(x))
    product = (wide_gradient * (x.to(mean.dtype) - across(mean, x))).sum(places(x))
    return total, product, (product * scale).to(weight.dtype), total.to(weight.dtype)


def backward(
    gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, total: Tensor, product: Tensor, n: Tensor
) -> Tensor:
    count = n.sum().to(mean.dtype)
    centred = gradient.to(mean.dtype) - across(total / count, x)
    centred = centred - (x.to(mean.dtype) - across(mean, x)) * across(scale**2 * product / count, x)
    return (centred * across(scale * weight.to(mean.dtype), x)).to(x.dtype)


def share_norms_here() -> torch.library.Library:
    """Let this process's trainings share their norms on the CPU as they do on GPUs, from now on.

    The kernels are there as long as the result is kept.
    """
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("batch_norm_stats", stats, "CPU")
    kernels.impl("batch_norm_gather_stats_with_counts", gather, "CPU")
    kernels.impl("batch_norm_elemt", normalise, "CPU")
    kernels.impl("batch_norm_backward_reduce", backward_sums, "CPU")
    kernels.impl("batch_norm_backward_elemt", backward, "CPU")
    DistributedDataParallel._passing_sync_batchnorm_handle = lambda _self, _norms: None  # expects a GPU
    forward, share = nn.SyncBatchNorm.forward, ProcessGroup.share_norms

    def as_on_a_gpu(norm: nn.SyncBatchNorm, x: Tensor) -> Tensor:
        with patch.object(torch._C, "_get_privateuse1_backend_name", lambda: x.device.type):  # else it refuses x
            return forward(norm, x)

    def as_on_gpus(world: ProcessGroup, network: nn.Module) -> None:
        share(ProcessGroup(world.rank, world.size, torch.device("cuda")), network)

    nn.SyncBatchNorm.forward = as_on_a_gpu  # type: ignore[method-assign]
    ProcessGroup.share_norms = as_on_gpus  # type: ignore[method-assign]
    return kernels
