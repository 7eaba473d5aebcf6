"""Anyone's folder of images with boxes.csv."""

from pathlib import Path

import pytest
from common import error_of, gradient

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, Skipped


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
        "b.png": "boxes of 2 labels: which one the model should see is not known",
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
        ("a.png\n", None, "got '' for image a.png"),
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
