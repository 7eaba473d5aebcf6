"""Archives of images: read in any order, by any process, and refused where they are damaged or gone."""

import gzip
import pickle
import shutil
import tarfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from common import error_of
from stored import facts, lay_images, packed, placed

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.stores import open_root, remote


@pytest.fixture
def mine(tmp_path) -> Path:
    return lay_images(tmp_path / "mine")


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
