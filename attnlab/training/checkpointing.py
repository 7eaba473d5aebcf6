"""State of a training: one file, written whole, from which it resumes to the same weights to the bit."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from attnlab.errors import UserError
from attnlab.files import write_whole

FILE = "state.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training has come."""

    epoch: int = 0  # epochs that are done, their validation included
    step: int = 0  # steps of the next one that are done
    best: float = -1.0  # the best validation figure so far
    window: tuple[Mapping[str, float], ...] = ()  # figures of the last steps, which no line of the log holds yet


def save_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the weights of the modules, each under its name, and optimizer and progress."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    # copies, since the format refuses tensors that share memory
    content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_whole(folder / FILE, save(content, {"progress": json.dumps(asdict(progress))}))


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> Progress:
    """Put weights and optimizer back; return how far the training had come, nothing where none was saved."""
    path = folder / FILE
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            saved = json.loads(file.metadata()["progress"])
        progress = Progress(**{**saved, "window": tuple(saved["window"])})
        if not (type(progress.epoch) is type(progress.step) is int and isinstance(progress.best, int | float)):
            raise TypeError("epoch and step are no numbers")
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, f"{name}."))
        _restore(optimizer, _below(tensors, "optimizer."))
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} is damaged ({first}); remove it to start again from the beginning, or choose another --out"
        ) from None
    return progress


def _restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if value.shape == like.shape:  # in the parameter's memory layout, as it was
            value = torch.empty_like(like).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
