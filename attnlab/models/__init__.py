"""Models by name: a name gives a classifier with its normalisation inside; no torch before one is loaded."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import lazy_loader  # type: ignore[import-untyped]

from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import nn

    from attnlab.models.classifier import Classifier
    from attnlab.models.load import load_model

__all__ = ["BUILT_IN", "MEMORY_FORMATS", "PRECISIONS", "Classifier", "load_model"]

DEVICES = ("auto", "cpu", "cuda")  # where a model runs, as it is completed; cuda:1 and others are known to torch
#: functions that build networks, of `classes` classes; their trained weights, if there are any, lie in this folder
BUILT_IN: Registry[Callable[..., "nn.Module"]] = Registry(
    "--model",
    {
        "resnet8": Lazy("attnlab.models.resnet8:ResNet8"),
        "lenet": Lazy("attnlab.models.lenet:LeNet"),
        "resnet9": Lazy("attnlab.models.resnet9:ResNet9"),
    },
)
#: of a network's arithmetic: data types of torch
PRECISIONS = Registry(
    "--precision",
    {
        "fp64": Lazy("torch:float64"),
        "fp32": Lazy("torch:float32"),
        "tf32": Lazy("torch:float32"),
        "bf16": Lazy("torch:bfloat16"),
    },
)
#: of a network in memory; `folded` has batch norms folded into the convolutions before them, too
MEMORY_FORMATS = Registry(
    "--memory-format",
    {
        "folded": Lazy("torch:channels_last"),
        "channels-last": Lazy("torch:channels_last"),
        "contiguous": Lazy("torch:contiguous_format"),
    },
)

__getattr__, _, _ = lazy_loader.attach(__name__, submod_attrs={"classifier": ["Classifier"], "load": ["load_model"]})
