"""The optimizer of a plan, the learning rate of each step, and the weights' moving average."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from attnlab.errors import UserError
from attnlab.models.classifier import Classifier
from attnlab.training.recipes import Plan

RISE = 0.3  # share of a one-cycle schedule in which the learning rate rises
DECAY = 0.94  # what `decay` leaves of the learning rate every second epoch


def optimizer_of(classifier: Classifier, plan: Plan) -> torch.optim.Optimizer:
    """The plan's optimizer of the classifier's parameters, but for those that its author froze."""
    parameters = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    if not parameters:
        raise UserError("expected a model with parameters to train, got one whose parameters are all frozen")
    if plan.optimizer == "adam":
        return torch.optim.AdamW(parameters, plan.learning_rate, weight_decay=plan.weight_decay)
    return torch.optim.SGD(parameters, plan.learning_rate, momentum=0.9, nesterov=True, weight_decay=plan.weight_decay)


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """The learning rate after `step` steps over all epochs, with `steps` in each."""
    if plan.schedule == "decay":
        return float(plan.learning_rate * DECAY ** (step // steps // 2))
    if plan.schedule == "one-cycle":
        share = (step + 0.5) / (plan.epochs * steps)  # of the step's middle: neither the first nor the last is for 0
        height = share / RISE if share < RISE else (1 - share) / (1 - RISE)
        return plan.learning_rate * (0.5 - 0.5 * math.cos(math.pi * height))
    return plan.learning_rate


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
    both = ((*module.parameters(), *module.buffers()) for module in (network, average.module))
    for current, averaged in zip(*both, strict=True):
        current.data, averaged.data = averaged.data, current.data


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
