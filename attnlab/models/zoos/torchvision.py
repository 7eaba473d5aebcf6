"""torchvision's classifiers, with the preprocessing of their weights."""

from http.client import HTTPException
from typing import Any

from torch import nn

from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.failures import one_line
from attnlab.models.zoos import Wanted


def build(wanted: Wanted) -> nn.Module:
    """The network of that name, with the mean, std and size that the preset of its default weights has."""
    name = wanted.name
    best = torchvision.models.get_model_weights(name).DEFAULT
    preset = best.transforms()
    options: dict[str, Any] = {}
    if not wanted.pretrained and name in ("inception_v3", "googlenet"):
        # what the weights would have set, and no slow initialisation
        options = {"aux_logits": False, "transform_input": True, "init_weights": False}
    if not wanted.pretrained and name.startswith("vit_"):
        options = {"image_size": preset.crop_size[0]}
    if wanted.classes is not None:
        options["num_classes"] = wanted.classes
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=best if wanted.pretrained else None, **options)
    except (OSError, HTTPException, RuntimeError) as error:  # no way there, cut off, a wrong hash
        if not wanted.pretrained:
            raise
        raise UserError(
            f"the weights of {name} could not be downloaded ({one_line(error)}); "
            f"fetch {best.url} elsewhere and pass it as --weights FILE"
        ) from None
    if name == "inception_v3":  # its weights bring a head for training only
        network.aux_logits, network.AuxLogits = False, None  # type: ignore[assignment]
    network.mean, network.std = tuple(preset.mean), tuple(preset.std)  # type: ignore[assignment]
    network.input_size = (preset.crop_size[0],) * 2  # type: ignore[assignment]
    if wanted.pretrained:
        network.labels = tuple(best.meta["categories"])  # type: ignore[assignment]
    return network
