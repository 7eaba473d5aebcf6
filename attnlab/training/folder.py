"""A training's folder: what it says of itself, how far it came, whether its checkpoints are whole."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from attnlab.errors import UserError
from attnlab.files import is_vacant, write_whole
from attnlab.manifests import check_same, now, rename_former, tell_other_surroundings
from attnlab.models.checkpoint import WEIGHTS, checked_weights, describe_checkpoint, read_description, save_checkpoint
from attnlab.models.classifier import Classifier
from attnlab.training.checkpointing import FILE as STATE
from attnlab.training.log import LOG, read_epochs
from attnlab.words import counted

MANIFEST = "training.json"
LAST, SNAPSHOTS = "last", "epochs"  # checkpoints of the last epoch, and of every one
WHOLE = "one-cycle"  # the schedule whose every learning rate depends on the number of epochs


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of training.json; raises UserError if it is damaged."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if type(manifest["options"].setdefault("epochs", 0)) is not int:
            raise TypeError("epochs is no number")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise UserError(
            f"{path} is damaged: expected a JSON object with the training's options; choose another --out"
        ) from None
    rename_former(manifest["options"])
    return manifest


def is_begun(folder: Path) -> bool:
    """Whether something of a training was trained."""
    log = folder / LOG
    return (folder / STATE).exists() or (log.exists() and log.stat().st_size > 0)


def open_training(folder: Path, manifest: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
    """Make the folder, or check that it holds a training with the same options, or with fewer epochs of them.

    `defaults` are as of `check_same`, which says what differs otherwise.
    """
    if (folder / MANIFEST).exists():
        before = read_manifest(folder)
        if is_begun(folder) or before.get("kind") != manifest["kind"]:
            longer = prolonged(folder, before, manifest)
            check_same(folder, longer, manifest, defaults)
            if len(read_epochs(folder / LOG)) < manifest["options"]["epochs"]:
                tell_other_surroundings(folder, before, manifest)
            if longer is not before:
                _write(folder, longer)
            return
    elif not is_vacant(folder):
        raise UserError(f"{folder} exists and is no training; choose another --out")
    _write(folder, {**manifest, "started": now()})


def check_state(folder: Path) -> None:
    """Check that a training of several epochs still has the state it resumes from: without it all would begin again."""
    done = len(read_epochs(folder / LOG))
    if done > 1 and not (folder / STATE).exists():  # the first epoch's line is written before its state
        raise UserError(
            f"{folder / STATE} is missing, though {LOG} tells of {done} epochs, so they cannot be resumed; what "
            f"checkpoints there are can still be used; train in another --out, or remove {folder} to begin again"
        )


def check_not_replaced(folder: Path, inode: int) -> None:
    """Check that a folder is the one that was opened: writing would make a part of it again."""
    if not folder.is_dir() or folder.stat().st_ino != inode:
        raise UserError(
            f"{folder} was removed while the training worked, and all that was saved with it; repeat the "
            "command to begin again"
        )


def _write(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_whole(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def prolonged(folder: Path, before: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A training's manifest with the epochs asked for, where those are more.

    Raises UserError if the epochs that were trained would have been others with so many to come.
    """
    wanted, options = json.loads(json.dumps(asked["options"])), before["options"]
    epochs = wanted["epochs"]
    longer = {**options, "epochs": epochs}
    if epochs <= options["epochs"] or {key: wanted.get(key) for key in longer} != longer:
        return before
    if wanted["schedule"] == WHOLE:
        raise UserError(
            f"{folder} holds a training of {counted(options['epochs'], 'epoch')}, which {epochs} cannot prolong: "
            f"with the schedule {WHOLE} every learning rate depends on the number of epochs; choose another --out"
        )
    return {**before, "options": longer}


def tell_unfinished(name: str) -> None:
    """Warn where a checkpoint folder, or a file in it, is of a training that is not finished."""
    folder = Path(name).parent if Path(name).is_file() else Path(name)
    folder = folder.parent if folder.name == LAST else folder
    if not (folder / MANIFEST).is_file():
        return
    try:
        done, wanted = len(read_epochs(folder / LOG)), read_manifest(folder)["options"]["epochs"]
    except UserError:  # the weights are none the worse for it
        return
    if done < wanted:
        warnings.warn(f"the training of {name} is not finished: epoch {done} of {wanted}", stacklevel=2)


def check_checkpoints(folder: Path, classifier: Classifier, model: str, defense: str) -> None:
    """Check that a finished training's checkpoints can be loaded; make those again whose weights are kept elsewhere.

    The classifier has the last epoch's weights; model and defence are as of `save_checkpoint`.
    """
    if not _is_whole(folder / LAST, classifier):
        save_checkpoint(classifier, folder / LAST, model, defense)
    if _is_whole(folder, classifier):
        return
    epochs = read_epochs(folder / LOG)
    best = max((line["epoch"] for line in epochs if line["best"]), default=len(epochs))
    kept = folder / SNAPSHOTS / f"{best:03d}"
    if best == len(epochs):
        save_checkpoint(classifier, folder, model, defense)
    elif not _is_described(folder) and _has_weights(folder / WEIGHTS, classifier):
        describe_checkpoint(classifier, folder, model, defense)
    elif _is_whole(kept, classifier):
        write_whole(folder / WEIGHTS, (kept / WEIGHTS).read_bytes())
        describe_checkpoint(classifier, folder, model, defense)
    else:
        raise UserError(
            f"{folder} has lost its best checkpoint, that of epoch {best}: {WEIGHTS} is missing or damaged; "
            f"{folder / LAST} holds the last epoch's, and training again in another --out makes the best one"
        )
    warnings.warn(f"{folder} had lost its checkpoint, which is made again", stacklevel=2)


def _is_whole(folder: Path, classifier: Classifier) -> bool:
    """Whether a folder's checkpoint can be loaded into a network like the classifier's."""
    try:
        return _has_weights(checked_weights(folder), classifier)
    except UserError:
        return False


def _is_described(folder: Path) -> bool:
    """Whether a folder's model.json can be read."""
    try:
        read_description(folder)
    except UserError:
        return False
    return True


def _has_weights(path: Path, classifier: Classifier) -> bool:
    """Whether a file holds tensors of the names and shapes of the classifier's."""
    wanted = {name: list(value.shape) for name, value in classifier.network.state_dict().items()}
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()} == wanted  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
