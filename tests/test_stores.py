"""Data sets read from archives and URLs: the same images, names and fingerprints as from a folder."""

import gzip
import json
import sys
import threading
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from common import error_of, gradient
from fsspec.implementations.memory import MemoryFileSystem
from stored import facts, lay_images, packed, placed
from test_cub import plant as plant_cub

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.doctor.data import data as find
from attnlab.errors import UserError
from attnlab.pipelines.provenance import environment
from attnlab.pipelines.replay import replay
from attnlab.stores import Url, parse_root, remote


@pytest.fixture
def mine(tmp_path) -> Path:
    return lay_images(tmp_path / "mine")


PLACES = ["zip", "wrapped zip", "tar", "tgz", "wrapped tar.gz", "memory", "zip in memory", "chained zip", "file"]


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_of_images_is_the_same_wherever_it_lies(mine, place):
    assert facts(load_dataset("folder", placed(mine, place))) == facts(load_dataset("folder", mine))


@pytest.mark.parametrize("place", ["zip", "tgz", "memory"])
def test_imagenet_is_the_same_wherever_it_lies(tmp_path, place):
    root = tmp_path / "ilsvrc"
    (root / "val").mkdir(parents=True)
    for number in (2, 1):
        gradient().save(root / "val" / f"ILSVRC2012_val_0000000{number}.JPEG")
        (root / "boxes").mkdir(exist_ok=True)
        box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>19</ymax></bndbox>"
        (root / "boxes" / f"ILSVRC2012_val_0000000{number}.xml").write_text(
            f"<annotation><object><name>n0000000{number}</name>{box}</object></annotation>"
        )
    (root / "LOC_synset_mapping.txt").write_text("n00000001 cat, tabby\nn00000002 dog\n")
    here = load_dataset("imagenet", root, "val")
    assert facts(load_dataset("imagenet", placed(root, place), "val")) == facts(here)


@pytest.mark.parametrize("place", ["zip", "memory"])
def test_what_lies_beside_the_images_is_found_wherever_they_lie(tmp_path, place):
    root = tmp_path / "ilsvrc"
    (root / "val").mkdir(parents=True)
    gradient().save(root / "val" / "ILSVRC2012_val_00000001.JPEG")
    (root / "LOC_synset_mapping.txt").write_text("n00000001 cat, tabby\nn00000002 dog\n")
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n00000002 1 2 20 19 \n"
    )
    there = f"{placed(root, place)}/val" if place == "memory" else f"zip://val::{placed(root, place)}"
    assert facts(load_dataset("imagenet", there, "val")) == facts(load_dataset("imagenet", root / "val", "val"))


@pytest.mark.parametrize("place", ["wrapped zip", "tgz", "memory"])
@pytest.mark.parametrize(
    ("name", "below"),
    [
        ("imagenet-a", "imagenet-a/n01498041"),
        ("imagenet-c", "noise/gaussian_noise/3/n01498041"),
        ("imagenet-v2", "imagenetv2-matched-frequency-format-val/n01498041"),
    ],
)
def test_variants_of_imagenet_are_the_same_wherever_they_lie(tmp_path, name, below, place):
    root = tmp_path / "images"
    for folder in (root / below, (root / below).with_name("n01531178")):
        folder.mkdir(parents=True)
        gradient().save(folder / f"{folder.name}.jpg")
    assert facts(load_dataset(name, placed(root, place))) == facts(load_dataset(name, root))


@pytest.mark.parametrize("place", ["zip", "wrapped tar.gz", "memory"])
def test_cub_is_the_same_wherever_it_lies(tmp_path, place):
    root = plant_cub(tmp_path / "birds", masks="segmentations")
    images = load_dataset("cub", placed(root, place))
    assert facts(images) == facts(load_dataset("cub", root))
    assert images.read(0).mask().sum() == 3


@pytest.mark.parametrize("place", ["wrapped zip", "tgz", "memory"])
def test_mnist_is_the_same_wherever_it_lies(tmp_path, place):
    root = tmp_path / "digits"
    root.mkdir()
    (root / "t10k-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\3" + np.array([2, 28, 28], ">u4").tobytes() + bytes(range(98)) * 16)
    )
    (root / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + np.array([2], ">u4").tobytes() + b"\3\4")
    assert facts(load_dataset("mnist", placed(root, place))) == facts(load_dataset("mnist", root))


@pytest.mark.parametrize("place", ["tar.gz", "memory"])
def test_cifar10_is_the_same_wherever_it_lies(tmp_path, place):
    root = tmp_path / "cifar"
    (root / "cifar-10-batches-bin").mkdir(parents=True)
    data = np.random.default_rng(0).integers(0, 10, (3, 3073), np.uint8)
    (root / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(data.tobytes())
    assert facts(load_dataset("cifar10", placed(root, place))) == facts(load_dataset("cifar10", root))


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("s3://bucket/images", "pip install 'attnlab[s3]'"),
        ("gs://bucket/images.zip", "pip install 'attnlab[gcs]'"),
        ("s3://key:secret@bucket/a", "expected s3://bucket/a without user name and password"),
        ("http://host/a?b=c", "expected a query behind the URL of an archive alone, got http://host/a and a query"),
        ("ghost://bucket/images", "expected --root to be a folder, an archive or a URL of"),
        (
            "memory://nothing/here",
            "expected --root to be an existing folder, archive or bucket, got 'memory://nothing/here'",
        ),
        ("memory://nothing.zip", "expected --root to be an existing folder, archive or bucket"),
        ("zip://a::nothing.zip", "expected --root to be an existing archive, got 'nothing.zip'"),
        (Path("s3://bucket/images"), "s3://bucket/images, a URL as a Path: give it as text"),
        ("nothing.zip", "expected --root to be an existing folder or archive, got 'nothing.zip'"),
    ],
)
def test_a_store_that_cannot_be_read_is_one_line(root, said, monkeypatch):
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the query
        error = error_of(load_dataset, "folder", root)
    assert said in error
    assert "secret" not in error


def test_a_store_that_does_not_answer_is_left_in_time(monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_args, **_more: stopped.wait(60))
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    assert error_of(load_dataset, "folder", "memory://slow").startswith("memory://slow did not answer within 0 s")
    stopped.set()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://key:secret@host/a", "sftp://host/a"),
        ("sftp://key:se/cr@et@host/a", "sftp://host/a"),
        ("https://key@host:80/a.zip?X-Amz-Signature=secret", "https://host:80/a.zip"),
        ("zip://in::https://u:secret@host/a.zip?sig=secret", "zip://in::https://host/a.zip"),
        ("hf://datasets/user/name@main/a", "hf://datasets/user/name@main/a"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
    ],
)
def test_credentials_are_used_and_not_shown(url, shown):
    if url == shown:
        root = parse_root(url)
    else:
        with pytest.warns(UserWarning, match="neither printed nor recorded") as warned:
            root = parse_root(url)
        assert "secret" not in str(warned[0].message)
    assert (root, str(root), repr(root)) == (Url(url), shown, shown)


def test_a_lost_store_stops_the_run_and_blames_no_image(mine, monkeypatch):
    monkeypatch.setattr(remote.time, "sleep", lambda _seconds: None)
    url = placed(mine, "memory")
    images = load_dataset("folder", url)

    def fail(*_arguments, **_more):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    for workers in (0, 1):
        with pytest.raises(UserError) as error:
            list(load_batches(ResizedDataset(images, (8, 8)), [[0, 1]], workers))
        assert str(error.value).startswith(f"cannot read {url}/")
        assert "no route to host" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_run_records_the_root_and_no_credentials(attnlab, mine, tmp_path, net, monkeypatch):
    archive = packed(mine, ".zip", wrapper="mine")
    words = ("--data", "folder", "--root", "packed-mine.zip", "--model", f"{net}:build", "--device", "cpu")
    attnlab("analyze", *words, "--workers", 0, "--out", "run")
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["root"] == str(archive)
    views = replay(tmp_path / "run", device="cpu", trust_code=True)
    assert [view.record["image_id"] for view in views] == ["a-b.png", "a/one.png", "é.png"]
    again = attnlab("analyze", *words[:3], mine, *words[4:], "--workers", 0, "--out", "run")
    assert (again.code, json.loads((tmp_path / "run" / "run.json").read_text())) == (0, manifest)  # it is the same run
    monkeypatch.setattr(sys, "argv", ["attnlab", "analyze", "--root", "https://key:secret@host/a.zip?sig=secret"])
    assert environment(torch.device("cpu"))["command"] == "attnlab analyze --root 'https://host/a.zip'"


def test_doctor_finds_what_an_archive_or_a_url_holds(mine):
    for place in ("wrapped zip", "memory"):
        found = [finding.text for finding in find([parse_root(placed(mine, place))], "folder")]
        assert found[0].startswith("4 images of 5 listed, in ")
    finding = next(find([parse_root("memory://gone")], "folder"))
    assert (finding.state, finding.text[:40]) == ("problem", "expected --root to be an existing folder")
