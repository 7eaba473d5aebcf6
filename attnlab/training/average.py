"""The moving average of a training's weights, which is validated and exported in their place."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights and running statistics; it starts at the first `update`."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def update(average: AveragedModel, network: nn.Module) -> None:
    """Take a step's weights in; counts, such as a batch norm's of its batches, are as the network has them."""
    average.update_parameters(network)
    for mine, theirs in zip(average.module.buffers(), network.buffers(), strict=True):
        if not mine.is_floating_point():
            mine.copy_(theirs)


def exchange(network: nn.Module, average: AveragedModel) -> None:
    """Swap the storage of a network's weights and statistics with the average's: once more, and all is as before.

    So the average passes through the network itself, whose forward may hold what a copy would not take along.
    """
    own, others = ((*module.parameters(), *module.buffers()) for module in (network, average.module))
    for mine, theirs in zip(own, others, strict=True):
        mine.data, theirs.data = theirs.data, mine.data


@contextmanager
def _exchanged(network: nn.Module, average: AveragedModel) -> Iterator[None]:
    exchange(network, average)
    try:
        yield
    finally:
        exchange(network, average)


def exchanged(network: nn.Module, average: AveragedModel | None) -> Any:
    """`exchange` for a block, and back; nothing without an average."""
    return nullcontext() if average is None else _exchanged(network, average)
