"""CIFAR-100 and SVHN: value by value as torchvision reads them, by hand, and files that are not the published ones."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from common import error_of
from scipy.io import savemat
from test_mnist_cifar import Trap

from attnlab.compat import torchvision
from attnlab.data import load_dataset

PICTURES = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), np.uint8)
FINE, COARSE = [19, 99, 0, 51, 7], [11, 3, 4, 4, 1]
NAMES = [f"class {number}" for number in range(100)]
DIGITS = [1, 10, 9, 10, 5]  # 10 is the digit 0


def plant_pickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torchvision's layout, whose checksums become the published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(5, -1)
    files = {"test": {"data": flat, "fine_labels": FINE, "coarse_labels": COARSE}, "meta": {"fine_label_names": NAMES}}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in files}
    published = torchvision.datasets.CIFAR100
    monkeypatch.setattr(published, "train_list", [])
    monkeypatch.setattr(published, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(published, "meta", published.meta | {"md5": md5["meta"]})
    return folder


def plant_binary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(5, -1)
    labels = np.array([COARSE, FINE], np.uint8).T
    (folder / "test.bin").write_bytes(np.concatenate([labels, flat], 1).tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join([*NAMES, "", ""]))
    return folder


def plant_svhn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "test_32x32.mat"
    savemat(path, {"X": PICTURES.transpose(1, 2, 3, 0), "y": np.array(DIGITS, np.uint8)[:, None]})
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "test", ["", path.name, md5])
    return folder


def assert_is(images, theirs) -> None:
    """The same pixels, the same labels."""
    assert len(images.image_ids) == len(theirs) == 5
    for index in range(5):
        image, label, boxes = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(theirs[index][0]))
        assert (label, len(boxes)) == (theirs[index][1], 0)
        assert images.label_of(index) == label


@pytest.mark.parametrize("place", ["cifar-100-python", "."])
def test_cifar100_equals_torchvisions_and_labels_are_the_fine_ones(tmp_path, monkeypatch, place):
    folder = plant_pickles(tmp_path / "cifar-100-python", monkeypatch)
    images = load_dataset("cifar100", tmp_path if place != "." else folder)
    assert_is(images, torchvision.datasets.CIFAR100(str(tmp_path), train=False))
    assert list(images.classes) == NAMES
    assert [images.label_of(index) for index in range(5)] == FINE


@pytest.mark.parametrize("place", ["cifar-100-binary", "."])
def test_cifar100s_binary_files_equal_its_python_files(tmp_path, monkeypatch, place):
    plant_pickles(tmp_path / "pickled/cifar-100-python", monkeypatch)
    plant_binary(tmp_path / "binary" / place)
    pickled, binary = (load_dataset("cifar100", tmp_path / name) for name in ("pickled", "binary"))
    assert binary.fingerprint() == pickled.fingerprint()
    assert list(binary.classes) == list(pickled.classes)


@pytest.mark.parametrize("name", ["test", "meta"])
def test_a_pickled_file_of_cifar100_that_is_not_the_published_one_is_refused_and_never_loaded(
    tmp_path, monkeypatch, name
):
    folder = plant_pickles(tmp_path / "cifar-100-python", monkeypatch)
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    message = error_of(load_dataset, "cifar100", tmp_path)
    assert message.startswith(f"expected {folder} to hold the published files, got {name}, which is missing or damaged")
    assert message.endswith("or use the binary version (cifar-100-binary)")
    assert not (tmp_path / "executed").exists()


def test_a_binary_file_of_cifar100_that_is_cut_is_refused(tmp_path):
    folder = plant_binary(tmp_path)
    (folder / "fine_label_names.txt").write_text("apple\n")
    names = folder / "fine_label_names.txt"
    assert error_of(load_dataset, "cifar100", tmp_path) == f"expected 100 names in {names}, got 1; is it cut?"
    (folder / "test.bin").write_bytes(bytes(3073))  # as CIFAR-10's are
    expected = f"expected {folder / 'test.bin'} to hold records of 3074 bytes, got 3073 bytes"
    assert error_of(load_dataset, "cifar100", tmp_path) == expected
    expected = f"no CIFAR-100 in {tmp_path}; expected cifar-100-binary/train.bin or cifar-100-python/train"
    assert error_of(load_dataset, "cifar100", tmp_path, "train") == expected


@pytest.mark.parametrize("place", [".", "svhn", "SVHN"])
def test_svhn_equals_torchvisions_and_the_digit_0_is_class_0(tmp_path, monkeypatch, place):
    folder = plant_svhn(tmp_path / place, monkeypatch)
    images = load_dataset("svhn", tmp_path)
    assert_is(images, torchvision.datasets.SVHN(str(folder), "test"))
    assert [images.classes[images.label_of(index)] for index in range(5)] == ["1", "0", "9", "0", "5"]
    np.testing.assert_array_equal(images.pixels, PICTURES)


def test_a_file_of_svhn_that_is_missing_or_not_the_published_one_is_refused(tmp_path, monkeypatch):
    path = plant_svhn(tmp_path, monkeypatch) / "test_32x32.mat"
    expected = "to hold the published files, got {}, which is missing or damaged; download it again"
    assert error_of(load_dataset, "svhn", tmp_path, "extra").endswith(expected.format("extra_32x32.mat"))
    for content in (path.read_bytes()[:-100], b""):
        path.write_bytes(content)
        assert error_of(load_dataset, "svhn", tmp_path).endswith(expected.format("test_32x32.mat"))
