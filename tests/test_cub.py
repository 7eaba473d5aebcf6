"""CUB-200-2011, made small: splits, labels, boxes and masks by hand, and tables that are cut or malformed."""

from pathlib import Path

import numpy as np
import pytest
from common import error_of, gradient
from PIL import Image

from attnlab.data import load_dataset
from attnlab.data.masks import MaskFile

NAMES = ["001.Black_footed_Albatross/One_01.jpg", "002.Laysan_Albatross/Two_02.jpg", "002.Laysan_Albatross/Two_03.jpg"]
TABLES = {
    "images.txt": "".join(f"{number} {name}\n" for number, name in enumerate(NAMES, 1)),
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "image_class_labels.txt": "1 1\n2 2\n3 2\n",
    "bounding_boxes.txt": "1 10.0 5.0 20.0 12.5\n2 0.0 0.0 40.0 30.0\n3 1.0 2.0 3.0 4.0\n",
    "train_test_split.txt": "1 0\n2 1\n3 0\n",
}
#: grey levels of a segmentation: 0 to 5 of five annotators saw the bird
LEVELS = [0, 51, 102, 153, 204, 255]


def plant(root: Path, *, masks: str | None = None, **tables: str) -> Path:
    """Write the set, with a segmentation of the first image in a folder, if one is named."""
    here = root / "CUB_200_2011"
    for name in NAMES:
        (here / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        gradient().save(here / "images" / name)
    for name, text in (TABLES | {f"{key}.txt": value for key, value in tables.items()}).items():
        (here / name).write_text(text)
    if masks is not None:
        path = (root / masks / NAMES[0]).with_suffix(".png")
        path.parent.mkdir(parents=True)
        seen = np.zeros((30, 40), np.uint8)
        seen[7, :6] = LEVELS
        Image.fromarray(seen).save(path)
    return root


@pytest.mark.parametrize("place", [".", "CUB_200_2011"])
def test_images_labels_and_boxes_of_each_split_by_hand(tmp_path, place):
    root = plant(tmp_path) / place
    images = load_dataset("cub", root)
    assert images.classes == ["Black_footed_Albatross", "Laysan_Albatross"]
    assert images.image_ids == ["One_01", "Two_03"]
    examples = [images.read(index) for index in range(2)]
    assert [example.label for example in examples] == [0, 1]
    assert [example.boxes.tolist() for example in examples] == [[[10, 5, 30, 17.5]], [[1, 2, 4, 6]]]
    assert [example.mask for example in examples] == [None, None]
    train = load_dataset("cub", root, "train")
    assert (train.image_ids, train.label_of(0)) == (["Two_02"], 1)
    assert train.read(0).image.tobytes() == Image.open(tmp_path / "CUB_200_2011/images" / NAMES[1]).tobytes()


@pytest.mark.parametrize("masks", ["segmentations", "CUB_200_2011/segmentations"])
def test_a_segmentation_is_the_bird_where_most_annotators_saw_it(tmp_path, masks):
    images = load_dataset("cub", plant(tmp_path, masks=masks))
    mask = images.read(0).mask()
    assert mask.shape == (30, 40)
    assert np.argwhere(mask).tolist() == [[7, 3], [7, 4], [7, 5]]
    other = images.read(1)
    assert (other.mask, other.notes) == (None, ("without a segmentation: the box is ground truth",))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_a_grey_level_is_the_same_in_every_kind_of_picture(tmp_path, mode):
    levels = [0, 255] if mode == "1" else LEVELS
    Image.fromarray(np.array([levels], np.uint8)).convert(mode).save(tmp_path / "mask.png")
    mask = MaskFile(tmp_path / "mask.png", at_least=128)
    assert mask.decode(1, len(levels)).tolist() == [[level >= 128 for level in levels]]
    assert str(mask).endswith(">= 128")


def test_an_image_that_is_not_there_is_left_out_with_its_reason(tmp_path):
    root = plant(tmp_path)
    (root / "CUB_200_2011/images" / NAMES[2]).unlink()
    images = load_dataset("cub", root)
    assert [images.label_of(index) for index in range(2)] == [0, None]
    assert str(images.entries[1]) == "named in images.txt, but there is no such file"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"bounding_boxes": "1 10.0 5.0 20.0 12.5\n2 0.0 0.0 4"}, "4 values in line 2 of {}/bounding_boxes.txt"),
        ({"bounding_boxes": "1 10.0 5.0 20.0 12.5\n"}, "each image of images.txt in {}/bounding_boxes.txt, got none"),
        ({"bounding_boxes": TABLES["bounding_boxes.txt"].replace("5.0", "five")}, "got '10.0 five 20.0 12.5'"),
        ({"bounding_boxes": TABLES["bounding_boxes.txt"].replace("5.0", "nan")}, "got '10.0 nan 20.0 12.5'"),
        ({"image_class_labels": "1 1\n2 2\n3 201\n"}, "to be in classes.txt, got '201'"),
        ({"train_test_split": ""}, "got none for 1; is it cut?"),
        ({"images": TABLES["images.txt"] + "3 again.jpg\n"}, "expected each number once in {}/images.txt, got 3 again"),
        ({"images": "one.jpg\n"}, "in line 1 of {}/images.txt, got 'one.jpg'"),
        ({"images": ""}, "expected images of the test split in {}/images.txt, got none"),
    ],
)  # fmt: skip
def test_tables_that_are_cut_or_malformed_are_refused(tmp_path, tables, message):
    root = plant(tmp_path, **tables)
    assert message.format(root / "CUB_200_2011") in error_of(load_dataset, "cub", root)


def test_a_folder_without_the_tables_is_refused(tmp_path):
    assert error_of(load_dataset, "cub", tmp_path) == (
        f"no CUB-200-2011 in {tmp_path}; expected images.txt there or in CUB_200_2011"
    )
    root = plant(tmp_path)
    (root / "CUB_200_2011/classes.txt").unlink()
    assert (
        error_of(load_dataset, "cub", root) == f"cannot read {root}/CUB_200_2011/classes.txt: No such file or directory"
    )
