"""A whole model as a folder: model.json, which names its network, and its weights."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.models.class_order import said_labels
from attnlab.models.classifier import Classifier
from attnlab.models.own_code import is_own_code

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
STATED = (
    "mean",
    "std",
    "input_size",
    "channels",
)  # what a user may state of a model's images, in place of what the network says
HASH = "weights_sha256"  # in model.json: SHA-256 of the weights' file; while that is replaced, of each that it may be
LARGEST = 2_000_000  # bytes of a model.json; attnlab writes some two hundred, and the names of the classes


def save_checkpoint(classifier: Classifier, folder: Path, model: str, defense: str = "none") -> None:
    """Write a classifier, with its attention layer's name, so that `load_model(folder)` gives it back.

    `model` is the name that `load_model` builds the network from; a user's own file is named as seen from the folder,
    so that both can be moved together, beside its SHA-256. `defense` is what it was trained with. Of a checkpoint that
    is replaced model.json names both weights meanwhile, so that it can be loaded wherever the process may end.
    """
    # copies, since the format refuses tensors that share memory
    state = {name: value.detach().cpu().contiguous().clone() for name, value in classifier.network.state_dict().items()}
    content = save(state)
    _announce(folder, hashlib.sha256(content).hexdigest())
    write_whole(folder / WEIGHTS, content)
    describe_checkpoint(classifier, folder, model, defense)


def describe_checkpoint(classifier: Classifier, folder: Path, model: str, defense: str) -> None:
    """Write model.json alone, of the weights that are there; arguments as for `save_checkpoint`."""
    code = {"code": classifier.code} if is_own_code(model) and classifier.code else {}
    named = _seen_from(folder, model) if code else model
    description = {"model": named, "layer": classifier.layer, "defense": defense, **code, **classifier.stated}
    description[HASH] = _hash_of(folder / WEIGHTS)
    if labels := said_labels(classifier.network):  # by which logits and data are matched; libraries say them once
        description["labels"] = list(labels)
    _write(folder, description)


def _write(folder: Path, description: dict[str, Any]) -> None:
    write_whole(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def _announce(folder: Path, sha256: str) -> None:
    """Let model.json name the weights that are to come beside those that it names, where it names any."""
    try:
        known = read_description(folder)["weights"]
    except UserError:  # there is none that could be loaded
        return
    if known:
        written = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        _write(folder, {**written, HASH: list(dict.fromkeys([*known, sha256]))})


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_weights(folder: Path) -> Path:
    """File of a checkpoint's weights, which is the one that model.json names; older ones name none.

    Raises:
        UserError: If it is another file, or `read_description` does.
    """
    path = folder / WEIGHTS
    for _ in range(2):  # a training may have replaced it between both readings
        known = read_description(folder)["weights"]
        sha256 = _hash_of(path) if known else ""
        if not known or sha256 in known:
            return path
    raise UserError(
        f"expected {path} to have the SHA-256 {known[-1]}, as {DESCRIPTION} beside it says, got {sha256}: "
        "it was damaged or replaced; copy the checkpoint again, or name the file itself, which is not checked: "
        f"--weights {path}"
    )


def _seen_from(folder: Path, model: str) -> str:
    """FILE.py:FUNCTION with the file's path relative to a folder; whole where no relative one leads there."""
    path, _, function = model.rpartition(":")
    try:
        seen = Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        seen = str(Path(path).resolve())
    return f"{seen}:{function}"


def read_description(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's model.json: `model`, `layer`, `defense`, and as `stated` what was STATED of its images.

    The model of a user's own file comes with the file's whole path, and `code` is that file's SHA-256, else empty.
    `labels` are the names of the network's classes in the order of its logits; empty where they are not known.
    `weights` are the SHA-256 that the file of weights may have; empty in older ones.
    """
    path = folder / DESCRIPTION
    for needed in (path, folder / WEIGHTS):
        if not needed.is_file():
            raise UserError(f"expected {folder} to be a checkpoint, but it has no {needed.name}")
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= LARGEST else None
    except (ValueError, RecursionError):
        written = None
    if not isinstance(written, dict) or not isinstance(written.get("model"), str):
        raise _damaged(path, "a JSON object with the name of a model under 'model'")
    description = {"layer": None, "defense": "none", "code": "", **written}
    for key, kinds in {"layer": str | None, "defense": str, "code": str}.items():
        if not isinstance(description[key], kinds):
            raise _damaged(path, f"a name under {key!r}, got {type(description[key]).__name__}")
    stated = {key: written[key] for key in STATED if written.get(key) is not None}
    for key, values in stated.items():
        if key == "channels" and type(values) is int and values > 0:
            continue
        if not (isinstance(values, list) and all(type(value) in (int, float) for value in values)):
            raise _damaged(path, f"a list of numbers under {key!r}")
    if not all(text.isprintable() for text in description.values() if isinstance(text, str)):
        raise _damaged(path, "names without control characters")
    labels = written.get("labels", [])
    if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise _damaged(path, "a list of names under 'labels'")
    weights = written.get(HASH, [])
    weights = [weights] if isinstance(weights, str) else weights
    if not (isinstance(weights, list) and all(isinstance(one, str) and one.isprintable() for one in weights)):
        raise _damaged(path, f"a SHA-256 under {HASH!r}")
    model = description["model"]
    if "code" in written and is_own_code(model):
        model = str((folder / model).resolve())
    kept = {key: description[key] for key in ("layer", "defense", "code")}
    return {"model": model, "stated": stated, "labels": tuple(labels), "weights": tuple(weights), **kept}


def _damaged(path: Path, expected: str) -> UserError:
    return UserError(f"{path} is damaged: expected {expected}")


def trained_as(name: str, weights: str = "default") -> dict[str, str]:
    """The `network` of a model and the `defense` it was trained with, as checkpoint folders say, else `none`."""
    network = read_description(Path(name))["model"] if (Path(name) / DESCRIPTION).is_file() else name
    return {"network": network, "defense": stated_defense(name, weights) or "none"}


def stated_defense(name: str, weights: str = "default") -> str:
    """The defence that a model was trained with, where a checkpoint folder says it; else empty."""
    folders = [Path(weights)] if weights not in ("default", "none") else []
    known = [folder for folder in (*folders, Path(name)) if (folder / DESCRIPTION).is_file()]
    return str(read_description(known[0])["defense"]) if known else ""
