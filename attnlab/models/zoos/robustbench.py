"""RobustBench's models: its architectures, which normalise their images themselves, and its weights."""

import re
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnlab.class_names import CIFAR10
from attnlab.errors import UserError, check_one_of, nearest
from attnlab.failures import one_line
from attnlab.models.zoos import ZOOS, Wanted
from attnlab.models.zoos.listed import DEFAULT, Benchmark, in_full, robustbench_table

CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
IMAGENET_SIZE = 224  # of images, where a model's preprocessing names no other
CIFAR_SIZE = 32


def build(wanted: Wanted) -> nn.Module:
    """The network of that name, of CIFAR-10 under L-infinity attacks where the name says no other benchmark."""
    name, benchmark = model_of(wanted.name)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")  # of former names in timm, and of torchvision's `pretrained`
        models = _models(*benchmark)
        network = _trained(name, benchmark, models) if wanted.pretrained else _random(name, benchmark, models)
    count = CLASSES[benchmark[0]]
    if wanted.classes not in (None, count):
        _replace_head(network, name, count, wanted.classes)
    elif benchmark[0] == "cifar10":
        network.labels = CIFAR10  # type: ignore[assignment]
    network.normalises_itself = True  # type: ignore[assignment]
    network.input_size = (_size(benchmark[0], models[name].get("preprocessing")),) * 2  # type: ignore[assignment]
    return network


def model_of(written: str) -> tuple[str, Benchmark]:
    """Name and benchmark of NAME[@DATASET[/THREAT]]; a UserError where RobustBench has none of them."""
    if find_spec("robustbench") is None:
        raise UserError(f"--model {ZOOS['robustbench'].written} needs robustbench: pip install 'attnlab[robustbench]'")
    table = robustbench_table()
    name, at, rest = written.partition("@")
    dataset, _, threat = rest.partition("/")
    if at:
        check_one_of(dataset, dict.fromkeys(known for known, _ in table), f"the data set of robustbench:{written}")
    benchmark = (dataset or DEFAULT[0], threat or DEFAULT[1])
    if threat:
        threats = [known for of, known in table if of == benchmark[0]]
        check_one_of(threat, threats, f"the threat model of robustbench:{written}")
    if name in table[benchmark]:
        return name, benchmark
    others = [f"robustbench:{in_full(name, other)}" for other, names in table.items() if name in names]
    hint = f"; did you mean {' or '.join(others)}?" if others else nearest(name, table[benchmark])
    raise UserError(f"expected a model of RobustBench for {' under '.join(benchmark)}, got {name!r}{hint}")


def _models(dataset: str, threat: str) -> dict[str, Any]:
    """RobustBench's own table of a benchmark's models."""
    zoo, enums = _import("model_zoo"), _import("model_zoo.enums")
    models: dict[str, Any] = zoo.model_dicts[enums.BenchmarkDataset(dataset)][enums.ThreatModel(threat)]
    return models


def _import(module: str) -> Any:
    """A module of RobustBench.

    The package itself imports its benchmark too, which needs packages that it does not declare (autoattack) or that
    are no more (pkg_resources, which setuptools 82 has not); its zoo needs none of them, and is imported without it.
    """
    if "robustbench" not in sys.modules:
        try:
            import_module("robustbench")
        except ImportError:
            spec = find_spec("robustbench")
            assert isinstance(spec, ModuleSpec)
            sys.modules["robustbench"] = module_from_spec(spec)  # its folder, and nothing that is run
    try:
        return import_module(f"robustbench.{module}")
    except ImportError as error:
        raise UserError(
            f"robustbench cannot be imported ({one_line(error)}): pip install 'attnlab[robustbench]'"
        ) from None


def _timm_name(name: str, benchmark: Benchmark) -> str:
    """Under which RobustBench registers a model with timm, if it does."""
    return "_".join((name.lower().replace("-", "_"), *map(str.lower, benchmark)))


def _random(name: str, benchmark: Benchmark, models: dict[str, Any]) -> nn.Module:
    """The architecture, with random weights."""
    import timm

    if timm.is_model(registered := _timm_name(name, benchmark)):
        network: nn.Module = timm.create_model(registered, num_classes=CLASSES[benchmark[0]])
        return network
    if not models[name]["gdrive_id"]:
        raise UserError(f"RobustBench builds {name} with trained weights alone; expected --weights default")
    try:
        built: nn.Module = models[name]["model"]()
    except Exception as error:  # some ask for a GPU, or for packages
        raise UserError(f"RobustBench cannot build {name}: {one_line(error)}") from error
    return built


def _trained(name: str, benchmark: Benchmark, models: dict[str, Any]) -> nn.Module:
    """The same with RobustBench's weights, which are downloaded where they are not there."""
    folder = Path(torch.hub.get_dir()) / "robustbench"
    try:
        network: nn.Module = _import("utils").load_model(name, folder, *benchmark)
    except UserError:
        raise
    except Exception as error:  # gdown's, torch's reader's, the network's
        identity = models[name]["gdrive_id"]
        file = folder.joinpath(*benchmark, f"{name}.pt")
        single = isinstance(identity, str) and identity
        hint = f"; fetch https://drive.google.com/uc?id={identity} elsewhere and save it as {file}" if single else ""
        raise UserError(f"the weights of {name} could not be had from RobustBench ({one_line(error)}){hint}") from None
    return network


def _size(dataset: str, preprocessing: str | None) -> int:
    """Height and width of a model's images: what its preprocessing, such as Res256Crop224, ends in."""
    if dataset != "imagenet":
        return CIFAR_SIZE
    digits = re.search(r"(\d+)$", preprocessing or "")
    return int(digits[1]) if digits else IMAGENET_SIZE


def _replace_head(network: nn.Module, name: str, count: int, classes: int) -> None:
    """Put a linear layer for so many classes in the place of the only one for the benchmark's."""
    heads = [
        (holder, child, layer)
        for holder in network.modules()
        for child, layer in holder.named_children()
        if isinstance(layer, nn.Linear) and layer.out_features == count
    ]
    if len(heads) != 1:
        raise UserError(f"expected weights of {count} classes for robustbench:{name}, got some of {classes}")
    ((holder, child, layer),) = heads
    setattr(holder, child, nn.Linear(layer.in_features, classes, layer.bias is not None))
