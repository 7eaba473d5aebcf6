"""Weights that are there or missing, and whether results can be written."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from attnlab.compat import torchvision
from attnlab.data import DATASETS
from attnlab.doctor.finding import Finding, from_error
from attnlab.errors import UserError
from attnlab.models import BUILT_IN, load_model
from attnlab.models.load import weights_file
from attnlab.models.zoos import find_zoo
from attnlab.words import counted

LITTLE = 2**30  # bytes on a disk below which a run of a whole data set may not fit


def weights(asked: str | None = None, *, trust_code: bool = False) -> Iterator[Finding]:
    """The built-in weights, torchvision's that were downloaded, and the model asked for, as for --model."""
    for name in sorted({spec.model for spec in DATASETS.values()} & set(BUILT_IN)):
        path = weights_file(name)
        if not path.is_file():
            advice = "install attnlab again: pip install --force-reinstall attnlab"
            yield Finding("weights", name, f"its weights {path} are missing", advice, "problem")
        elif name != asked:
            yield model(name)
    yield from downloaded()
    if asked is not None:
        yield model(asked, trust_code=trust_code)


def model(name: str, *, trust_code: bool = False) -> Finding:
    """Whether a model can be built and given its weights without a download."""
    urls = _urls()
    if name in urls and not (cache() / Path(urls[name]).name).is_file():
        advice = f"its first use downloads {urls[name]}; without a network fetch it elsewhere and pass --weights FILE"
        return Finding("weights", name, f"not in {cache()}", advice, "note")
    if ":" in name and find_zoo(name):
        return Finding("weights", name, "not tried, since that may download it")
    try:
        classifier = load_model(name, trust_code=trust_code)
    except (UserError, OSError) as error:
        return from_error("weights", name, error)
    height, width = classifier.input_size
    return Finding("weights", name, f"loads: {counted(classifier.classes, 'class')}, {height}x{width} pixels")


def downloaded() -> Iterator[Finding]:
    """Check the files of torchvision's cache: a file's name ends in the start of its SHA-256."""
    names = {Path(url).name: name for name, url in _urls().items()}
    try:
        files = sorted(path for path in cache().iterdir() if path.is_file())
    except FileNotFoundError:
        files = []
    except OSError as error:
        advice = "set TORCH_HOME to a folder that you may read and write"
        yield Finding("weights", "torchvision", f"{cache()} cannot be read: {error.strerror}", advice, "problem")
        return
    known = [names[path.name] for path in files if path.name in names]
    text = f"{', '.join(known) or 'none downloaded yet'}, in {cache()} (TORCH_HOME moves it)"
    yield Finding("weights", "torchvision", text)
    for path in files:
        digits = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
        if digits and not _sha256(path).startswith(digits[1]):
            advice = "delete it; the next use downloads it again"
            yield Finding("weights", path.name, "damaged: its SHA-256 is not the one in its name", advice, "problem")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache() -> Path:
    """Folder that torch keeps downloaded weights in."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def output(folder: Path) -> Finding:
    """Whether runs can be written to that folder, or made there where it does not exist yet."""
    try:
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding("output", str(folder), f"cannot be written: {error.strerror}", "choose another --out", "problem")
    text = f"can be {'written to' if existing == folder.absolute() else 'made'}, {free / 2**30:.1f} GiB free"
    advice = "a run of a whole data set may not fit; make room" if free < LITTLE else ""
    return Finding("output", str(folder), text, advice, "note" if advice else "ok")


def _urls() -> dict[str, str]:
    """Torchvision's classification model -> where its default weights come from."""
    models = torchvision.models
    return {name: models.get_model_weights(name).DEFAULT.url for name in models.list_models(module=models)}
