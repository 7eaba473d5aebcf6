"""A model as a folder: what it is in model.json, its weights in weights.safetensors."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from attnlab.errors import UserError
from attnlab.models.classifier import Classifier

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"


def save_checkpoint(classifier: Classifier, folder: Path, model: str) -> None:
    """Write a classifier so that `load_model(folder)` gives it back.

    Args:
        classifier: Its network's weights are written, and its attention layer's name.
        folder: Made if need be.
        model: Name that `load_model` builds the network from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in classifier.network.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    description = {"model": model, "layer": classifier.attention_layer}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """What a checkpoint folder says of its model: `model` and `layer`.

    Raises:
        UserError: If the folder is no checkpoint.
    """
    path = folder / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(path.read_text())
        return {"model": description["model"], "layer": description.get("layer")}
    except OSError:
        raise UserError(f"expected {folder} to be a checkpoint, but it has no {DESCRIPTION}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: expected a JSON object with the key 'model'") from None
