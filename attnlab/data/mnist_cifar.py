"""MNIST, CIFAR-10 and CIFAR-100 from the files they are published as, without boxes."""

import gzip
import hashlib
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from attnlab.class_names import CIFAR10
from attnlab.compat import torchvision
from attnlab.data.base import Example
from attnlab.data.boxes_table import read_names
from attnlab.errors import UserError
from attnlab.stores import StorePath

Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class ArraySet:
    """Images of one size that fit into memory."""

    name: str
    split: str
    pixels: Array = field(repr=False)  # (N, H, W) grey or (N, H, W, 3) colour
    labels: Array = field(repr=False)
    classes: Sequence[str]
    has_boxes: bool = False

    def __post_init__(self) -> None:
        """Refuse what damaged files can hold: no pixel, or a label that is no class."""
        if not self.pixels.size:
            raise UserError(f"expected images in {self.name} {self.split}, got pixels of shape {self.pixels.shape}")
        beyond = np.flatnonzero(self.labels >= len(self.classes))
        if len(beyond):
            raise UserError(
                f"expected labels of {self.name} {self.split} from 0 to {len(self.classes) - 1}, got "
                f"{self.labels[beyond[0]]} for image {beyond[0]}: the file is damaged or not this data set's"
            )

    @cached_property
    def image_ids(self) -> Sequence[str]:  # asked for with each image that is read
        """`test-00000` and so on."""
        return [f"{self.split}-{index:05d}" for index in range(len(self.labels))]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.pixels.ndim == 3 else 3

    def label_of(self, index: int) -> int | None:
        """Label of an image."""
        return int(self.labels[index])

    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels."""
        return hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()

    def read(self, index: int) -> Example:
        """Return the image of that index, without boxes."""
        return Example(Image.fromarray(self.pixels[index]), int(self.labels[index]), torch.empty(0, 4).double())


def mnist(root: Path | StorePath, split: str) -> ArraySet:
    """Open MNIST's four IDX files, plain or gzipped, in the root or in torchvision's MNIST/raw."""
    prefix = {"train": "train", "test": "t10k"}[split]
    pixels, labels = (_read_idx(root, f"{prefix}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    if pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise UserError(f"MNIST's images {pixels.shape} and labels {labels.shape} in {root} do not belong together")
    return ArraySet("mnist", split, pixels, labels, tuple("0123456789"))


def cifar10(root: Path | StorePath, split: str) -> ArraySet:
    """Open CIFAR-10 in the official binary layout (cifar-10-batches-bin) or torchvision's (cifar-10-batches-py)."""
    names = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}[split]
    folders = (root / "cifar-10-batches-bin", root)
    binary = next((folder for folder in folders if (folder / f"{names[0]}.bin").is_file()), None)
    if binary is not None:
        pixels, labels = _read_cifar_binary([binary / f"{name}.bin" for name in names])
    elif (root / "cifar-10-batches-py").is_dir():
        published = torchvision.datasets.CIFAR10
        files = published.train_list if split == "train" else published.test_list
        pixels, labels = _read_cifar_pickles(root / "cifar-10-batches-py", files, "labels")
    else:
        raise UserError(f"no CIFAR-10 in {root}; expected a folder cifar-10-batches-bin or cifar-10-batches-py")
    return ArraySet("cifar10", split, pixels, labels, CIFAR10)


def cifar100(root: Path | StorePath, split: str) -> ArraySet:
    """Open CIFAR-100 in the official binary layout (cifar-100-binary) or torchvision's (cifar-100-python).

    Labels are the fine ones, of 100 classes.
    """
    published = torchvision.datasets.CIFAR100
    binary = next((path for path in (root / "cifar-100-binary", root) if (path / f"{split}.bin").is_file()), None)
    pickled = next((path for path in (root / published.base_folder, root) if (path / split).is_file()), None)
    if binary is not None:
        pixels, labels = _read_cifar_binary([binary / f"{split}.bin"], labels=2)
        names = read_names(binary / "fine_label_names.txt")
        if len(names) != 100:
            raise UserError(f"expected 100 names in {binary / 'fine_label_names.txt'}, got {len(names)}; is it cut?")
    elif pickled is not None:
        files = published.train_list if split == "train" else published.test_list
        pixels, labels = _read_cifar_pickles(pickled, files, "fine_labels")
        names = _unpickled(pickled, published.meta["filename"], published.meta["md5"])[published.meta["key"]]
    else:
        places = f"cifar-100-binary/{split}.bin or {published.base_folder}/{split}"
        raise UserError(f"no CIFAR-100 in {root}; expected {places}")
    return ArraySet("cifar100", split, pixels, labels, names)


def _read_cifar_binary(paths: Sequence[Path | StorePath], labels: int = 1) -> tuple[Array, Array]:
    """So many label bytes, of which the last is the class, then 3072 bytes channel first, per image."""
    records, length = [], labels + 3072
    for path in paths:
        data = np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)
        if data.size == 0 or data.size % length:
            raise UserError(f"expected {path} to hold records of {length} bytes, got {data.size} bytes")
        records.append(data.reshape(-1, length))
    joined = np.concatenate(records)
    pixels = joined[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
    return pixels, joined[:, labels - 1].copy()


def _read_cifar_pickles(folder: Path | StorePath, files: Sequence[Sequence[str]], key: str) -> tuple[Array, Array]:
    """The pickled files, of which torchvision lists the names and checksums; `key` is that of the labels."""
    batches = [_unpickled(folder, name, checksum) for name, checksum in files]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels, np.concatenate([np.array(batch[key], np.uint8) for batch in batches])


def _unpickled(folder: Path | StorePath, name: str, checksum: str) -> dict[str, Any]:
    """The content of a pickled file, unpickled only if it is the published one."""
    binary = {"cifar-10-batches-py": "cifar-10-batches-bin"}.get(folder.name, "cifar-100-binary")
    data = read_published(folder, name, checksum, f"unpack the archive again, or use the binary version ({binary})")
    content: dict[str, Any] = pickle.loads(data, encoding="latin1")
    return content


def read_published(folder: Path | StorePath, name: str, checksum: str, hint: str) -> bytes:
    """The content of a file whose MD5 checksum is the published one, which torchvision knows; a UserError if not."""
    data = (folder / name).read_bytes() if (folder / name).is_file() else b""
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != checksum:
        raise UserError(
            f"expected {folder} to hold the published files, got {name}, which is missing or damaged; {hint}"
        )
    return data


def _read_idx(root: Path | StorePath, name: str) -> Array:
    """IDX: two zero bytes, the type (8: unsigned byte), the number of dimensions, their sizes, the values."""
    paths = (folder / f"{name}{suffix}" for folder in (root, root / "MNIST" / "raw") for suffix in ("", ".gz"))
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UserError(f"no {name} in {root}; expected it there or in MNIST/raw, plain or .gz")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        dimensions = data[3]
        shape = np.frombuffer(data, ">u4", dimensions, 4)
        if data[:3] != b"\0\0\x08":
            raise ValueError(f"it starts with {data[:3]!r}")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise UserError(f"expected {path} to be an IDX file of bytes: {error}") from None
