"""Which objects of an image the model should see: the class of the largest, or each on its own."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlab.data import check_label, load_dataset
from attnlab.data.base import Entry
from attnlab.data.masks import BoxMask
from attnlab.data.objects import Annotated, Object, file_set, numbered
from attnlab.data.resizing import ResizedDataset
from attnlab.errors import Unusable, UserError

SMALL, LARGE, OTHER = Object(3, (0, 0, 2, 2)), Object(1, (1, 1, 5, 4)), Object(3, (4, 4, 6, 7))
IMAGE = Annotated(Path("a.png"), [SMALL, LARGE, OTHER])


def entries_of(image: Annotated, label: str | None) -> dict:
    found = file_set("made", [], {"": image}, label)
    return dict(zip(found.image_ids, found.entries, strict=True))


def test_the_largest_object_decides_and_all_of_its_class_are_ground_truth():
    assert entries_of(IMAGE, "largest")[""].boxes.tolist() == [[1, 1, 5, 4]]
    grown = Annotated(IMAGE.path, [SMALL, LARGE, Object(3, (0, 0, 4, 4))])
    entry = entries_of(grown, "largest")[""]
    assert (entry.label, entry.boxes.tolist()) == (3, [[0, 0, 2, 2], [0, 0, 4, 4]])


def test_of_objects_as_large_the_first_counts():
    assert (
        entries_of(Annotated(IMAGE.path, [Object(5, (0, 0, 2, 3)), Object(4, (0, 0, 3, 2))]), "largest")[""].label == 5
    )


def test_the_area_that_a_file_says_counts_before_the_boxes():
    thin = Object(7, (0, 0, 9, 9), BoxMask((0, 0, 9, 1)), area=9.0)
    assert entries_of(Annotated(IMAGE.path, [thin, LARGE]), "largest")[""].label == 1


def test_each_object_is_a_sample_of_its_own():
    found = entries_of(IMAGE, "each")
    assert list(found) == ["#0", "#1", "#2"]
    assert [entry.label for entry in found.values()] == [3, 1, 3]
    assert [entry.boxes.tolist() for entry in found.values()] == [[list(one.box)] for one in IMAGE.objects]


def test_without_a_rule_an_image_of_several_classes_is_left_out():
    reason = entries_of(IMAGE, None)[""]
    assert isinstance(reason, Unusable)
    assert (
        str(reason) == "boxes of 2 labels: which one the model should see is not known; --label largest or each says it"
    )
    assert entries_of(Annotated(IMAGE.path, [SMALL, OTHER]), None)[""].boxes.shape == (2, 4)


def test_an_image_without_objects_is_left_out_under_every_rule():
    for rule in (None, "largest", "each"):
        assert str(entries_of(Annotated(IMAGE.path, []), rule)[""]) == "no object in its annotation"


def test_an_object_without_a_mask_counts_by_its_box_beside_one_with_a_mask():
    masked = Object(3, (0, 0, 9, 1), BoxMask((0, 0, 9, 1)))
    entry = entries_of(Annotated(IMAGE.path, [masked, SMALL]), "largest")[""]
    wanted = np.zeros((3, 9), bool)
    wanted[0] = wanted[:2, :2] = True
    assert (entry.mask.decode(3, 9) == wanted).all()
    assert entries_of(Annotated(IMAGE.path, [SMALL, OTHER]), "largest")[""].mask is None


def test_boxes_of_a_class_of_which_one_object_has_a_mask_alone_are_the_frame_of_all(tmp_path):
    Image.new("RGB", (9, 3)).save(tmp_path / "a.png")
    image = Annotated(tmp_path / "a.png", [Object(0, None, BoxMask((6, 0, 8, 2))), Object(0, (0, 0, 1, 1))])
    images = file_set("mine", ["a"], {"a": image}, "largest")
    assert images.has_boxes
    assert ResizedDataset(images, (3, 9))[0].boxes.tolist() == [[0, 0, 8, 2]]


def test_names_of_samples_are_unique_and_reasons_are_kept():
    images = file_set(
        "mine", [], {"a": IMAGE, "b": Unusable("no such file"), "c": Annotated(IMAGE.path, [SMALL])}, "each"
    )
    assert images.image_ids == ["a#0", "a#1", "a#2", "b", "c#0"]
    assert [isinstance(entry, Entry) for entry in images.entries] == [True, True, True, False, True]


def test_a_pickled_set_grows_with_its_images_and_not_with_their_square():
    sizes = {}
    for count in (100, 400):
        image = Annotated(IMAGE.path, [Object(0, (1.5, 2, 3, 4), BoxMask((0, 0, 2, 2)))])
        images = file_set("mine", ["a"], {str(number): image for number in range(count)}, "each")
        content = pickle.dumps(images)
        again = pickle.loads(content)
        assert again.fingerprint() == images.fingerprint()
        assert again.entries[-1].boxes.dtype == images.entries[-1].boxes.dtype
        sizes[count] = len(content)
    assert sizes[400] < 5 * sizes[100]


def test_names_are_numbered_in_their_order_or_as_a_class_list_has_them(tmp_path):
    assert numbered(["cat", "dog"], [tmp_path], "x.json") == ({"cat": 0, "dog": 1}, ["cat", "dog"])
    (tmp_path / "classes.txt").write_text("bird\ndog\ncat\n")
    assert numbered(["cat", "dog"], [tmp_path / "none", tmp_path], "x.json") == (
        {"cat": 2, "dog": 1},
        ["bird", "dog", "cat"],
    )
    with pytest.raises(UserError, match=r"each class of x.json once, got 'catt' not at all; did you mean 'cat'"):
        numbered(["catt"], [tmp_path], "x.json")
    (tmp_path / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(UserError, match=r"got 'cat' 2 times"):
        numbered(["cat"], [tmp_path], "x.json")


def test_a_rule_is_for_data_sets_of_several_objects_alone():
    with pytest.raises(UserError, match=r"expected --label with images of several objects .*, got --data scenes"):
        load_dataset("scenes", label="each")
    check_label("scenes", None)
