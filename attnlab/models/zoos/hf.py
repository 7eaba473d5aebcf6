"""Image classifiers of transformers, from Hugging Face's hub or a folder of `save_pretrained`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from attnlab.compat import torchvision  # noqa: F401 - transformers imports it, see there
from attnlab.errors import UserError
from attnlab.failures import one_line
from attnlab.models.zoos import Wanted

GREY = 51  # between black and white
#: height and width in pixels, and value, of the images that a processor is asked about
PROBES = {600: 0, 616: GREY, 632: 255}


def build(wanted: Wanted) -> nn.Module:
    """The network of a model id or a folder, with its processor's mean, std and size and the names of its classes.

    Code that comes with the model runs where it is trusted; a warning says so.
    """
    try:
        import transformers
    except ImportError:
        raise UserError("--model hf:NAME needs transformers: pip install 'attnlab[hf]'") from None
    name, trust = wanted.name, wanted.trust_code
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise UserError(f"expected a model id of Hugging Face's hub or an existing folder behind hf:, got {name!r}")
    with _quietly(transformers), _failures(name):
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust)
        if trust and hasattr(config, "auto_map"):
            warnings.warn(f"--trust-code runs code that hf:{name} brings ({config.auto_map})", stacklevel=2)
        if wanted.classes is not None:
            config.num_labels = wanted.classes
        network = _network(transformers.AutoModelForImageClassification, config, wanted)
        processor = _processor(transformers, name, trust)
    size = getattr(config, "image_size", None)
    if processor is not None:
        found = _preprocessing(processor, config, name)
        network.mean, network.std, size = found.mean, found.std, found.size or size  # type: ignore[assignment]
        if found.reversed:
            network.register_forward_pre_hook(_reverse)
    if isinstance(size, int | list | tuple):
        network.input_size = size  # type: ignore[assignment]
    network.names_in_files = _names_in_files(network)  # type: ignore[assignment]
    if labels := _labels(config):
        network.labels = labels  # type: ignore[assignment]
    return network


@contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """Keep bars and remarks of transformers off the terminal."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Turn what transformers raises into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        if "trust_remote_code" in str(error):
            raise UserError(
                f"hf:{name} is built by code that comes with it, which runs with your rights: look into it, then add "
                "--trust-code to run it"
            ) from None
        hint = "" if Path(name).is_dir() else "; without a network name a folder of save_pretrained: hf:FOLDER"
        raise UserError(f"hf:{name} could not be had from transformers ({one_line(error)}){hint}") from None


def _network(models: Any, config: Any, wanted: Wanted) -> nn.Module:
    """The network with its weights, none of which may be missing, or with random ones."""
    options = {"trust_remote_code": wanted.trust_code, "dtype": torch.float32}
    if not wanted.pretrained:
        network: nn.Module = models.from_config(config, **options)
        return network
    network, loading = models.from_pretrained(wanted.name, config=config, output_loading_info=True, **options)
    if missing := sorted(loading["missing_keys"]):
        raise UserError(
            f"hf:{wanted.name} has no weights for {', '.join(missing[:3])}{', ...' if missing[3:] else ''}: it was not "
            "trained to classify; name one that was, or give its weights with --weights FILE"
        )
    return network


def _names_in_files(network: nn.Module) -> dict[str, str]:
    """Name of a tensor in files of save_pretrained -> the network's own, where they differ, as since transformers 5."""
    from transformers.core_model_loading import revert_weight_conversion

    state = network.state_dict()
    own = {id(tensor): name for name, tensor in state.items()}
    written = revert_weight_conversion(network, dict(state))  # type: ignore[arg-type]
    pairs = ((name, own.get(id(tensor), name)) for name, tensor in written.items())
    return {name: known for name, known in pairs if name != known}


def _processor(transformers: Any, name: str, trust: bool) -> Any:
    """The model's image processor; None where it has none."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=trust)
    except OSError:  # no preprocessor_config.json
        return None


class Preprocessing(NamedTuple):
    """What a processor makes of images.

    Attributes:
        mean: Pixels x in [0, 1] become (x - mean) / std; a value for each channel of the images, in their order.
        std: Likewise.
        size: Height and width; None where they are the image's.
        reversed: The network takes the channels in reverse: blue, green, red.
    """

    mean: list[float]
    std: list[float]
    size: tuple[int, int] | None
    reversed: bool


def _preprocessing(processor: Any, config: Any, name: str) -> Preprocessing:
    """Read it off what the processor makes of images of one value each, of several sizes, and of one colour.

    So every option of every processor counts (rescaling, cropping, normalising twice, ...) as it is meant.
    """
    channels = getattr(config, "num_channels", 3)
    made, sizes = [], set()
    colour = np.linspace(0, 255, channels).round()
    for side, value in [*((side, np.full(channels, grey)) for side, grey in PROBES.items()), (max(PROBES), colour)]:
        image = np.tile(value.astype(np.uint8), (side, side, 1))
        pixels = processor(image, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        if pixels.ndim != 4 or pixels.shape[1] != channels:
            raise UserError(
                f"expected one image of {channels} channels from the processor of hf:{name}, got {pixels.shape}"
            )
        height, width = pixels.shape[2:]
        sizes.add((height, width))
        made.append(pixels[0, :, height // 2, width // 2].double())
    black, between, white, coloured = made
    step, levels = white - black, torch.from_numpy(colour / 255)
    straight, backwards = (_near(coloured, black + step * order) for order in (levels, levels.flip(0)))
    if not _near(between, black + step * GREY / 255) or (step == 0).any() or not (straight or backwards):
        raise UserError(
            f"expected the processor of hf:{name} to normalise images with a mean and a std, got another rule"
        )
    mean, std = 0 - black / step, 1 / step  # no -0
    if not straight:  # statistics are of the network's channels so far
        mean, std = mean.flip(0), std.flip(0)
    return Preprocessing(mean.tolist(), std.tolist(), sizes.pop() if len(sizes) == 1 else None, not straight)


def _near(values: torch.Tensor, others: torch.Tensor) -> bool:
    return torch.allclose(values, others, atol=1e-3, rtol=1e-3)


def _reverse(_network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Hook that hands a network the channels of its images in reverse."""
    return (inputs[0].flip(1), *inputs[1:])


def _labels(config: Any) -> tuple[str, ...]:
    """Names of the classes in the order of the logits; empty where the model does not name them."""
    named = {int(index): str(label) for index, label in (config.id2label or {}).items()}
    usual = all(label == f"LABEL_{index}" for index, label in named.items())
    return () if usual or set(named) != set(range(len(named))) else tuple(named[index] for index in range(len(named)))
