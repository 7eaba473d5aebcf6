"""timm's classifiers, with the preprocessing that their configuration states."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torch import nn

from attnlab.errors import UserError, nearest
from attnlab.failures import one_line
from attnlab.models.zoos import Wanted


def build(wanted: Wanted) -> nn.Module:
    """The network of that name, ARCHITECTURE or ARCHITECTURE.TAG, where the tag names the weights."""
    try:
        import timm
    except ImportError:
        raise UserError("--model timm:NAME needs timm: pip install 'attnlab[timm]'") from None
    name = wanted.name
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        raise UserError(f"expected a model of timm {timm.__version__}, got {name!r}{nearest(name, timm.list_models())}")
    given = {"num_classes": wanted.classes, "in_chans": wanted.channels}
    options = {option: number for option, number in given.items() if number is not None}
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UserError(f"expected one of timm's weights {', '.join(tagged) or '(none)'}, got {name!r}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=wanted.pretrained, **options)
    except Exception as error:  # the hub's client raises many kinds
        if not wanted.pretrained:
            raise
        if "package not installed" in str(error) and find_spec("huggingface_hub"):
            raise UserError(
                f"timm {timm.__version__} downloads no weights with this huggingface_hub: pip install -U timm "
                "(robustbench asks for timm 1.0.9, but its models can be built with newer ones)"
            ) from None
        raise UserError(
            f"the weights of timm:{name} could not be downloaded ({one_line(error)}); "
            "fetch its model.safetensors elsewhere and pass it as --weights FILE"
        ) from None
    preset: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    network.mean, network.std = preset["mean"], preset["std"]
    network.input_size = preset["input_size"][1:]
    if wanted.pretrained and (labels := preset.get("label_names")):
        network.labels = tuple(map(str, labels))  # type: ignore[assignment]
    return network
