"""A folder per class: as torchvision's ImageFolder reads it, and what can be read in two ways."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import error_of, gradient
from PIL import Image

from attnlab.compat import torchvision
from attnlab.data import load_dataset
from attnlab.data.class_folders import class_folders

NAMES = ["cat/b.png", "cat/a.JPG", "cat/10.png", "cat/2.png", "dog/a.png", "Zebra/x.webp", "a-b/x.ppm", "a/x.png"]
NESTED = ["cat/sub/1.png", "cat/sub/deep/2.png", "cat/sub-b/3.png", "cat/._b.png", "dog/.hidden.png", "a-b/é.tif"]


def plant(root: Path, *names: str) -> Path:
    """Empty files, which listing does not open, but for the first, which is a picture."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if number else gradient().save(path)
    return root


def assert_as_image_folder(root: Path, images, **options) -> None:
    theirs = torchvision.datasets.ImageFolder(str(root), **options)
    assert list(images.classes) == theirs.classes
    assert [str(entry.path) for entry in images.entries] == [path for path, _ in theirs.samples]
    assert [images.label_of(index) for index in range(len(images.image_ids))] == theirs.targets
    assert {images.classes[label]: label for label in set(theirs.targets)}.items() <= theirs.class_to_idx.items()


@pytest.mark.parametrize("below", [".", "val", "somewhere/val"])
def test_classes_labels_and_order_equal_image_folders(tmp_path, below):
    root = plant(tmp_path / below, *NAMES, *NESTED, "cat/notes.txt")
    images = load_dataset("class-folders", root if below == "." else root.parent, "val")
    assert_as_image_folder(root, images)
    assert images.image_ids[-1] == "dog/a.png"
    assert not images.has_boxes


def test_pixels_equal_image_folders_also_of_a_picture_with_an_orientation(tmp_path):
    exif = gradient().getexif()
    exif[0x0112] = 6
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        gradient().save(tmp_path / folder / "1.jpg", exif=exif)
    images, theirs = load_dataset("class-folders", tmp_path, "val"), torchvision.datasets.ImageFolder(str(tmp_path))
    for index in range(2):
        image, label, boxes = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(theirs[index][0]))
        assert (label, len(boxes)) == (theirs[index][1], 0)


def test_linked_folders_are_read_and_a_link_to_a_folder_above_is_not(tmp_path):
    root = plant(tmp_path / "mine" / "val", "cat/1.png")
    plant(tmp_path / "elsewhere", "2.png", "3.png")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    images = load_dataset("class-folders", root.parent, "val")
    assert_as_image_folder(root, images)
    assert images.image_ids == ["cat/1.png", "dog/2.png", "dog/3.png"]
    (root / "cat" / "again").symlink_to(root)
    assert load_dataset("class-folders", root.parent, "val").image_ids == images.image_ids
    (root / "cat" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "cat").symlink_to(root / "cat")  # two that lead to each other
    found = ["cat/1.png", "cat/other/2.png", "cat/other/3.png", "dog/2.png", "dog/3.png", "dog/cat/1.png"]
    assert load_dataset("class-folders", root.parent, "val").image_ids == found


def test_an_archive_gives_the_same_images(tmp_path):
    root = plant(tmp_path / "mine", *(f"val/{name}" for name in (*NAMES, *NESTED)))
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in sorted(root.rglob("*.*"), reverse=True):
            archive.write(path, path.relative_to(tmp_path))
    here, there = (load_dataset("class-folders", place, "val") for place in (root, tmp_path / "mine.zip"))
    assert (there.image_ids, there.fingerprint()) == (here.image_ids, here.fingerprint())


def test_a_class_without_images_keeps_its_label_and_is_told(tmp_path):
    root = plant(tmp_path / "val", "a/1.png", "c/1.png", "loose.png")
    (root / "b").mkdir()
    with pytest.warns() as warned:
        images = load_dataset("class-folders", tmp_path, "val")
    assert [str(one.message) for one in warned] == [
        f"no image of 1 class: b in {root}",
        f"left out 1 image in {root} itself, in no class folder",
    ]
    assert_as_image_folder(root, images, allow_empty=True)
    assert [images.label_of(index) for index in range(2)] == [0, 2]


def test_classes_txt_gives_another_order(tmp_path):
    plant(tmp_path, "val/cat/1.png", "val/dog/1.png")
    (tmp_path / "classes.txt").write_text("dog\nbird\ncat\n")
    images = load_dataset("class-folders", tmp_path, "val")
    assert (images.classes, [images.label_of(0), images.label_of(1)]) == (["dog", "bird", "cat"], [2, 0])
    (tmp_path / "val" / "classes.txt").write_text("dog\ncats\n")  # the nearer one counts
    message = error_of(load_dataset, "class-folders", tmp_path, "val")
    assert message == (
        f"expected classes.txt to list each class of the folders in {tmp_path / 'val'} once, got 'cat' not at all; "
        "did you mean 'cats'?"
    )


def test_numbers_are_sorted_as_text_as_image_folder_does_and_that_is_told(tmp_path):
    root = plant(tmp_path / "val", *(f"{number}/1.png" for number in range(11)))
    with pytest.warns(UserWarning, match=r"sorted as text, as torchvision's ImageFolder does: label 2 is folder 10; "):
        images = load_dataset("class-folders", tmp_path, "val")
    assert_as_image_folder(root, images)
    (root / "classes.txt").write_text("".join(f"{number}\n" for number in range(11)))
    images = load_dataset("class-folders", tmp_path, "val")
    assert {int(Path(name).parent.name): images.label_of(at) for at, name in enumerate(images.image_ids)} == {
        number: number for number in range(11)
    }


@pytest.mark.parametrize(
    ("names", "split", "message"),
    [
        (["train/a/1.png", "test/a/1.png"], "val", "expected a folder val or class folders in {root}, got test, train"),
        (["train/a/1.png"], "val", "--split train has images"),
        (["val/a/1.png", "cat/1.png", "dog/1.png"], "val", "got val with class folders and cat, dog with images; "),
        (
            ["train/a/1.png", "cat/1.png"],
            "val",
            "got train with class folders and cat with images; name --root {root}/",
        ),
        (["train/a/1.png", "val/a/1.png", "cat/1.png"], "val", "cat with images; name --root {root}/val, or move the"),
        (["val/images/1.png"], "val", "expected two or more class folders in {root}/val, got images alone; "),
        (["val/1.png"], "val", "expected images in class folders, such as {root}/val/CLASS/1.jpg, got none"),
        (["1.png"], "val", "expected images in class folders, such as {root}/CLASS/1.jpg, got none"),
        (
            ["1.png", "val/a/notes.txt"],
            "val",
            "expected images in class folders, such as {root}/val/CLASS/1.jpg, got none",
        ),
        ([], "val", "expected images in class folders, such as {root}/CLASS/1.jpg, got none"),
        (["val/a/1.png", "val/.trash/1.png"], "val", "got {root}/val/.trash, a hidden one; move it out of {root}/val"),
    ],
)
def test_what_is_no_folder_of_classes_or_can_be_read_in_two_ways_is_refused(tmp_path, names, split, message):
    root = plant(tmp_path / "mine", *names)
    root.mkdir(exist_ok=True)
    assert message.format(root=root) in error_of(load_dataset, "class-folders", root, split)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_that_is_called_as_a_split_is_a_class_beside_others(tmp_path, split):
    root = plant(tmp_path / "vehicles", "bus/1.png", "car/1.png", "train/1.png")
    assert_as_image_folder(root, load_dataset("class-folders", root, split))


def test_a_root_that_is_a_split_is_not_read_as_another(tmp_path):
    root = plant(tmp_path / "validation", "cat/1.png", "dog/1.png")
    assert load_dataset("class-folders", root, "val").image_ids == ["cat/1.png", "dog/1.png"]
    message = error_of(load_dataset, "class-folders", root, "train")
    assert message == f"expected --split validation with the class folders in {root}, got train"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_class_that_cannot_be_read_is_refused(tmp_path):
    plant(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog").chmod(0o000)
    assert error_of(class_folders, tmp_path, "val") == f"cannot read the folder {tmp_path / 'dog'}: Permission denied"


NET = """
from torch import nn

def build():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    )
    nn.init.zeros_(network[-1].weight)
    network[-1].bias.data[1] = 1  # whatever the image, it is a dog
    network.input_size = (32, 32)
    network.mean = network.std = (0.5, 0.5, 0.5)
    return network
"""


def test_whatever_needs_no_box_works_through_the_commands(attnlab, tmp_path):
    draw = np.random.default_rng(0)
    for name in ("cat/1", "cat/2", "dog/1"):
        path = tmp_path / "pets" / "val" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    (tmp_path / "net.py").write_text(NET)
    words = ("--data", "class-folders", "--root", tmp_path / "pets", "--model", f"{tmp_path / 'net.py'}:build")
    lime = ("--method", "grad-cam,lime", "--lime-samples", 20, "--lime-superpixels", "grid")
    done = attnlab("analyze", *words, *lime, "--workers", 0, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "3 of 3 images recorded, accuracy 33.33 %; I_att: 1 image" in done.out
    tables = {path.stem for path in (tmp_path / "run" / "tables").glob("*.csv")}
    assert {"table3", "table5"} <= tables
    assert not {"table1", "table2", "table4"} & tables
    evaluation = tmp_path / "evaluation"
    done = attnlab("evaluate", *words, "--attacks", "clean,fgsm", "--workers", 0, "--out", evaluation)
    assert done.code == 0, done.err
    table = pd.read_csv(evaluation / "tables/table6.csv")
    assert table[["attack", "n", "accuracy"]].round(2).values.tolist() == [["clean", 3, 33.33], ["fgsm", 3, 33.33]]
    assert attnlab("attack", *words, "--attack", "fgsm", "--workers", 0, "--out", tmp_path / "adversarial").code == 0
    assert (tmp_path / "adversarial/arrays/cat/1.png.npy").is_file()
