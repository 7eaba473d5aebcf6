"""A training whose numbers are none any more: what is said of it, and what is left."""

from pathlib import Path

import torch
from torch import nn

from attnlab.errors import UserError
from attnlab.models.checkpoint import DESCRIPTION


def diverged(what: str, folder: Path, epoch: int) -> UserError:
    """The error of a training that cannot go on.

    Args:
        what: Happened, and when.
        folder: Of the training.
        epoch: Epochs that are done.
    """
    last = folder / "last"
    kept = f"the last good checkpoint is {last}, after epoch {epoch}"
    if not (last / DESCRIPTION).exists():
        kept = "there is no checkpoint yet"
    return UserError(f"{what}; {kept}; a smaller --learning-rate or a longer --ramp may help, in another --out")


def is_finite(network: nn.Module) -> bool:
    """Whether all parameters and running statistics are finite."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    values = [*network.parameters(), *(buffer for norm in norms for buffer in norm.buffers())]
    return bool(torch.stack([value.isfinite().all() for value in values]).all())
