"""Checkpoints as the field's projects write them, of one small network.

The wrappers hold modules and buffers under the names that those projects give them.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import pixels
from nets import Small
from torch import Tensor, nn

from attnlab.models import Classifier, load_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)  # CIFAR-10's


def trained(change: float = 0.0) -> Small:
    """A network with weights and statistics other than those it starts with."""
    network = Small()
    generator = torch.Generator().manual_seed(5)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1 + change)
    return network.eval()


class Normalize(nn.Module):
    """Two buffers of any names: mean and std of RobustBench and others, new_mean and new_std of robustness."""

    def __init__(self, names: tuple[str, str] = ("mean", "std"), shape: tuple[int, ...] = (1, 3, 1, 1)) -> None:
        super().__init__()
        for name, values in zip(names, (MEAN, STD), strict=True):
            self.register_buffer(name, torch.tensor(values).view(shape))


class Attacker(nn.Module):
    """robustness.attacker.Attacker: a normaliser of its own, and the same network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(("new_mean", "new_std"), (3, 1, 1))
        self.model = network


class AttackerModel(nn.Module):
    """robustness.attacker.AttackerModel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalizer = Normalize(("new_mean", "new_std"), (3, 1, 1))
        self.model = network
        self.attacker = Attacker(network)


class Holding(nn.Module):
    """A module that holds others under given names."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Wrapped(Normalize):
    """A wrapper that holds mean and std itself, beside the network."""

    def __init__(self, network: nn.Module, *options: Any) -> None:
        super().__init__(*options)
        self.model = network


def robustness(network: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    state = nn.DataParallel(AttackerModel(network)).state_dict()
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "epoch": 90,
        "amp": None,
    }


def robustbench(network: nn.Module) -> dict[str, Tensor]:
    return nn.Sequential(OrderedDict([("normalize", Normalize()), ("model", network)])).state_dict()


def within(network: nn.Module) -> dict[str, Tensor]:
    network.normalize = Normalize(shape=(3,))
    state = network.state_dict()
    del network.normalize
    return state


NORMALISED: dict[str, Callable[[nn.Module], Mapping[str, Any]]] = {
    "robustness": robustness,
    "RobustBench": robustbench,
    "RobustBench in a state_dict": lambda network: {"state_dict": robustbench(network)},
    "Sequential": lambda network: nn.Sequential(Normalize(shape=(3,)), network).state_dict(),
    "Sequential, net": lambda network: {"net": nn.Sequential(Normalize(), network).state_dict(), "acc": 50.1},
    "Sequential of DataParallel": lambda network: nn.Sequential(Normalize(), nn.DataParallel(network)).state_dict(),
    "DataParallel of Sequential": lambda network: nn.DataParallel(nn.Sequential(Normalize(), network)).state_dict(),
    "mean and std of a wrapper": lambda network: Wrapped(network).state_dict(),
    "mu and sigma of a wrapper": lambda network: Wrapped(network, ("mu", "sigma")).state_dict(),
    "Lightning": lambda network: {"state_dict": Holding(norm=Normalize(), net=network).state_dict(), "epoch": 1},
    "normaliser within": within,
    "best": lambda network: {"best": nn.Sequential(Normalize(), network).state_dict(), "epoch": 7},
}

PLAIN: dict[str, Callable[[nn.Module], Mapping[str, Any]]] = {
    "net": lambda network: {"net": network.state_dict(), "acc": 93.2, "epoch": 4},
    "net, DataParallel": lambda network: {"net": nn.DataParallel(network).state_dict(), "acc": 93.2},
    "best": lambda network: {"best": {"net": network.state_dict()}, "epoch": 4},
    "ema": lambda network: {"ema": network.state_dict(), "step": 4},
    "ema, module": lambda network: {"ema": {"module": network.state_dict(), "decay": 0.99}},
    "AveragedModel": lambda network: torch.optim.swa_utils.AveragedModel(network).state_dict(),
    "compiled": lambda network: torch.compile(network, backend="eager").state_dict(),
    "compiled DataParallel": lambda network: torch.compile(nn.DataParallel(network), backend="eager").state_dict(),
    "Lightning": lambda network: {"state_dict": Holding(network=network).state_dict(), "hyper_parameters": {}},
    "timm": lambda network: {"epoch": 3, "arch": "x", "state_dict": network.state_dict(), "metric": 70.1},
    "torchvision": lambda network: {"model": network.state_dict(), "optimizer": {}, "lr_scheduler": {}, "epoch": 3},
    "self-supervised": lambda network: Holding(encoder=Holding(backbone=network), head=nn.Linear(6, 2)).state_dict(),
    "distributed, weights_only": lambda network: {"module": network.state_dict(), "ds_version": "0.14"},
}


def taken(model: str, content: object, path: Path, **options: Any) -> Classifier:
    torch.save(content, path)
    return load_model(model, path, **options)


def expected(classifier: Classifier, network: nn.Module, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    """Logits of the bare network, its images normalised by hand."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    with torch.no_grad():
        return network((pixels(classifier) - mean) / std)
