"""What makes the steps of a plan: its optimizer, and the learning rate of each step."""

import math

import torch

from attnlab.errors import UserError
from attnlab.models.classifier import Classifier
from attnlab.training.recipes import Plan

#: share of a one-cycle schedule in which the learning rate rises
RISE = 0.3
#: what `decay` leaves of the learning rate every second epoch
DECAY = 0.94


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
