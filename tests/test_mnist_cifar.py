"""MNIST and CIFAR-10 in the layouts they are handed around in."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from common import error_of
from PIL import Image

from attnlab.compat import torchvision
from attnlab.data import load_dataset

DIGITS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([7, 2, 1, 0, 4], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(root: Path, suffix: str = "", pack=bytes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx(DIGITS)))
    (root / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS)))
    return root


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_mnist_is_read_plain_or_gzipped_from_the_root_or_from_torchvisions_folder(tmp_path, place, suffix, pack):
    write_mnist(tmp_path / place, suffix, pack)
    images = load_dataset("mnist", tmp_path, "test")
    assert (images.size, images.channels, images.has_boxes) == ((28, 28), 1, False)
    for index in range(5):
        image, label, boxes = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), DIGITS[index])
        assert (image.mode, label, len(boxes)) == ("L", LABELS[index], 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:-10],
        lambda data: b"\x89PNG" + data[4:],
        lambda data: gzip.compress(data)[:-20],
        lambda data: gzip.compress(data)[:10] + b"\x07" * 40,  # zlib's own error, which is no OSError
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_mnist_file_is_refused_by_name(tmp_path, damage, suffix):
    write_mnist(tmp_path, suffix, gzip.compress if suffix else bytes)
    path = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    path.write_bytes(damage(idx(DIGITS)))
    assert error_of(load_dataset, "mnist", tmp_path, "test").startswith(f"expected {path} to be an IDX file of bytes")


def test_mnist_without_what_it_needs_says_so(tmp_path):
    assert "needs --root DIR" in error_of(load_dataset, "mnist")
    message = error_of(load_dataset, "mnist", tmp_path, "test")
    assert message == f"no t10k-images-idx3-ubyte in {tmp_path}; expected it there or in MNIST/raw, plain or .gz"
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    assert "do not belong together" in error_of(load_dataset, "mnist", tmp_path, "test")


@pytest.mark.parametrize(
    ("split", "count", "labels"), [("train", 60_000, [5, 0, 4, 1, 9]), ("test", 10_000, [7, 2, 1, 0, 4])]
)
def test_real_mnist_is_the_published_one(shared, split, count, labels):
    images = load_dataset("mnist", shared / "mnist", split)
    assert len(images.image_ids) == count
    assert [images.read(index).label for index in range(5)] == labels
    assert images.pixels.mean() / 255 == pytest.approx({"train": 0.1307, "test": 0.1325}[split], abs=1e-4)


# ------------------------------------------------------------------ cifar10

PICTURES = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
CLASSES = np.array([3, 8, 8, 0], np.uint8)


def write_binary(folder: Path, name: str = "test_batch.bin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(4, -1)
    (folder / name).write_bytes(np.concatenate([CLASSES[:, None], flat], 1).tobytes())
    return folder / name


def assert_pictures(images) -> None:
    assert (len(images.image_ids), images.size, images.channels) == (4, (32, 32), 3)
    for index in range(4):
        image, label, _ = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), PICTURES[index])
        assert label == CLASSES[index]


@pytest.mark.parametrize("place", [".", "cifar-10-batches-bin"])
def test_cifar10_is_read_in_the_official_binary_layout(tmp_path, place):
    write_binary(tmp_path / place)
    assert_pictures(load_dataset("cifar10", tmp_path, "test"))


def test_cifar10_training_joins_its_five_files_in_order(tmp_path):
    for number in range(1, 6):
        path = write_binary(tmp_path, f"data_batch_{number}.bin")
        path.write_bytes(bytes([number]) + path.read_bytes()[1:])
    images = load_dataset("cifar10", tmp_path, "train")
    assert [images.read(index).label for index in range(0, 20, 4)] == [1, 2, 3, 4, 5]


def write_pickled(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torchvision's layout; it reads no file whose checksum is not the one in these lists."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(4, -1)
    files = {"test_batch": {"data": flat, "labels": CLASSES.tolist()}, "batches.meta": {"label_names": ["airplane"]}}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in files}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", [])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", meta)
    return folder


def test_cifar10_is_read_in_torchvisions_layout(tmp_path, monkeypatch):
    write_pickled(tmp_path, monkeypatch)
    assert_pictures(load_dataset("cifar10", tmp_path, "test"))


def test_a_pickled_cifar10_file_that_is_not_the_published_one_is_refused_and_never_loaded(tmp_path, monkeypatch):
    folder = write_pickled(tmp_path, monkeypatch)
    (folder / "test_batch").write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    message = error_of(load_dataset, "cifar10", tmp_path, "test")
    assert message.endswith("unpack the archive again, or use the binary version (cifar-10-batches-bin)")
    assert not (tmp_path / "executed").exists()


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_cifar10_without_what_it_needs_says_so(tmp_path):
    message = error_of(load_dataset, "cifar10", tmp_path, "test")
    assert message == f"no CIFAR-10 in {tmp_path}; expected a folder cifar-10-batches-bin or cifar-10-batches-py"
    path = write_binary(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert error_of(load_dataset, "cifar10", tmp_path, "test") == (
        f"expected {path} to hold records of 3073 bytes, got 12291 bytes"
    )
    first = write_binary(tmp_path, "data_batch_1.bin")
    missing = first.with_name("data_batch_2.bin")
    assert error_of(load_dataset, "cifar10", tmp_path, "train").startswith(
        f"expected {missing} to hold records of 3073 bytes"
    )


def test_real_cifar10_test_images_have_the_published_mean_and_order(shared, tmp_path):
    """The mosaics hold 5,000 images each, 50 rows of 100; two of them are the test batch."""
    labels = np.load(shared / "cifar10" / "test-labels.npz")["label"]
    mosaic = np.asarray(Image.open(shared / "cifar10" / "test-00.webp").convert("RGB"))
    flat = mosaic.reshape(50, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(5000, -1)
    (tmp_path / "test_batch.bin").write_bytes(np.concatenate([labels[:5000, None], flat], 1).astype(np.uint8).tobytes())
    images = load_dataset("cifar10", tmp_path, "test")
    assert [images.classes[images.read(index).label] for index in range(4)] == ["cat", "ship", "ship", "airplane"]
    np.testing.assert_allclose(images.pixels.mean((0, 1, 2)) / 255, [0.494, 0.485, 0.450], atol=0.005)
    np.testing.assert_array_equal(np.asarray(images.read(101).image), mosaic[32:64, 32:64])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mnist", idx(np.array([0, 1, 2, 3, 10], np.uint8)), "from 0 to 9, got 10 for image 4"),
        ("cifar10", (b"\x03" + bytes(3072)) * 2 + b"\x0b" + bytes(3072), "from 0 to 9, got 11 for image 2"),
    ],
)
def test_a_label_beyond_the_classes_is_refused(tmp_path, name, content, message):
    write_mnist(tmp_path)
    (tmp_path / ("t10k-labels-idx1-ubyte" if name == "mnist" else "test_batch.bin")).write_bytes(content)
    assert message in error_of(load_dataset, name, tmp_path, "test")


def test_files_of_no_image_are_refused(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(DIGITS[:0]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:0]))
    assert (
        error_of(load_dataset, "mnist", tmp_path, "test")
        == "expected images in mnist test, got pixels of shape (0, 28, 28)"
    )
