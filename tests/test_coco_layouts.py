"""Where the JSON and the images of COCO, Label Studio, CVAT and Roboflow lie, and files that are refused."""

import json
from pathlib import Path

import pytest
from coco_files import CATEGORIES, SQUARE, content, image, instance, lay
from common import error_of, gradient
from stored import facts, placed

from attnlab.data import load_dataset
from attnlab.doctor.data import data as find

BOX = (2, 3, 10, 20)
SAID = content([instance(1, BOX), instance(2, (0, 0, 40, 30), 18)], [image(1, "a.png"), image(2, "b.png")])


def named(*names: str) -> dict[str, object]:
    """A JSON of images of these names."""
    numbers = range(len(names))
    return content([instance(number, BOX) for number in numbers], [image(number, names[number]) for number in numbers])


@pytest.mark.parametrize(
    ("at", "folder"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/instances_val2017.json", "val"),
        ("annotations/instances_val2017.json", "images"),
        ("annotations/instances_default.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("result.json", "images"),
        ("valid/_annotations.coco.json", "valid"),
        ("val/_annotations.coco.json", "val"),
        ("labels.json", "data"),
        ("val.json", "val"),
        ("anything.json", "."),
    ],
)
def test_the_images_of_a_split_are_found_in_the_layouts_of_many_tools(tmp_path, at, folder):
    lay(tmp_path, SAID, at, folder)
    images = load_dataset("coco", tmp_path)
    assert (list(images.image_ids), [images.label_of(0), images.label_of(1)]) == (["a.png", "b.png"], [1, 2])
    assert images.read(1).boxes.tolist() == [[0, 0, 40, 30]]
    assert facts(load_dataset("coco", tmp_path / at)) == facts(images)


@pytest.mark.parametrize(
    ("written", "at", "found"),
    [
        ("images\\a.png", "images/a.png", "images/a.png"),  # as Label Studio writes it on Windows
        ("images/a.png", "images/a.png", "images/a.png"),
        ("/data/upload/1/a.png", "images/a.png", "a.png"),
        ("../../media/upload/1/a.png", "images/a.png", "a.png"),
        ("http://host/1/sub/a.png", "images/sub/a.png", "sub/a.png"),
        ("C:\\pictures\\a.png", "images/a.png", "a.png"),
        ("./val/a.png", "images/val/a.png", "val/a.png"),
    ],
)
def test_an_images_name_may_have_folders_of_the_labelling_tool(tmp_path, written, at, found):
    lay(tmp_path, named(written), "result.json", ".", **{written: at})
    images = load_dataset("coco", tmp_path)
    assert images.read(0).image.size == (40, 30)
    assert list(images.image_ids) == [found]


def test_no_picture_of_another_split_is_taken_for_one_that_is_missing(tmp_path):
    for at, name, folder in (
        ("result.json", "train/a.png", "images"),
        ("annotations/instances_train2017.json", "a.png", "val"),
        ("annotations/instances_train2017.json", "val/a.png", "train2017"),
        ("train/_annotations.coco.json", "a.png", "images/test"),
    ):
        root = lay(
            tmp_path / folder.replace("/", "-") / name.replace("/", "-"), named(name), at, folder, **{name: "a.png"}
        )
        images = load_dataset("coco", root, "train" if "train" in at else "val")
        assert str(images.entries[0]) == f"named in {Path(at).name}, but there is no such file"


def test_two_names_of_one_file_are_left_out(tmp_path):
    lay(
        tmp_path,
        named("1/a.png", "2/a.png", "b.png"),
        "result.json",
        "images",
        **{"1/a.png": "a.png", "2/a.png": "a.png"},
    )
    images = load_dataset("coco", tmp_path)
    assert [str(entry) for entry in images.entries[:2]] == ["another image in result.json is the same file"] * 2
    assert images.label_of(2) == 1


def test_a_linked_folder_of_images_is_followed(tmp_path):
    lay(tmp_path / "elsewhere", SAID)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "annotations").symlink_to(tmp_path / "elsewhere" / "annotations")
    (tmp_path / "root" / "val2017").symlink_to(tmp_path / "elsewhere" / "val2017")
    assert load_dataset("coco", tmp_path / "root").read(0).image.size == (40, 30)


def test_the_name_of_a_json_says_its_split(tmp_path):
    for split, category in (("train", 1), ("val", 18)):
        for kind in ("instances", "captions", "person_keypoints"):
            said = content([instance(1, BOX, category)], [image(1, "a.png")]) if kind == "instances" else {}
            lay(tmp_path, said, f"annotations/{kind}_{split}2017.json", f"{split}2017")
    assert [load_dataset("coco", tmp_path, split).label_of(0) for split in ("train", "val", "val2017")] == [0, 2, 2]
    line = error_of(load_dataset, "coco", tmp_path, "test")
    assert f"for the split test in {tmp_path}, got those of other splits: annotations/captions_train2017.json" in line
    lay(tmp_path, SAID, "annotations/instances_val2014.json")
    line = error_of(load_dataset, "coco", tmp_path)
    assert line.endswith(
        "got annotations/instances_val2014.json, annotations/instances_val2017.json; name it as --root"
    )
    assert load_dataset("coco", tmp_path / "annotations" / "instances_val2017.json").label_of(0) == 2
    assert load_dataset("coco", lay(tmp_path / "one", SAID, "result.json", "images"), "train").label_of(0) == 1


@pytest.mark.parametrize("place", ["zip", "tar", "tgz", "memory"])
def test_instances_are_the_same_wherever_they_lie(tmp_path, place):
    said = content([instance(1, BOX, segmentation=[SQUARE]), instance(2, BOX, 18)])
    said["images"].append(image(3))
    root = lay(tmp_path / "mine", said)
    (root / "val2017" / "0003.png").unlink()
    assert facts(load_dataset("coco", placed(root, place))) == facts(load_dataset("coco", root))
    if place == "memory":
        there = f"{placed(root, place)}/annotations/instances_val2017.json"
        assert facts(load_dataset("coco", there)) == facts(load_dataset("coco", root))


def test_the_doctor_takes_a_folder_and_a_json(tmp_path):
    lay(tmp_path, SAID)
    for root in (tmp_path, tmp_path / "annotations" / "instances_val2017.json"):
        (finding,) = [finding for finding in find([root], "coco") if finding.state == "ok"]
        assert (finding.name, finding.text) == ("coco val", f"2 images, in {root}")
    (finding,) = find([tmp_path / "none.json"], "coco")
    assert (finding.state, finding.text[:12]) == ("problem", "cannot read ")


@pytest.mark.parametrize(
    ("said", "got"),
    [
        ("", "instances, got an empty file"),
        (json.dumps(SAID)[:-9], "to be whole JSON, got a cut or malformed one: Expecting"),
        ("[" * 100_000, "to be whole JSON, got a cut or malformed one: "),
        ([], "as COCO's instances have them, got a list"),
        ([{"image_id": 1, "score": 0.5, "bbox": BOX, "category_id": 1}], "got a detector's results, a list"),
        ([{"id": 1, "data": {}, "annotations": []}], "got tasks of Label Studio, which exports COCO too"),
        ({"shapes": [], "imagePath": "a.png"}, "as COCO has them, got the keys shapes, imagePath"),
        ({}, "as COCO has them, got no keys"),
        ({"images": [image(1)], "categories": CATEGORIES}, "got images without annotations"),
        ({"images": [image(1)], "annotations": [{"image_id": 1, "caption": "a dog"}]}, "got captions"),
        (
            SAID | {"annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}]},
            "keypoints without boxes",
        ),
        (SAID | {"annotations": [{"image_id": 1, "segments_info": []}]}, "got panoptic segments"),
        (SAID | {"images": []}, "expected images in"),
        (SAID | {"categories": []}, "expected categories in"),
        (SAID | {"categories": ["cat"]}, "as COCO has them, got other categories"),
        (SAID | {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "with one id, got 1 2 times"),
        (SAID | {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "with one name, got 'a' 2 times"),
        (SAID | {"categories": [{"id": "1", "name": "a"}]}, "to be a whole number, got '1' in no. 0"),
        (SAID | {"categories": [{"id": 1}]}, "to be a text, got None in no. 0"),
        (SAID | {"images": [image(1, "a.png"), image(1, "b.png")]}, "with one id, got 1 2 times"),
        (SAID | {"images": [image(1, "a.png"), image(2, "a.png")]}, "with one file_name, got 'a.png' 2 times"),
        (SAID | {"images": [{"id": 1}]}, "to be a text, got None in no. 0"),
        (SAID | {"images": [image(1, "a.png"), {"id": [2], "file_name": "b.png"}]}, "got [2] in no. 1"),
        (SAID | {"annotations": [{"bbox": BOX, "category_id": 1}]}, "image_id of each annotation of"),
        (SAID | {"annotations": [{"bbox": BOX, "image_id": 1}]}, "category_id of each annotation of"),
        (content([instance(1, (0.1, 0.2, 0.5, 0.5))]), "expected boxes in pixels, got coordinates from 0 to 1 alone"),
        (content([instance(1, (5, 3, 39, 29))]), "got 5, 3, 39, 29 and others that reach beyond their images"),
    ],
)
def test_a_json_that_is_none_of_instances_is_refused_as_what_it_is(tmp_path, said, got):
    line = error_of(load_dataset, "coco", lay(tmp_path, said))
    assert line.startswith("expected ")
    assert got in line
    assert "instances_val2017.json" in line


def test_lvis_names_its_images_by_their_addresses(tmp_path):
    said = content([instance(1, BOX)])
    said["images"] = [{"id": 1, "coco_url": "http://images.cocodataset.org/val2017/a.png", "height": 30, "width": 40}]
    root = lay(tmp_path, said, "lvis_v1_val.json")
    (root / "val2017").mkdir()
    gradient().save(root / "val2017" / "a.png")
    assert list(load_dataset("coco", root).image_ids) == ["val2017/a.png"]


def test_a_folder_of_images_alone_is_refused_with_what_root_is(tmp_path):
    (tmp_path / "val2017").mkdir()
    refusal = error_of(load_dataset, "coco", tmp_path / "val2017")
    assert refusal.endswith("got none; --root is the folder that holds JSON and images, or the JSON itself")
