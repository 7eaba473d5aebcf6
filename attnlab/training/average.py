"""The moving average of a training's weights, which is validated and exported in their place."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def average_of(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights and running statistics; it starts at the first `update`."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]


def update(average: AveragedModel, network: nn.Module) -> None:
    """Take a step's weights in; counts, such as a batch norm's of its batches, are as the network has them."""
    average.update_parameters(network)
    for averaged, current in zip(average.module.buffers(), network.buffers(), strict=True):
        if not averaged.is_floating_point():
            averaged.copy_(current)


def exchange(network: nn.Module, average: AveragedModel) -> None:
    """Swap the storage of a network's weights and statistics with the average's: once more, and all is as before.

    So the average passes through the network itself, whose forward may hold what a copy would not take along.
    """
    current, averaged = ((*module.parameters(), *module.buffers()) for module in (network, average.module))
    for one, other in zip(current, averaged, strict=True):
        one.data, other.data = other.data, one.data


@contextmanager
def exchanged(network: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """`exchange` for a block, and back; nothing without an average."""
    if average is None:
        yield
        return
    exchange(network, average)
    try:
        yield
    finally:
        exchange(network, average)
