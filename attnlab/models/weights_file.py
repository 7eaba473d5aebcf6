"""Read files of weights without running anything in them."""

import argparse
import io
import json
import pickletools
import re
import tarfile
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file

from attnlab.errors import UserError


class Unread:
    """Takes the place of a numpy value in a file, such as the best accuracy: what the file says of it is not read."""

    def __init__(self, *arguments: object) -> None:
        """Drop the arguments."""

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


#: names under which numpy's values are pickled, before numpy 2 and since
NUMPY = (
    "dtype",
    "ndarray",
    *(f"{core}.multiarray.{made}" for core in ("core", "_core") for made in ("scalar", "_reconstruct")),
)
#: what a file may hold beside tensors: a class of plain values that training scripts, timm's among them, keep their
#: options in, and numpy's values, of which nothing is made
ALLOWED: list[Any] = [argparse.Namespace, *((Unread, f"numpy.{name}") for name in NUMPY)]
SEARCHED = 10_000_000  # bytes of a pickle that are searched for names, should it not load
#: how torch's reader names what it does not load
REFUSED = re.compile(r"(?:Unsupported global: GLOBAL|Trying to load unsupported GLOBAL|Unsupported class) ([\w.]+)")
#: modules whose names are in any file of weights
HARMLESS = ("torch", "collections", "argparse", "numpy", "_codecs", "copyreg")
#: builtins that hold values and run nothing
PLAIN = ("set", "frozenset", "list", "dict", "tuple", "bytearray", "bytes", "str", "int", "float", "complex", "object")


def read_content(path: Path) -> Any:
    """Read a .safetensors file or one of torch.save, in shards or not: tensors and plain values.

    An error names anything more.
    """
    if not path.is_file():
        raise UserError(f"expected --weights to be default, none or an existing file, got {str(path)!r}")
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_sums(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            warnings.simplefilter("ignore")  # such as on a pickle's protocol: whether it loads is reported below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen kinds
        refused = REFUSED.search(str(error))
        foreign = next(iter(_foreign_names(path)), refused[1] if refused else "")
        if foreign:
            raise UserError(
                f"{path} holds a pickled {foreign}, which could run any code and is not loaded; "
                "save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from None
        reason = "no weights in it" if "Weights only load failed" in str(error) else _first_line(error)
        raise UserError(f"cannot read weights from {path}: damaged, or no weights file ({reason})") from None


def _check_sums(path: Path) -> None:
    """Raise BadZipFile where a file in torch's zip format is not as it was saved: torch's reader ignores the checksums.

    Those that torch was told not to compute (`set_crc32_options(False)`) are 0 in the file.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.CRC:
                with archive.open(member) as packed:
                    while packed.read(1 << 20):
                        pass


def _read_shards(path: Path) -> dict[str, Any]:
    """Read the files beside an index that names the file of each tensor, as Hugging Face's libraries write it."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        whole = bool(files) and all(isinstance(file, str) for file in files.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"expected {path} to be an index of shards: JSON with files by tensor under 'weight_map'")
    for file in files.values():
        plain = file == PurePosixPath(file).name and "\\" not in file and not file.endswith(".index.json")
        if not plain or not path.with_name(file).is_file():
            raise UserError(f"expected the shards of {path} to be files beside it, got {file!r}")
    content: dict[str, Any] = {}
    for file in dict.fromkeys(files.values()):
        held, listed = read_content(path.with_name(file)), {name for name, where in files.items() if where == file}
        other = sorted(listed ^ set(held)) if isinstance(held, dict) else sorted(listed)
        if other:
            raise UserError(
                f"expected {path.with_name(file)} to hold the tensors that {path.name} lists for it, got {len(other)} "
                f"that one of both lacks, such as {other[0]}"
            )
        content |= held
    return content


def _foreign_names(path: Path) -> list[str]:
    """Names that the pickles of a file would import, those of any file of weights aside; nothing is imported."""
    try:
        return [
            name
            for name in _imports(_pickle_of(path))
            if name.partition(".")[0] not in HARMLESS and name not in (f"builtins.{plain}" for plain in PLAIN)
        ]
    except Exception:  # whatever is damaged holds no name that could be shown
        return []


def _pickle_of(path: Path) -> bytes:
    """The pickle in torch's zip format, in its tar format of old, or the file itself."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(member) as packed:
                return packed.read(SEARCHED)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archived:
            for entry in archived:
                file = archived.extractfile(entry) if entry.name.endswith("pickle") else None
                if file is not None:
                    return file.read(SEARCHED)
    with path.open("rb") as plain:
        return plain.read(SEARCHED)


def _imports(data: bytes) -> list[str]:
    """Names that the pickles, one behind the other, would import; those of a damaged rest are left out."""
    names: list[str] = []
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        texts: list[str] = []  # pushed so far, the last two being a name's module and itself
        memory: list[str] = []
        try:
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name in ("GLOBAL", "INST"):
                    module, _, name = str(argument).partition(" ")
                    names.append(f"{IMPORT_MAPPING.get(module, module)}.{name}")  # as Python 3 calls it
                elif operation.name == "STACK_GLOBAL":
                    names.append(".".join(texts[-2:]))
                elif operation.name == "MEMOIZE":
                    memory.append(texts[-1] if texts else "")
                elif operation.name in ("BINGET", "LONG_BINGET") and int(argument or 0) < len(memory):
                    texts.append(memory[int(argument or 0)])
                elif isinstance(argument, str):
                    texts.append(argument)
        except ValueError:
            break
    return names


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
