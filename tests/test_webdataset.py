"""Data sets of WebDataset's .tar files."""

import io
import json
import re
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from common import error_of
from PIL import Image

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.doctor.data import data as find
from attnlab.stores import expand, parse_root


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(path: Path, files: dict[str, object], mode: str = "w") -> Path:
    """A .tar file of these members; what is no bytes is written as JSON, numbers as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def tars(tmp_path) -> Path:
    """Two .tar files: labels in .cls, in .json as an index and as a name, with boxes, without a label."""
    root = tmp_path / "tars"
    first = {"b/1.png": picture(1), "b/1.cls": 2, "b/0.cls": 1, "b/0.JPG": picture(2), "b/0.seg.png": picture(3)}
    write(root / "part-0.tar", {**first, "b/0.json": {"label": "dog", "boxes": [[1, 2, 20, 19], [4.5, 5, 8, 9]]}})
    write(root / "part-1.tar", {"c.json": {"label": 0, "boxes": []}, "c.webp": picture(4), "none.png": picture(5)})
    (root / "classes.txt").write_text("cat\ndog\nowl\n")
    return root


def facts(images) -> tuple[object, ...]:
    samples = [ResizedDataset(images, (8, 8))[index] for index in range(len(images.image_ids))]
    read = [sample.pixels.tolist() if hasattr(sample, "pixels") else sample.reason for sample in samples]
    return list(images.image_ids), list(images.classes), images.fingerprint(), read


def test_samples_have_the_labels_and_boxes_that_their_files_say(tars):
    images = load_dataset("webdataset", tars)
    assert list(images.image_ids) == ["b/1", "b/0", "c", "none"]
    assert [images.label_of(index) for index in range(4)] == [2, 1, 0, None]
    assert images.read(1).boxes.tolist() == [[1, 2, 20, 19], [4.5, 5, 8, 9]]
    assert images.read(1).image.tobytes() == Image.open(io.BytesIO(picture(2))).tobytes()
    assert images.has_boxes
    assert ResizedDataset(images, (8, 8))[3].reason == "no label: neither a .cls nor a `label` in a .json"


@pytest.mark.parametrize("place", ["pattern", "one by one", "file", "memory", "pattern in memory", "tgz", "split"])
def test_tars_are_the_same_however_they_are_named(tars, place):
    here = facts(load_dataset("webdataset", tars))
    root = {
        "pattern": f"{tars}/part-{{0..1}}.tar",
        "one by one": f"{tars}/{{part-0,part-1}}.tar",
        "file": f"file://{tars}",
    }
    if "memory" in place:
        for path in tars.iterdir():
            fsspec.filesystem("memory").pipe_file(f"/{tars.parent.name}/{path.name}", path.read_bytes())
        root |= {"memory": f"memory://{tars.parent.name}"}
        root |= {"pattern in memory": f"memory://{tars.parent.name}/part-{{0..1}}.tar"}
    if place == "tgz":
        for path in tars.glob("*.tar"):
            with tarfile.open(path) as packed, tarfile.open(path.with_suffix(".tgz"), "w:gz") as other:
                for info in packed:
                    other.addfile(info, packed.extractfile(info))
            path.unlink()
    if place == "split":
        (tars / "val").mkdir()
        for path in tars.glob("*.tar"):
            path.rename(tars / "val" / path.name)
    assert facts(load_dataset("webdataset", root.get(place, tars))) == here


def test_worker_processes_read_the_same(tars):
    prepared = ResizedDataset(load_dataset("webdataset", tars), (8, 8))
    alone, together = (list(load_batches(prepared, [[0, 1], [2, 3]], workers)) for workers in (0, 2))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.pixels, other.pixels, rtol=0, atol=0)


def test_keys_that_two_tars_share_carry_the_name_of_their_tar(tmp_path):
    for number in (0, 1):
        write(tmp_path / f"{number:02d}.tar", {"a.png": picture(number), "a.cls": number})
    assert list(load_dataset("webdataset", tmp_path).image_ids) == ["00/a", "01/a"]


A = {"a.png": picture(0)}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {**A, "a.cls": 1, "a.json": {"label": 0}},
            "expected one label for {tar}/a, got class 0 in .json and class 1 in .cls",
        ),
        ({**A, "a.cls": 1, "a.json": {"label": "cat"}}, "got class 0 in .json and class 1 in .cls"),
        ({**A, "a.jpg": picture(1), "a.cls": 0}, "expected one image for {tar}/a, got a.png and a.jpg"),
        ({**A, "a.PNG": picture(1), "a.cls": 0}, "expected one .png for {tar}/a, got two"),
        ({**A, "a.cls": b"cat"}, "expected the .cls of {tar}/a to be a class index, got 'cat'"),
        ({**A, "a.cls": 7}, "expected the class in the .cls of {tar}/a to be below 2, got 7"),
        ({**A, "a.json": {"label": "cow"}}, "to be one of the 2 names in classes.txt, once, got 'cow'"),
        ({**A, "a.json": {"label": True}}, "to be a class index or a name, got True"),
        ({**A, "a.json": {"label": 0, "boxes": [1, 2, 3, 4]}}, "to be a list of [x0, y0, x1, y1], got [1, 2, 3, 4]"),
        ({**A, "a.json": {"label": 0, "boxes": [[0.1, 0.2, 0.3, 0.4]]}}, "expected boxes in pixels"),
        ({"readme.txt": b"hello"}, "expected samples of WebDataset in"),
    ],
)
def test_what_can_be_read_two_ways_or_not_at_all_is_refused(tmp_path, files, said):
    tar = write(tmp_path / "x.tar", files)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert said.format(tar=tar) in error_of(load_dataset, "webdataset", tar)


def test_a_sample_that_cannot_be_used_is_skipped_with_its_reason(tmp_path):
    cut = {"a.png": picture(0)[:500], "a.cls": 0, "b.cls": 0, "c.png": picture(1), "c.json": b"{", "d.txt": b"x"}
    images = load_dataset("webdataset", write(tmp_path / "x.tar", {**cut, "../e.png": picture(2), "../e.cls": 1}))
    reasons = [sample.reason for sample in map(ResizedDataset(images, (8, 8)).__getitem__, range(3))]
    assert list(images.image_ids) == ["a", "b", "c"]
    assert reasons[0].startswith("cannot be decoded: ")
    assert reasons[1] == "no image of .jpg, .jpeg, .png, .webp"
    assert reasons[2].startswith("its .json is malformed")


def test_roots_that_name_no_tars_of_one_split_are_refused(tars, tmp_path):
    assert "expected --root to name existing files, got" in error_of(
        load_dataset, "webdataset", f"{tars}/part-{{0..2}}.tar"
    )
    assert error_of(load_dataset, "webdataset", tmp_path).endswith("got none; --split tars has some")
    for name in ("imagenet-train-0.tar", "imagenet-val-0.tar"):
        write(tmp_path / "mixed" / name, {"a.png": picture(0), "a.cls": 0})
    error = error_of(load_dataset, "webdataset", tmp_path / "mixed")
    assert "got train (imagenet-train-0.tar) and val (imagenet-val-0.tar)" in error
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "x.tar").write_bytes((tars / "part-0.tar").read_bytes()[:3000])
    assert re.search(
        r"x.tar to be a whole archive .* fetch it again", error_of(load_dataset, "webdataset", tmp_path / "cut")
    )


def test_doctor_finds_tars_by_a_pattern(tars):
    for root in (tars, parse_root(f"{tars}/part-{{0..1}}.tar")):
        assert next(find([root], "webdataset")).text.startswith("3 images of 4 listed, in ")


def test_a_pattern_stands_for_names_as_in_a_shell():
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert error_of(expand, "{0..999999999}.tar").startswith("expected a pattern of at most 100000 files")
