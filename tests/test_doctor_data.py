"""What `attnlab doctor` says of a root: the data sets that lie in it, and what is wrong with them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from common import states
from PIL import Image

from attnlab.doctor import data
from attnlab.doctor.data import in_root


def test_what_lies_in_a_root_is_told_and_what_does_not_is_no_problem(place, tmp_path):
    root = Path(shutil.copytree(place, tmp_path / "mnist"))
    found = {finding.name: finding for finding in in_root(root, ["mnist", "cifar10"])}
    assert (found["mnist train"].state, found["mnist train"].text) == ("ok", f"60 images, in {root}")
    assert found["mnist test"].state == "note"
    assert "no cifar10 there" in found[""].text
    (root / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01")
    assert {finding.state for finding in in_root(root, ["mnist"])} == {"problem"}


def test_a_root_with_nothing_in_it_that_is_known_tells_what_each_data_set_expects(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    found = {finding.name: finding for finding in in_root(tmp_path, ["imagenet", "folder", "mnist", "cifar10"])}
    assert {finding.state for finding in found.values()} == {"problem"}
    for name, words in (
        ("imagenet", "LOC_val_solution.csv"),
        ("folder", "boxes.csv"),
        ("mnist", "MNIST/raw"),
        ("cifar10", "cifar-10-batches-bin or cifar-10-batches-py"),
    ):
        assert words in found[name].text + found[name].advice


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file"),
        ("file", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("empty", "an empty folder"),
    ],
    ids=["missing", "file", "too long", "empty"],
)
def test_a_root_that_cannot_be_read_is_a_problem_with_its_reason(tmp_path, name, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (finding,) = in_root(tmp_path / name, ["mnist"])
    assert finding.state == "problem"
    assert reason in finding.text
    assert "--root" in finding.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_root_without_permission_is_a_problem(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o000)
    (finding,) = in_root(tmp_path / "locked", ["mnist"])
    assert "Permission denied" in finding.text


def test_boxes_of_imagenet_are_told_by_their_file_and_images_that_cannot_be_used_are_counted(tmp_path):
    (tmp_path / "val").mkdir()
    for number in (1, 2):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / f"val/ILSVRC2012_val_0000000{number}.JPEG")
    solution = tmp_path / "LOC_val_solution.csv"
    solution.write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 1 9 9 \n")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    found = {finding.name: finding for finding in in_root(tmp_path, ["imagenet"])}
    assert found["imagenet val"].text == f"1 image of 2 listed, boxes from {solution}, in {tmp_path}"
    solution.write_text("ImageId,PredictionString\n")
    (finding,) = [finding for finding in in_root(tmp_path, ["imagenet"]) if finding.state == "problem"]
    assert finding.text == "none of the 2 images can be used"
    assert finding.advice == "ILSVRC2012_val_00000001: no annotation for this image"


def test_data_asked_for_without_a_root_is_a_problem_and_else_a_note():
    assert states(data.data(asked="mnist")) == {"others": "problem"}
    assert states(data.data()) == {"scenes val": "ok", "others": "note"}
    assert states(data.data(asked="scenes")) == {"scenes val": "ok"}
