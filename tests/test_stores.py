"""Data sets read from archives and URLs: the same images, names and fingerprints as from a folder."""

import gzip
import json
import pickle
import shutil
import sys
import tarfile
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from common import error_of, gradient
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from test_cub import plant as plant_cub

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, Sample, load_batches
from attnlab.doctor.data import data as find
from attnlab.errors import UserError
from attnlab.pipelines.provenance import environment
from attnlab.pipelines.replay import replay
from attnlab.stores import Url, open_root, parse_root, remote


@pytest.fixture
def mine(tmp_path) -> Path:
    """A folder of images, with a name beyond ASCII, names whose order depends on the slash, and a truncated image."""
    root = tmp_path / "mine"
    (root / "a").mkdir(parents=True)
    names = ["a/one.png", "a-b.png", "é.png", "cut.png", "free.png"]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (40 + number, 30, 3), np.uint8)
        Image.fromarray(noise).save(root / name)
    (root / "cut.png").write_bytes((root / "cut.png").read_bytes()[:2000])
    rows = "".join(f"{name},{number},1,2,20,30\n" for number, name in enumerate(names[:-1]))
    (root / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{rows}")
    return root


def put_in_memory(folder: Path, name: str) -> str:
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"memory://{name}"


def packed(folder: Path, ending: str, *, wrapper: str = "") -> Path:
    """An archive of the folder's files, in a folder of their own if one is named."""
    path = folder.parent / f"packed-{wrapper.replace('/', '-')}{ending}"
    files = [file for file in sorted(folder.rglob("*"), reverse=True) if file.is_file()]
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path(wrapper) / file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if ending in (".tgz", ".tar.gz") else "w") as archive:
            for file in files:
                archive.add(file, Path(wrapper) / file.relative_to(folder))
    return path


PLACES = ["zip", "wrapped zip", "tar", "tgz", "wrapped tar.gz", "memory", "zip in memory", "chained zip", "file"]


def placed(folder: Path, place: str) -> str:
    """The folder's files elsewhere, as a user names it."""
    if place == "memory":
        return put_in_memory(folder, f"bucket-{folder.parent.name}")
    if place == "file":
        return f"file://{folder}"
    if place in ("zip in memory", "chained zip"):
        path = packed(folder, ".zip", wrapper="inner/deep" if place == "chained zip" else "")
        name = f"/archives-{folder.parent.name}/{path.name}"
        fsspec.filesystem("memory").pipe_file(name, path.read_bytes())
        return f"memory:/{name}" if place == "zip in memory" else f"zip://inner/deep::memory:/{name}"
    return str(packed(folder, f".{place.split()[-1]}", wrapper="one/two" if "wrapped" in place else ""))


def facts(images) -> tuple[object, ...]:
    """All that a run depends on: names, labels, fingerprint, and of each image its pixels or why it has none."""
    read = []
    for sample in (ResizedDataset(images, (16, 16))[index] for index in range(len(images.image_ids))):
        read.append((sample.pixels.tolist(), sample.boxes.tolist()) if isinstance(sample, Sample) else sample.reason)
    labels = [images.label_of(index) for index in range(len(images.image_ids))]
    return list(images.image_ids), labels, images.fingerprint(), read


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


@pytest.mark.parametrize("place", ["zip", "tar", "tgz", "memory"])
def test_worker_processes_read_what_the_parent_has_read_before(mine, place):
    images = load_dataset("folder", placed(mine, place))
    prepared = ResizedDataset(images, (16, 16))
    alone = list(load_batches(prepared, [[0, 1], [2, 3], [4]], 0))
    together = list(load_batches(prepared, [[0, 1], [2, 3], [4]], 2))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.pixels, other.pixels, rtol=0, atol=0)
        assert one.skipped == other.skipped


def test_what_a_spawned_worker_gets_reads_the_same(mine):
    for place in ("zip", "tgz"):
        images = load_dataset("folder", placed(mine, place))
        content = pickle.dumps(images)
        assert facts(pickle.loads(content)) == facts(images)


def test_a_tar_gz_of_several_members_of_gzip_is_read_in_any_order(tmp_path):
    rng = np.random.default_rng(0)
    contents = {f"{number}.bin": rng.integers(0, 30, 300_000, np.uint8).tobytes() for number in range(9)}
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            archive.add(tmp_path / name, name)
    data = (tmp_path / "plain.tar").read_bytes()
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(gzip.compress(data[:1_000_000]) + gzip.compress(data[1_000_000:]) + bytes(100))
    top = open_root(packed)
    for number in (0, 8, 3, 3, 2, 7, 0):
        assert (top / f"{number}.bin").read_bytes() == contents[f"{number}.bin"]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: (top / name).read_bytes(), contents)) == list(contents.values())


def test_an_archive_keeps_what_leads_outside_out(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../x.png", "/etc/x.png", "in/../../y.png", "a/b.png", "./c.png"):
            archive.writestr(name, b"1")
    with pytest.warns(UserWarning, match=r"a.zip holds 3 files that would lie outside of it, .*: \.\./x.png"):
        top = open_root(path)
    assert sorted(top.files()) == ["a/b.png", "c.png"]


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz"])
def test_an_archive_that_was_made_again_is_read_as_it_is_now(mine, ending):
    before = facts(load_dataset("folder", packed(mine, ending)))
    shutil.copy(mine / "a-b.png", mine / "a" / "one.png")
    after = facts(load_dataset("folder", packed(mine, ending)))
    assert after == facts(load_dataset("folder", mine))
    assert after != before


def test_an_archive_that_is_gone_stops_the_run_and_blames_no_image(mine, monkeypatch):
    monkeypatch.setattr(remote.time, "sleep", lambda _seconds: None)
    for ending in (".zip", ".tar", ".tgz"):
        path = packed(mine, ending)
        images = pickle.loads(pickle.dumps(load_dataset("folder", path)))
        path.unlink()
        remote._opened.cache_clear()
        with pytest.raises(UserError, match=rf"^cannot read {path}/.* any more .*; repeat the command to resume$"):
            list(load_batches(ResizedDataset(images, (8, 8)), [[0, 1]], 0))


def test_an_archive_of_one_split_is_not_taken_for_its_wrapper(mine):
    only = packed(mine, ".zip", wrapper="val")
    assert len(load_dataset("folder", only, "val").image_ids) == 5
    assert error_of(load_dataset, "folder", only, "train").endswith("; --split val has one")


def test_links_in_a_tar_lead_to_what_they_link(mine):
    path = mine.parent / "links.tar"
    (mine / "free.png").unlink()
    shutil.copy(mine / "a-b.png", mine / "free.png")
    here = facts(load_dataset("folder", mine))
    (mine / "free.png").unlink()
    (mine / "free.png").symlink_to("a-b.png")
    with tarfile.open(path, "w") as archive:
        archive.add(mine, ".")
    assert facts(load_dataset("folder", path)) == here


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tgz"])
@pytest.mark.parametrize("harm", ["cut", "no archive", "empty", "holes"])
def test_a_damaged_archive_is_one_line(mine, ending, harm):
    path = packed(mine, ending)
    data = path.read_bytes()
    middle = len(data) // 2
    harmed = {"cut": data[:middle], "no archive": b"hello" * 300, "empty": b"", "holes": bytes(len(data))}[harm]
    path.write_bytes(harmed)
    error = error_of(load_dataset, "folder", path)
    assert str(path) in error
    assert "archive" in error


def test_an_image_that_its_archive_does_not_hold_whole_is_skipped_with_a_reason(mine):
    path = packed(mine, ".zip")
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("a-b.png").header_offset
    data = bytearray(path.read_bytes())
    data[start + 200] ^= 255
    path.write_bytes(data)
    images = load_dataset("folder", path)
    index = images.image_ids.index("a-b.png")
    assert "damaged in its archive" in ResizedDataset(images, (8, 8))[index].reason


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


def test_a_tar_gz_that_is_slow_in_the_order_of_names_is_told(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    for name, numbers in (("sorted", range(600)), ("unsorted", range(599, -1, -1))):
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as archive:
            for number in numbers:
                archive.add(tmp_path / "x", f"{number:03d}.png")
    with pytest.warns(UserWarning, match="unsorted.tar.gz holds its files in another order than that of their names"):
        open_root(tmp_path / "unsorted.tar.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_root(tmp_path / "sorted.tar.gz")


def test_a_link_that_leads_to_no_file_of_its_tar_is_told(tmp_path):
    (tmp_path / "x.png").write_bytes(b"1")
    (tmp_path / "y.png").symlink_to("/etc/hostname")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("x.png", "y.png"):
            archive.add(tmp_path / name, name)
    with pytest.warns(UserWarning, match=r"a.tar holds 1 file .* or link what it does not hold before them, .*: y.png"):
        assert list(open_root(tmp_path / "a.tar").files()) == ["x.png"]
