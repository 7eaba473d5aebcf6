"""Instances of COCO: objects against pycocotools and torchvision, and what of a file is no object."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from coco_files import HEIGHT, SQUARE, TRIANGLE, WIDTH, content, image, instance, lay
from common import NET, error_of, gradient
from PIL import Image

from attnlab.compat import torchvision
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.records import read_records

RUNS = [130, 20, 10, 20, HEIGHT * WIDTH - 180]


def sample_of(root: Path, said: object, truth: str = "mask", **how: str):
    return ResizedDataset(load_dataset("coco", lay(root, said), **how), (HEIGHT, WIDTH), truth=truth)[0]


def mixed(tmp_path: Path) -> Path:
    """Four images: polygons of two parts, both kinds of runs, boxes alone, and two classes."""
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    text = coco.encode(np.asfortranarray(np.tri(HEIGHT, WIDTH), np.uint8))["counts"].decode()
    return lay(
        tmp_path,
        content(
            [
                instance(7, (4.5, 3, 30.5, 23.4), 18, area=500.5, segmentation=[TRIANGLE, SQUARE]),
                instance(3, (4, 10, 2, 20), 1, area=40, segmentation={"counts": RUNS, "size": [HEIGHT, WIDTH]}),
                instance(3, (0, 0, 40, 30), 1, area=465, segmentation={"counts": text, "size": [HEIGHT, WIDTH]}),
                instance(5, (1.5, 2.25, 10.5, 20), area=210),
                instance(5, (20, 2, 3.25, 4), area=13),
                instance(9, (1, 1, 9, 9), 1, area=60),
                instance(9, (10, 10, 20, 15), 18, area=225, segmentation=[SQUARE]),
            ]
        ),
    )


def test_objects_equal_pycocotools_and_torchvision(tmp_path, capsys):
    root = mixed(tmp_path)
    oracle = torchvision.datasets.CocoDetection(root / "val2017", root / "annotations" / "instances_val2017.json")
    coco = oracle.coco
    known = coco.loadCats(sorted(coco.getCatIds()))
    images = load_dataset("coco", root, label="each")
    assert list(images.classes) == [category["name"] for category in known] == ["person", "cat", "dog"]
    samples = {images.image_ids[index]: images.read(index) for index in range(len(images.image_ids))}
    assert len(samples) == 7
    for index, number in enumerate(oracle.ids):
        picture, annotations = oracle[index]
        for place, annotation in enumerate(annotations):
            example = samples[f"{number:04d}.png#{place}"]
            np.testing.assert_array_equal(np.asarray(example.image), np.asarray(picture))
            assert known[example.label]["id"] == annotation["category_id"]
            x, y, width, height = annotation["bbox"]
            assert example.boxes.tolist() == [[x, y, x + width, y + height]]
            if "segmentation" in annotation:
                np.testing.assert_array_equal(example.mask(), coco.annToMask(annotation))
            else:
                assert example.mask is None


def test_the_largest_object_says_the_class_whose_objects_are_the_truth(tmp_path):
    images = load_dataset("coco", mixed(tmp_path))
    assert list(images.image_ids) == ["0007.png", "0003.png", "0005.png", "0009.png"]
    samples = list(ResizedDataset(images, (HEIGHT, WIDTH)))
    assert [images.classes[sample.label] for sample in samples] == ["dog", "person", "cat", "dog"]
    assert [sample.masked for sample in samples] == [True, True, False, True]
    plain = np.zeros(HEIGHT * WIDTH, bool)
    plain[130:150] = plain[160:180] = True
    np.testing.assert_array_equal(samples[1].mask, plain.reshape(WIDTH, HEIGHT).T | np.tri(HEIGHT, WIDTH, dtype=bool))
    assert samples[2].boxes.tolist() == [[1.5, 2.25, 12, 22.25], [20, 2, 23.25, 6]]
    boxes = ResizedDataset(images, (HEIGHT, WIDTH), truth="box")[3]
    assert (boxes.mask.sum(), boxes.boxes.tolist()) == (20 * 15, [[10, 10, 30, 25]])


def test_areas_decide_where_every_object_has_one_else_boxes(tmp_path):
    def label(*areas: object) -> int:
        boxes = [(0, 0, 20, 20), (5, 5, 8, 8)]
        said = [instance(1, box, 1 + 16 * place, area=areas[place]) for place, box in enumerate(boxes)]
        return load_dataset("coco", lay(tmp_path, content(said))).label_of(0)

    assert label(50, 64) == 1  # the second object, a cat
    assert label(50, None) == label(0, 64) == label("50", 64) == label(64.5, 64) == 0
    assert label(1200, 1200) == label(50, 82) == 0  # of the image, and more than the second box holds: not the object's


@pytest.mark.parametrize("kind", [float, str])
def test_a_size_that_is_written_otherwise_scales_boxes_alike(tmp_path, kind):
    said = content([instance(1, (20, 10, 16, 16))], [image(1, height=kind(2 * HEIGHT), width=kind(2 * WIDTH))])
    assert load_dataset("coco", lay(tmp_path, said)).read(0).boxes.tolist() == [[10, 5, 18, 13]]


def test_half_a_character_in_a_name_is_shown_escaped(tmp_path):
    said = content([instance(1, (20, 10, 16, 16))], [image(1), image(2, "a\ud800.png")])
    lay(tmp_path, content([instance(1, (20, 10, 16, 16))]))
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(said))
    images = load_dataset("coco", tmp_path)
    assert (list(images.image_ids), images.label_of(1)) == (["0001.png", "a\\ud800.png"], None)
    assert len(images.fingerprint()) == 64


def test_without_pycocotools_masks_are_refused_with_the_command_that_installs_it_and_boxes_work(tmp_path, monkeypatch):
    images = load_dataset("coco", lay(tmp_path, content([instance(1, (20, 10, 15, 15), segmentation=[SQUARE])])))
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    for workers in (0, 1):
        with pytest.raises(UserError) as error:
            list(load_batches(ResizedDataset(images, (8, 8)), [[0]], workers))
        assert str(error.value).startswith(
            "expected pycocotools, which draws polygons, got none: pip install 'attnlab[co"
        )
        assert str(error.value).endswith("with --truth box")
    assert ResizedDataset(images, (HEIGHT, WIDTH), truth="box")[0].mask.sum() == 225


@pytest.mark.parametrize(
    ("segmentation", "note"),
    [
        ([[1, 2, 3, 4]], "with a malformed mask, whose box counts"),
        ([[]], "with a malformed mask, whose box counts"),
        ([TRIANGLE[:5]], "with a malformed mask, whose box counts"),
        (TRIANGLE, "with a malformed mask, whose box counts"),
        ([[*TRIANGLE, "1", "2"]], "with a malformed mask, whose box counts"),
        ([[*TRIANGLE, float("nan"), 2]], "with a malformed mask, whose box counts"),
        ([[*TRIANGLE, 10**400, 2]], "with a malformed mask, whose box counts"),
        ("polygon", "with a malformed mask, whose box counts"),
        ([[0, 0, 1e8, 0, 1e8, 1e8]], "with a polygon far outside of the image, so that boxes count"),
        ({"counts": RUNS, "size": [WIDTH, HEIGHT]}, "with a mask of another size than its image, whose box counts"),
        ({"counts": RUNS}, "with a mask of another size than its image, whose box counts"),
        ({"counts": RUNS[:-1], "size": [HEIGHT, WIDTH]}, "with a malformed mask, whose box counts"),
        ({"counts": 5, "size": [HEIGHT, WIDTH]}, "with a malformed mask, whose box counts"),
        ({"counts": "RW5", "size": [HEIGHT, WIDTH]}, "with a mask whose runs do not fill it, so that boxes count"),
    ],
)
def test_of_a_mask_that_is_none_the_box_counts_which_is_said(tmp_path, segmentation, note):
    sample = sample_of(tmp_path, content([instance(1, (2, 3, 10, 20), segmentation=segmentation)]))
    assert (sample.masked, sample.mask.sum(), list(sample.notes)) == (False, 200, [note])


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_an_object_without_a_mask_has_its_box_alone(tmp_path, segmentation):
    sample = sample_of(tmp_path, content([instance(1, (2, 3, 10, 20), segmentation=segmentation)]))
    assert (sample.masked, sample.mask.sum(), sample.notes) == (False, 200, ())


def test_a_polygon_of_two_points_is_left_out_of_a_mask(tmp_path):
    sample = sample_of(tmp_path, content([instance(1, (20, 10, 15, 15), segmentation=[[1, 2, 9, 9], SQUARE])]))
    assert (sample.masked, int(sample.mask.sum())) == (True, 225)
    assert sample.notes == ("with a mask of which a polygon has fewer than three points, left out",)


@pytest.mark.parametrize("box", [None, (5, 5, 0, 3), (5, 5, 3, -1), (1, 2, 3), (1, 2, 3, "4"), (1, 2, 3, float("nan"))])
def test_an_object_without_a_box_is_its_mask_or_none(tmp_path, box):
    sample = sample_of(tmp_path / "mask", content([instance(1, box, segmentation=[SQUARE])]))
    assert (sample.masked, sample.boxes.tolist()) == (True, [[20, 10, 35, 25]])
    note = "with an empty or malformed box, for which the frame around its mask stands"
    assert sample.notes == (() if box is None else (note,))
    runs = {"counts": RUNS, "size": [HEIGHT, WIDTH]}
    sample = sample_of(tmp_path / "runs", content([instance(1, box, segmentation=runs)]), "box")
    assert (sample.masked, sample.boxes.tolist()) == (False, [[4, 10, 6, 30]])
    skipped = sample_of(tmp_path / "bare", content([instance(1, box)]))
    assert skipped.reason == (
        "no object in its annotation (an object that has neither a box of some width and height nor a mask, left out)"
    )
    sample = sample_of(tmp_path / "two", content([instance(1, box, 1), instance(1, (2, 3, 10, 20))]))
    assert (sample.label, sample.mask.sum(), len(sample.notes)) == (1, 200, 1)


def test_crowds_are_no_objects(tmp_path):
    crowd = instance(1, (0, 0, 40, 30), 1, iscrowd=1, segmentation={"counts": RUNS, "size": [HEIGHT, WIDTH]})
    sample = sample_of(tmp_path / "both", content([crowd, instance(1, (2, 3, 10, 20))]))
    assert (sample.label, sample.mask.sum(), sample.notes) == (1, 200, ("with crowd regions, which are no objects",))
    alone = sample_of(tmp_path / "alone", content([crowd]))
    assert alone.reason == "no object in its annotation (crowd regions, which are no objects)"


def test_boxes_and_masks_are_scaled_to_an_image_of_the_same_aspect(tmp_path):
    twice = image(1, height=2 * HEIGHT, width=2 * WIDTH)
    runs = {"counts": [240, 120, 4 * HEIGHT * WIDTH - 360], "size": [2 * HEIGHT, 2 * WIDTH]}
    doubled = [2 * value for value in SQUARE]
    for segmentation, mask in (([doubled], 225), (runs, HEIGHT * 1)):
        said = content([instance(1, (40, 20, 30, 30), segmentation=segmentation)], [twice])
        sample = sample_of(tmp_path, said)
        assert (sample.boxes.tolist(), sample.masked, int(sample.mask.sum())) == ([[20, 10, 35, 25]], True, mask)
        assert sample.notes == ("of another size than annotated, to which boxes and masks are scaled",)


def test_an_image_of_another_aspect_than_annotated_is_left_out(tmp_path):
    said = content([instance(1, (2, 3, 10, 20))], [image(1, height=WIDTH, width=HEIGHT)])
    skipped = sample_of(tmp_path, said)
    assert skipped.reason == "annotated as 30x40 pixels, the image is 40x30; as stored, before EXIF turns it?"
    said = content([instance(1, (2, 3, 10, 20))], [image(1, height=50, width=50)])
    assert sample_of(tmp_path, said).reason == "annotated as 50x50 pixels, the image is 40x30"


def test_boxes_are_of_the_picture_turned_as_exif_says_or_it_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    for name, size in (("upright", (HEIGHT, WIDTH)), ("stored", (WIDTH, HEIGHT))):
        root = lay(tmp_path / name, content([instance(1, (2, 3, 10, 20))], [image(1, "a.jpg")]))
        gradient(size=(size[1], size[0])).save(root / "val2017" / "a.jpg", exif=exif, subsampling=0, quality=95)
        sample = ResizedDataset(load_dataset("coco", root), (HEIGHT, WIDTH))[0]
        if name == "stored":
            assert sample.boxes.tolist() == [[2, 3, 12, 23]]
            continue
        assert sample.reason.endswith("the image is 30x40; as stored, before EXIF turns it?")


@pytest.mark.parametrize("size", [{"height": 0}, {"width": None}, {"height": "tall"}])
def test_without_a_size_boxes_are_of_the_image_as_it_is(tmp_path, size):
    runs = {"counts": RUNS, "size": [HEIGHT, WIDTH]}
    said = [instance(1, (20, 10, 15, 15), segmentation=[SQUARE]), instance(2, (2, 3, 10, 20), segmentation=runs)]
    images = load_dataset("coco", lay(tmp_path, content(said, [image(1, **size), image(2, **size)])))
    samples = list(ResizedDataset(images, (HEIGHT, WIDTH)))
    assert [(sample.masked, int(sample.mask.sum())) for sample in samples] == [(True, 225), (False, 200)]


def test_a_list_of_classes_gives_another_order_and_may_lack_categories_without_objects(tmp_path):
    root = mixed(tmp_path)
    (root / "classes.txt").write_text("dog\ncat\nperson\ncow\n")
    images = load_dataset("coco", root)
    assert [images.label_of(index) for index in range(4)] == [0, 2, 1, 0]
    assert list(images.classes) == ["dog", "cat", "person", "cow"]
    (root / "annotations" / "classes.txt").write_text("person\ncat\n")
    assert "classes.txt to list each class of" in (line := error_of(load_dataset, "coco", root))
    assert line.endswith("once, got 'dog' not at all")
    lay(root, content([instance(7, (1, 2, 3, 4), 17)]))
    assert load_dataset("coco", root).label_of(0) == 1


def test_what_names_no_image_or_no_category_is_said(tmp_path):
    root = lay(tmp_path, content([instance(1, (2, 3, 10, 20)), instance(2, (1, 1, 9, 9))], [image(1)]))
    with pytest.warns(
        UserWarning, match=r"1 annotation of .*instances_val2017\.json name images that it does not list"
    ):
        images = load_dataset("coco", root)
    assert list(images.image_ids) == ["0001.png"]
    said = content([instance(1, (2, 3, 10, 20)), instance(1, (1, 1, 9, 9), 99)])
    assert sample_of(tmp_path, said).reason == "category 99 of an annotation is not among the categories"


def test_one_file_for_two_images_is_refused(tmp_path):
    twice = [image(1), {**image(2), "file_name": f"./{image(1)['file_name']}"}]
    root = lay(tmp_path, content([instance(1, (2, 3, 10, 20)), instance(2, (1, 1, 9, 9))], twice))
    assert error_of(load_dataset, "coco", root).endswith("to be another file, got 1 twice")


def test_the_fingerprint_changes_with_boxes_masks_labels_and_sizes(tmp_path):
    base = {"segmentation": [SQUARE], "box": (20, 10, 15, 15)}
    moved = [[value + 0.25 for value in SQUARE]]
    runs = {"counts": RUNS, "size": [HEIGHT, WIDTH]}
    prints = set()
    for change in ({}, {"segmentation": moved}, {"segmentation": runs}, {"box": (20, 10, 15, 14)}, {"category": 1}):
        how = base | change
        prints.add(load_dataset("coco", lay(tmp_path, content([instance(1, how.pop("box"), **how)]))).fingerprint())
    prints.add(load_dataset("coco", lay(tmp_path, content([instance(1, (20, 10, 15, 15))]))).fingerprint())
    assert len(prints) == 6


def test_an_analysis_measures_by_masks_what_one_finds_by_hand(attnlab, tmp_path):
    said = content([instance(1, (1, 1, 15, 11), segmentation=[[1, 1, 16, 1, 1, 12]])], [image(1, height=12, width=16)])
    root = lay(tmp_path / "data", said)
    gradient(size=(16, 12)).save(root / "val2017" / "0001.png")
    (tmp_path / "net.py").write_text(f"{NET}\ndef sure():\n    torch.manual_seed(1)\n    net = Net()\n"
        "    net.head = nn.Linear(4, 3)\n    net.head.bias.data[1] = 9\n    return net\n")  # fmt: skip
    words = ["--root", root, "--model", f"{tmp_path}/net.py:sure", "--device", "cpu", "--workers", "0"]
    printed = attnlab("analyze", "--data", "coco", *words, "--out", "run")
    assert printed.code == 0, printed.err
    record = read_records(tmp_path / "run").iloc[0]
    truth = ResizedDataset(load_dataset("coco", root), (12, 16))[0].mask.numpy()
    shape = json.loads((tmp_path / "run" / "run.json").read_text())["model"]["map_shape"]
    raw = torch.tensor(record["map"]).reshape(1, 1, *shape)
    large = torch.nn.functional.interpolate(raw, (12, 16), mode="bilinear", align_corners=False).numpy().ravel()
    area = np.zeros(12 * 16, bool)
    area[np.argsort(-large, kind="stable")[: truth.sum()]] = True
    both, either = (area & truth.ravel()).sum(), (area | truth.ravel()).sum()
    (row,) = [row for row in pd.read_csv(tmp_path / "run" / "tables" / "table1.csv").to_dict("records") if row["n"]]
    assert row["iou_att_gt"] == pytest.approx(both / either, abs=1e-6)
    assert 0 < both < truth.sum() < 15 * 11
