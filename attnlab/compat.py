"""Import torchvision beside any build of torch.

The torchvision wheels on the package index link CUDA libraries. Beside a CPU build of torch their compiled part does
not load, and the import fails because two operators it should have brought are unknown. Declaring those two makes
models and transforms work; only the compiled image codecs stay off, and images are decoded with Pillow here anyway.
"""

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

import torch

_kept: list[torch.library.Library] = []  # a library's operators live only as long as the object


def import_torchvision() -> ModuleType:
    """Return torchvision, with its missing operators declared where its compiled part does not load."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        return importlib.import_module("torchvision")


torchvision = import_torchvision()
mended = bool(_kept)  # whether operators had to be declared
functional = importlib.import_module("torchvision.transforms.v2.functional")
tv_tensors = importlib.import_module("torchvision.tv_tensors")
