"""PASCAL VOC and XML of labelling tools, against torchvision."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from common import error_of, gradient
from PIL import Image
from stored import facts, placed

from attnlab.compat import torchvision
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.data.summary import Truth, truth_of
from attnlab.doctor.data import data as find
from attnlab.doctor.drawing import draw_truth

HEIGHT, WIDTH = 30, 40
Thing = tuple[str, tuple[float, float, float, float]]
DOG, CAT, FAR = ("dog", (3, 5, 12, 20)), ("cat", (1, 1, 40, 30)), ("dog", (21, 2, 30, 9))


def xml(things: Sequence[Thing], size: tuple[int, int] | None = (HEIGHT, WIDTH)) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><part><bndbox><xmin>2</xmin></bndbox></part><bndbox>"
        f"<ymax>{y1}</ymax><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax></bndbox></object>"
        for name, (x0, y0, x1, y1) in things
    )
    given = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation>{given}{objects}</annotation>"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def show(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    gradient(size=(WIDTH, HEIGHT)).save(path)


def mask(things: Sequence[Thing]) -> Image.Image:
    """Objects by their places, each in the middle of its box, with a void border."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, (_, (x0, y0, x1, y1)) in enumerate(things, 1):
        values[int(y0) - 1 : int(y1), int(x0) - 1 : int(x1)] = 255
        values[int(y0) : int(y1) - 1, int(x0) : int(x1) - 1] = place
    picture = Image.fromarray(values, "P")
    picture.putpalette([17 * value % 256 for value in range(768)])
    return picture


def devkit(root: Path) -> Path:
    """Images a and b for val, c for train; masks of a and of c."""
    here = root / "VOCdevkit" / "VOC2012"
    for name, things in {"a": [CAT, DOG, FAR], "b": [DOG], "c": [FAR, ("bird", (2, 2, 9, 9))]}.items():
        show(here / "JPEGImages" / f"{name}.jpg")
        put(here / "Annotations" / f"{name}.xml", xml(things))
        if name != "b":
            (here / "SegmentationObject").mkdir(exist_ok=True)
            mask(things).save(here / "SegmentationObject" / f"{name}.png")
    for at, text in {
        "Main/val": "a\nb\n",
        "Main/train": "c\n",
        "Segmentation/val": "a\n",
        "Main/cat_val": "a  1\n",
    }.items():
        put(here / "ImageSets" / f"{at}.txt", text)
    return root


def test_boxes_and_names_equal_torchvision_and_masks_are_objects_by_their_places(tmp_path):
    root = devkit(tmp_path)
    oracle = torchvision.datasets.VOCDetection(root, year="2012", image_set="val")
    segmentation = torchvision.datasets.VOCSegmentation(root, year="2012", image_set="val")
    images = load_dataset("voc", root, label="each")
    assert list(images.image_ids) == ["a#0", "a#1", "a#2", "b#0"]
    assert list(images.classes) == ["bird", "cat", "dog"]  # the training images' too
    examples = iter([images.read(index) for index in range(4)])
    for picture, said in oracle:
        for thing in said["annotation"]["object"]:
            example = next(examples)
            np.testing.assert_array_equal(np.asarray(example.image), np.asarray(picture))
            corners = [int(thing["bndbox"][corner]) for corner in ("xmin", "ymin", "xmax", "ymax")]
            assert example.boxes.tolist() == [[corners[0] - 1, corners[1] - 1, corners[2], corners[3]]]
            assert images.classes[example.label] == thing["name"]
    assert len(segmentation.masks) == 1
    values = np.array(Image.open(tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationObject" / "a.png"))
    for place in range(3):
        np.testing.assert_array_equal(images.read(place).mask(), values == place + 1)
    assert images.read(3).mask is None


def test_the_largest_box_says_the_class_and_all_its_objects_are_the_truth(tmp_path):
    root = devkit(tmp_path)
    put(root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml", xml([FAR, DOG, ("cat", (30, 20, 33, 22))]))
    mask([FAR, DOG, ("cat", (30, 20, 33, 22))]).save(root / "VOCdevkit" / "VOC2012" / "SegmentationObject" / "a.png")
    sample = ResizedDataset(load_dataset("voc", root), (HEIGHT, WIDTH))[0]
    assert sample.boxes.tolist() == [[20, 1, 30, 9], [2, 4, 12, 20]]
    assert (sample.masked, int(sample.mask.sum())) == (True, 8 * 6 + 8 * 14)


def test_a_mask_of_other_objects_than_the_annotations_is_not_taken(tmp_path):
    root = devkit(tmp_path)
    note = "with other objects in its mask than in its annotation, so that boxes count"
    for things in ([CAT, DOG], [CAT, DOG, FAR, ("cat", (35, 25, 39, 29))]):
        put(root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml", xml(things))
        sample = ResizedDataset(load_dataset("voc", root), (HEIGHT, WIDTH))[0]
        assert (sample.masked, int(sample.mask.sum()), sample.notes) == (False, HEIGHT * WIDTH, (note,))


def test_summary_and_drawing_show_the_boxes_of_an_image_whose_mask_does_not_count(tmp_path):
    root = devkit(tmp_path)
    put(root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml", xml([CAT, DOG]))
    images = load_dataset("voc", root, "Segmentation/val")
    assert truth_of(images.read(0)) == Truth(1, masked=False, share=1.0)
    assert draw_truth(images) is not None


def test_spaces_around_a_name_make_no_other_class_and_an_object_without_a_name_is_none(tmp_path):
    for name, thing in {"x": DOG, "y": ("\n dog ", DOG[1]), "z": (" ", DOG[1])}.items():
        put(tmp_path / f"{name}.xml", xml([thing]))
        show(tmp_path / f"{name}.png")
    images = load_dataset("voc", tmp_path)
    assert (images.classes, [images.label_of(index) for index in range(3)]) == (["dog"], [0, 0, None])
    assert str(images.entries[2]) == "malformed annotation z.xml: an object without a name"


def test_masks_in_another_order_than_the_annotations_objects_are_not_taken(tmp_path):
    root = devkit(tmp_path)
    put(root / "VOCdevkit" / "VOC2012" / "Annotations" / "a.xml", xml([FAR, CAT, DOG]))  # the masks': CAT, DOG, FAR
    samples = ResizedDataset(load_dataset("voc", root, label="each"), (HEIGHT, WIDTH))
    note = "with a mask that lies elsewhere than its object's box, so that boxes count"
    assert [samples[place].notes for place in range(3)] == [(note,)] * 3
    assert [int(samples[place].mask.sum()) for place in range(3)] == [10 * 8, HEIGHT * WIDTH, 10 * 16]


def test_a_mask_of_another_size_leaves_its_image_out(tmp_path):
    root = devkit(tmp_path)
    mask([CAT, DOG, FAR]).resize((80, 60)).save(root / "VOCdevkit" / "VOC2012" / "SegmentationObject" / "a.png")
    skipped = ResizedDataset(load_dataset("voc", root), (HEIGHT, WIDTH))[0]
    assert skipped.reason == "its mask a.png is 80x60 pixels, the image 40x30"


def test_lists_say_the_splits_and_devkits_of_two_years_are_refused(tmp_path):
    root = devkit(tmp_path)
    assert list(load_dataset("voc", root, "train").image_ids) == ["c"]
    for place in (root, root / "VOCdevkit", root / "VOCdevkit" / "VOC2012"):
        assert list(load_dataset("voc", place, "Segmentation/val").image_ids) == ["a"]
    line = error_of(load_dataset, "voc", root, "test")
    assert line.endswith("ImageSets/Main/test.txt, a list of images, got lists for the splits train, val")
    assert "to list images, one a line, got 'a 1', as lists of a class have" in error_of(
        load_dataset, "voc", root, "cat_val"
    )
    (root / "VOCdevkit" / "VOC2007" / "ImageSets").mkdir(parents=True)
    (root / "VOCdevkit" / "VOC2007" / "Annotations").mkdir()
    assert error_of(load_dataset, "voc", root).endswith("; name one as --root")


@pytest.mark.parametrize(
    ("annotation", "image"),
    [
        ("x.xml", "x.png"),
        ("Annotations/x.xml", "JPEGImages/x.png"),
        ("annotations/x.xml", "images/x.png"),
        ("valid/x.xml", "valid/x.png"),
        ("val/Annotations/x.xml", "val/images/x.png"),
        ("Annotations/val/x.xml", "JPEGImages/val/x.png"),
    ],
)
def test_xml_files_of_labelling_tools_are_found(tmp_path, annotation, image):
    put(tmp_path / annotation, xml([DOG, CAT]))
    show(tmp_path / image)
    images = load_dataset("voc", tmp_path)
    assert (list(images.image_ids), images.label_of(0), list(images.classes)) == (["x"], 0, ["cat", "dog"])
    assert images.read(0).boxes.tolist() == [[0, 0, 40, 30]]


def test_a_split_in_a_folder_of_its_own_has_the_classes_of_all(tmp_path):
    for split, thing in (("train", CAT), ("valid", DOG)):
        put(tmp_path / split / "x.xml", xml([thing]))
        show(tmp_path / split / "x.png")
    assert load_dataset("voc", tmp_path, "val").label_of(0) == 1
    assert load_dataset("voc", tmp_path, "train").label_of(0) == 0
    line = error_of(load_dataset, "voc", tmp_path, "test")
    assert line == f"expected the split test in {tmp_path}, got folders of train, valid"
    put(tmp_path / "classes.txt", "dog\ncat\n")
    assert load_dataset("voc", tmp_path, "val").label_of(0) == 0


def test_what_cannot_be_used_concerns_its_image_alone(tmp_path):
    for name in ("bare", "cut", "doctype", "empty", "none", "polygon", "turned", "twice", "whole"):
        put(tmp_path / f"{name}.xml", xml([DOG]))
        show(tmp_path / f"{name}.png")
    (tmp_path / "bare.xml").unlink()
    (tmp_path / "none.png").unlink()
    show(tmp_path / "twice.jpg")
    put(tmp_path / "cut.xml", xml([DOG])[:-20])
    put(tmp_path / "doctype.xml", f"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>{xml([DOG])}")
    put(tmp_path / "empty.xml", xml([]))
    put(tmp_path / "polygon.xml", "<annotation><object><name>dog</name><polygon/></object></annotation>")
    endless = "<annotation><object><name>dog</name><bndbox><xmin>{}</xmin></bndbox></object></annotation>"
    put(tmp_path / "endless.xml", endless.format("9" * 5000 + "x"))
    show(tmp_path / "endless.png")
    put(tmp_path / "turned.xml", xml([DOG], (WIDTH, HEIGHT)))
    samples = ResizedDataset(load_dataset("voc", tmp_path), (HEIGHT, WIDTH))
    reasons = {sample.image_id: getattr(sample, "reason", "") for sample in samples}
    assert reasons.pop("cut").startswith("malformed annotation cut.xml: unclosed token")
    assert reasons.pop("polygon").startswith("malformed annotation polygon.xml: could not convert")
    quoted = "malformed annotation endless.xml: could not convert string to float: '"
    assert reasons.pop("endless") == quoted.ljust(len("malformed annotation endless.xml: ") + 200, "9")
    assert reasons == {
        "bare": "no annotation for this image",
        "doctype": "malformed annotation doctype.xml: it has a DOCTYPE, which annotations do not",
        "empty": "no object in its annotation",
        "none": "no image for this annotation",
        "turned": "annotated as 30x40 pixels, the image is 40x30; as stored, before EXIF turns it?",
        "twice": "several files for one image and its annotation: twice.jpg, twice.png",
        "whole": "",
    }


def test_boxes_are_scaled_to_the_image_and_a_corner_at_0_is_said(tmp_path):
    put(tmp_path / "x.xml", xml([("dog", (5, 9, 24, 40))], (2 * HEIGHT, 2 * WIDTH)))
    put(tmp_path / "y.xml", xml([("dog", (0, 9, 24, 20))], None))
    show(tmp_path / "x.png")
    show(tmp_path / "y.png")
    first, other = ResizedDataset(load_dataset("voc", tmp_path), (HEIGHT, WIDTH))
    assert first.boxes.tolist() == [[2, 4, 12, 20]]
    assert first.notes == ("of another size than annotated, to which boxes and masks are scaled",)
    assert other.boxes.tolist() == [[0, 8, 24, 20]]
    assert other.notes[0].startswith("with a corner at 0, where PASCAL VOC counts from 1 on")


def test_a_folder_without_annotations_or_with_fractions_is_refused(tmp_path):
    show(tmp_path / "x.png")
    assert error_of(load_dataset, "voc", tmp_path) == (
        f"expected annotations, an .xml for each image, in {tmp_path}, got none"
    )
    put(tmp_path / "x.xml", xml([("dog", (0.1, 0.1, 0.5, 0.6))]))
    assert error_of(load_dataset, "voc", tmp_path).startswith("expected boxes in pixels, got coordinates from 0 to 1")


@pytest.mark.parametrize("place", ["zip", "tgz", "memory"])
def test_voc_is_the_same_wherever_it_lies(tmp_path, place):
    root = devkit(tmp_path / "mine")
    here = load_dataset("voc", root, label="each")
    there = load_dataset("voc", placed(root, place), label="each")
    assert facts(there) == facts(here)
    np.testing.assert_array_equal(there.read(1).mask(), here.read(1).mask())


def test_the_doctor_finds_voc(tmp_path):
    (finding,) = [finding for finding in find([devkit(tmp_path)], "voc") if finding.name == "voc val"]
    assert (finding.state, finding.text) == ("ok", f"2 images, in {tmp_path}")
