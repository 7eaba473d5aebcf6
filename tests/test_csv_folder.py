"""Anyone's folder of images with boxes.csv."""

from pathlib import Path

import numpy as np
import pytest
from common import error_of, gradient
from PIL import Image

from attnlab.data import LABEL_RULES, TRUTHS, load_dataset
from attnlab.data.resizing import ResizedDataset, Skipped
from attnlab.errors import Unusable


def lay(root: Path, rows: str, *, names: str | None = None, images: str = "abc") -> Path:
    """A folder of small images, its boxes.csv without the heading, its classes.txt."""
    root.mkdir(parents=True, exist_ok=True)
    for image in images:
        gradient().save(root / f"{image}.png")
    (root / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{rows}")
    if names is not None:
        (root / "classes.txt").write_text(names)
    return root


def test_folder_reads_labels_and_all_boxes_of_an_image(tmp_path):
    images = load_dataset(
        "folder", lay(tmp_path, "a.png,3,1,2,30,20\nb.png,0,0,0,5,5\na.png,3,4.5,5,6,7\nc.png,1,,,,\n")
    )
    assert list(images.image_ids) == ["a.png", "b.png", "c.png"]
    assert list(images.classes) == []
    read = [images.read(index) for index in range(3)]
    assert [example.label for example in read] == [3, 0, 1]
    assert [example.boxes.tolist() for example in read] == [[[1, 2, 30, 20], [4.5, 5, 6, 7]], [[0, 0, 5, 5]], []]


def test_folder_takes_class_names_also_ones_that_pandas_holds_for_missing(tmp_path):
    rows = "./a.png,cat,1,2,3,4\nb.png,null,1,2,3,4\nc.png, NA ,1,2,3,4\n"
    images = load_dataset("folder", lay(tmp_path, rows, names="null\nNA\ncat\n\n"))
    assert list(images.classes) == ["null", "NA", "cat"]
    assert list(images.image_ids) == ["a.png", "b.png", "c.png"]  # ./a.png is a.png
    assert [images.read(index).label for index in range(3)] == [2, 0, 1]


def test_folder_takes_the_splits_subfolder_with_the_names_of_the_root(tmp_path):
    lay(tmp_path / "test", "x.png,dog,1,2,3,4\n", images="x")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    images = load_dataset("folder", tmp_path, "test")
    assert (list(images.image_ids), images.read(0).label) == (["x.png"], 1)
    assert error_of(load_dataset, "folder", tmp_path, "val").endswith("; --split test has one")


def test_images_that_the_table_and_the_folder_do_not_share_are_unusable(tmp_path):
    images = load_dataset(
        "folder", lay(tmp_path, "a.png,1,1,2,3,4\ngone.png,1,1,2,3,4\nb.png,0,,,,\nb.png,1,1,2,3,4\n")
    )
    reasons = {
        skipped.image_id: skipped.reason for skipped in ResizedDataset(images, (8, 8)) if isinstance(skipped, Skipped)
    }
    assert reasons == {
        "b.png": "boxes of 2 labels: which one the model should see is not known; --label largest or each says it",
        "c.png": "no row in boxes.csv",
        "gone.png": "named in boxes.csv, but there is no such file",
    }


def test_a_box_that_lacks_a_coordinate_is_counted_as_dropped(tmp_path):
    sample = ResizedDataset(load_dataset("folder", lay(tmp_path, "a.png,1,1,2,,4\na.png,1,0,0,20,15\n")), (30, 40))[0]
    assert (sample.boxes.tolist(), sample.dropped_boxes) == ([[0, 0, 20, 15]], 1)


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        ("a.png,cat,1,2,3,4\n", None, "a class index (no classes.txt here), got 'cat' for image a.png"),
        ("a.png,-1,1,2,3,4\n", None, "a class index (no classes.txt here), got '-1' for image a.png"),
        ("b.png,1\na.png\n", None, "got '' for image a.png"),
        (
            "a.png,dog,1,2,3,4\n",
            "cat\ncow\n",
            "one of the 2 names in classes.txt, or each to be a class index below 2, got 'dog' for image a.png",
        ),
        ("a.png,2,1,2,3,4\n", "cat\ncow\n", "or each to be a class index below 2, got '2' for image a.png"),
        ("a.png,1,1,2,wide,4\n", None, "expected coordinates that are numbers, got 'wide' in line 2 of "),
        ("b.png,1,1,2,3,4\n,1,1,2,3,4\n", None, "to name an image, got none in line 3"),
        ("a.png,1,1,2,3,4,\n", None, "as there are columns, got more"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(tmp_path, rows, names, message):
    assert message in error_of(load_dataset, "folder", lay(tmp_path, rows, names=names))


def test_a_folder_without_what_it_needs_says_what_to_write(tmp_path):
    (tmp_path / "bare").mkdir()
    message = error_of(load_dataset, "folder", tmp_path / "bare")
    assert message.startswith("no boxes: expected ")
    assert message.endswith("with the columns image,label,x0,y0,x1,y1")
    (tmp_path / "bare" / "boxes.csv").write_text("image,label,x,y\n")
    assert error_of(load_dataset, "folder", tmp_path / "bare").endswith("x0, y0, x1, y1 missing")
    assert error_of(load_dataset, "folder", lay(tmp_path / "none", "", images="")).startswith("no images: ")


def test_fingerprint_changes_with_labels_boxes_and_files(tmp_path):
    prints = {load_dataset("folder", lay(tmp_path, "a.png,3,1,2,30,20\n")).fingerprint()}
    prints.add(load_dataset("folder", lay(tmp_path, "a.png,4,1,2,30,20\n")).fingerprint())
    prints.add(load_dataset("folder", lay(tmp_path, "a.png,3,1,2,30,21\n")).fingerprint())
    lay(tmp_path, "a.png,3,1,2,30,20\n")
    gradient(size=(80, 90)).save(tmp_path / "a.png")
    prints.add(load_dataset("folder", tmp_path).fingerprint())
    assert len(prints) == 4


def draw(path: Path, *corners: int, size: tuple[int, int] = (40, 30)) -> None:
    """A mask of one box, white on black."""
    path.parent.mkdir(exist_ok=True)
    mask = np.zeros(size[::-1], np.uint8)
    x0, y0, x1, y1 = corners
    mask[y0:y1, x0:x1] = 255
    Image.fromarray(mask).save(path)


def test_a_mask_of_the_table_is_the_objects_and_no_image(tmp_path):
    draw(tmp_path / "masks/a.png", 5, 5, 20, 25)
    draw(tmp_path / "masks/b.png", 0, 0, 10, 10)
    lay(tmp_path, "")
    rows = "a.png,1,4,4,22,26,masks/a.png\nb.png,0,,,,,masks\\b.png\nc.png,2,1,2,3,4,\nb.png,0,20,10,30,20,\n"
    (tmp_path / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1,mask\n{rows}")
    images = load_dataset("folder", tmp_path)
    assert list(images.image_ids) == ["a.png", "b.png", "c.png"]
    of_mask, of_box = ([ResizedDataset(images, (30, 40), truth=truth)[k] for k in range(3)] for truth in TRUTHS)
    expected = np.zeros((2, 30, 40), bool)
    expected[0, 5:25, 5:20] = True
    expected[1, :10, :10] = expected[1, 10:20, 20:30] = True  # a row's mask and another row's box
    assert [sample.masked for sample in of_mask] == [True, True, False]
    np.testing.assert_array_equal(np.stack([sample.mask.numpy() for sample in of_mask[:2]]), expected)
    assert [sample.boxes.tolist() for sample in of_box] == [[[4, 4, 22, 26]], [[0, 0, 30, 20]], [[1, 2, 3, 4]]]


def test_a_mask_that_is_missing_or_of_another_size_leaves_its_image_out(tmp_path):
    draw(tmp_path / "small.png", 1, 1, 3, 3, size=(20, 15))
    lay(tmp_path, "")
    (tmp_path / "boxes.csv").write_text("image,label,mask_path\na.png,1,small.png\nb.png,1,gone.png\nc.png,1,c.txt\n")
    (tmp_path / "c.txt").write_text("no mask")
    samples = list(ResizedDataset(load_dataset("folder", tmp_path), (8, 8)))
    assert [sample.reason for sample in samples] == [
        "its mask small.png is 20x15 pixels, the image 40x30",
        "its mask gone.png is named in boxes.csv, but there is no such file",
        "its mask c.txt is no image that Pillow can read",
    ]


@pytest.mark.parametrize(
    ("heading", "row", "message"),
    [
        ("mask", "a.png,1,../b.png", "expected masks below the folder of boxes.csv, got '../b.png' in line 2 of "),
        ("mask,mask_path", "a.png,1,b.png,b.png", "expected one of the columns mask and mask_path in "),
    ],
)
def test_masks_that_lie_elsewhere_or_are_named_twice_are_refused(tmp_path, heading, row, message):
    (lay(tmp_path, "") / "boxes.csv").write_text(f"image,label,{heading}\n{row}\n")
    assert message in error_of(load_dataset, "folder", tmp_path)


def test_rows_of_several_labels_are_objects_of_which_label_chooses(tmp_path):
    rows = "a.png,1,0,0,5,5\na.png,2,0,0,9,9\na.png,1,10,10,15,15\nb.png,0,1,1,2,2\nc.png,0,,,,\nc.png,1,1,1,2,2\n"
    lay(tmp_path, rows)
    largest, each = (load_dataset("folder", tmp_path, label=label) for label in LABEL_RULES)
    assert list(largest.image_ids) == ["a.png", "b.png", "c.png"]
    assert [largest.label_of(index) for index in range(3)] == [2, 0, None]
    assert largest.read(0).boxes.tolist() == [[0, 0, 9, 9]]
    with pytest.raises(Unusable, match="objects of 2 labels, one without a box, so which is the largest is not known"):
        largest.read(2)
    assert list(each.image_ids) == ["a.png#0", "a.png#1", "a.png#2", "b.png#0", "c.png#0", "c.png#1"]
    assert [each.label_of(index) for index in range(6)] == [1, 2, 1, 0, 0, 1]
    assert each.read(2).boxes.tolist() == [[10, 10, 15, 15]]


def test_a_mask_of_several_rows_is_no_single_objects(tmp_path):
    draw(tmp_path / "both.png", 1, 1, 30, 20)
    rows = "a.png,1,0,0,5,5,both.png\na.png,2,0,0,9,9,both.png\nb.png,1,0,0,5,5,both.png\nb.png,1,0,0,9,9,both.png\n"
    (lay(tmp_path, "", images="ab") / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1,mask\n{rows}")
    largest, each = (load_dataset("folder", tmp_path, label=label) for label in LABEL_RULES)
    assert [largest.label_of(index) for index in range(2)] == [None, 1]  # of one class: the union is the truth
    assert largest.read(1).mask().sum() == 29 * 19
    reason = "its mask both.png stands in several rows, so which part is whose is not known"
    assert [str(entry) for entry in each.entries] == [reason, reason]


def test_fingerprints_of_tables_without_masks_are_those_of_older_versions(tmp_path):
    lay(tmp_path, "a.png,3,1,2,30,20\na.png,3,4.5,5,6,\nb.png,1,1,2,3,4\nb.png,0,,,,\ngone.png,1,,,,\n")
    for image in "abc":
        (tmp_path / f"{image}.png").write_bytes(b"of a known size")
    assert load_dataset("folder", tmp_path).fingerprint().startswith("743c1349f0645b15")  # as of version 0.1.0


def test_a_mask_of_another_file_changes_the_fingerprint(tmp_path):
    lay(tmp_path, "")
    prints = set()
    for corners in ((1, 1, 5, 5), (2, 2, 30, 20)):
        draw(tmp_path / f"{corners[0]}.png", *corners)
        (tmp_path / "boxes.csv").write_text(f"image,label,mask\na.png,1,{corners[0]}.png\n")
        prints.add(load_dataset("folder", tmp_path).fingerprint())
    assert len(prints) == 2
