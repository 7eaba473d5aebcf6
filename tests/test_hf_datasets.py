"""Data sets of Hugging Face's library, from folders that it has written or reads."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from common import error_of, gradient
from PIL import Image

from attnlab.config import AnalyzeConfig
from attnlab.data import DATASETS, load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.pending_parts import quietly
from attnlab.records import read_records

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No file outside of the test's folder, and no question to the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


def saved(folder: Path, columns: dict[str, list[object]], kinds: dict[str, object], *splits: str) -> str:
    """A data set of these columns, in every split, as `save_to_disk` writes it."""
    features = datasets.Features({"image": datasets.Image(), **kinds})
    rows = len(next(iter(columns.values())))
    table = datasets.Dataset.from_dict({"image": [picture(k) for k in range(rows)], **columns}, features)
    datasets.DatasetDict(dict.fromkeys(splits or ("test",), table)).save_to_disk(folder)
    return f"hf:{folder}"


LABEL = {"label": datasets.ClassLabel(names=["cat", "dog"])}
BOXES = {
    "objects": {
        "bbox": datasets.List(datasets.List(datasets.Value("float32"), 4)),
        "category": datasets.List(datasets.ClassLabel(names=["cat", "dog"])),
    }
}


def test_images_and_labels_equal_those_of_the_library(tmp_path):
    name = saved(tmp_path / "set", {"label": [1, 0, 1]}, LABEL, "train", "test")
    images = load_dataset(name, split="test")
    (own,) = [datasets.load_from_disk(tmp_path / "set")["test"]]
    assert list(images.image_ids) == ["test-00000", "test-00001", "test-00002"]
    assert (images.name, list(images.classes), images.has_boxes) == (name, own.features["label"].names, False)
    for index, row in enumerate(own):
        example = images.read(index)
        assert (example.label, images.label_of(index)) == (row["label"], row["label"])
        np.testing.assert_array_equal(example.image, row["image"].convert("RGB"))
    assert images.fingerprint() != load_dataset(name, split="train").fingerprint()


def test_the_split_stands_in_the_name_or_beside_it(tmp_path):
    name = saved(tmp_path / "set", {"label": [1, 0]}, LABEL, "train", "test")
    assert list(load_dataset(f"{name}@train").image_ids) == ["train-00000", "train-00001"]
    assert DATASETS[f"{name}@train"].split == "train"
    assert error_of(load_dataset, name) == f"expected --split of {name} to be one of train, test, got 'validation'"
    refused = "expected --split to be one of train, got 'test'"
    assert error_of(load_dataset, f"{name}@train", None, "test") == refused
    assert error_of(lambda: AnalyzeConfig.of(data=f"{name}@train", split="test")) == refused


def test_reading_in_processes_and_after_pickling_gives_the_same(tmp_path):
    images = load_dataset(saved(tmp_path / "set", {"label": [1, 0, 1, 1]}, LABEL), split="test")
    here = [ResizedDataset(images, (8, 8))[index].pixels.tolist() for index in range(4)]
    again = pickle.loads(pickle.dumps(ResizedDataset(images, (8, 8))))
    assert [again[index].pixels.tolist() for index in range(4)] == here
    batches = list(load_batches(ResizedDataset(images, (8, 8)), [[0, 1], [2, 3]], 2))
    assert [one.tolist() for batch in batches for one in batch.pixels] == here


def test_a_folder_per_class_is_read_upright_with_its_paths_as_ids(tmp_path):
    for name in ("b/one", "a/two"):
        (tmp_path / f"set/{name}").parent.mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture(1).save(tmp_path / f"set/{name}.jpg", exif=exif)
    images = load_dataset(f"hf:{tmp_path / 'set'}@train")
    assert (list(images.image_ids), list(images.classes)) == (["a/two.jpg", "b/one.jpg"], ["a", "b"])
    assert images.read(0).image.size == (30, 40)
    (tmp_path / "set/classes.txt").write_text("b\nc\na\n")
    images = load_dataset(f"hf:{tmp_path / 'set'}@train")
    assert [images.label_of(0), images.label_of(1)] == [2, 0]


def test_parquet_files_and_labels_that_are_texts(tmp_path):
    table = datasets.Dataset.from_dict(
        {"image": [picture(1), picture(2)], "label": ["owl", "cat"], "file_name": ["x.png", "y.png"]}
    )
    (tmp_path / "set").mkdir()
    table.cast_column("image", datasets.Image()).to_parquet(tmp_path / "set/test.parquet")
    images = load_dataset(f"hf:{tmp_path / 'set'}@test")
    assert (list(images.classes), list(images.image_ids)) == (["cat", "owl"], ["x.png", "y.png"])
    assert [images.label_of(0), images.label_of(1)] == [1, 0]


def test_texts_that_are_numbers_are_numbered_as_text_with_a_warning(tmp_path):
    labels = [str(number) for number in range(11)]
    table = datasets.Dataset.from_dict({"image": [picture(number) for number in range(11)], "label": labels})
    table.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "set")
    with pytest.warns(UserWarning, match="sorted as text: label 2 is class '10'; a classes.txt"):
        images = load_dataset(f"hf:{tmp_path / 'set'}", split="train")
    assert images.label_of(10) == 2
    (tmp_path / "set" / "classes.txt").write_text("\n".join(labels))
    assert load_dataset(f"hf:{tmp_path / 'set'}", split="train").label_of(10) == 10


SIZED = [[[2, 3, 10, 4], [30, 20, 10, 10]], [[20, 1, 5, 6]], []]  # x, y, width, height
CORNERS = [[[2, 3, 12, 7], [30, 20, 40, 30]], [[20, 1, 25, 7]], []]


@pytest.mark.parametrize("boxes", [SIZED, CORNERS], ids=["sizes", "corners"])
def test_the_boxes_decide_how_they_are_read(tmp_path, boxes):
    objects = [{"bbox": some, "category": [0, 1][: len(some)]} for some in boxes]
    name = saved(tmp_path / "set", {"objects": objects}, BOXES)
    images = load_dataset(name, split="test", label="each")
    assert list(images.image_ids) == ["test-00000#0", "test-00000#1", "test-00001#0", "test-00002"]
    assert [images.read(index).boxes.tolist() for index in range(3)] == [[box] for some in CORNERS for box in some]
    assert [images.label_of(index) for index in range(4)] == [0, 1, 0, None]
    assert [load_dataset(name, split="test").label_of(index) for index in range(3)] == [1, 0, None]


def test_boxes_that_can_be_read_two_ways_are_refused(tmp_path):
    for number, (boxes, message) in enumerate(
        [
            (
                [[1, 2, 10, 12]],
                "got 1, 2, 10, 12 and others, of which 0% are impossible as x, y, width, height and 0% as x0,",
            ),
            # one that is drawn past the edge, and one without width: neither says how the others are meant
            ([[2, 3, 30, 20], [6, 3, 35, 20]], "got 2, 3, 30, 20 and others, of which 0% are impossible"),
            ([[2, 3, 30, 20], [6, 3, 6, 20]], "got 2, 3, 30, 20 and others, of which 0% are impossible"),
            ([[0.1, 0.1, 0.5, 0.5]], "expected boxes in pixels, got coordinates from 0 to 1 alone in hf:"),
        ]
    ):
        name = saved(tmp_path / f"{number}", {"objects": [{"bbox": boxes, "category": [0] * len(boxes)}]}, BOXES)
        assert message in error_of(load_dataset, name, None, "test")


def test_a_list_of_objects_and_given_sizes_are_read_alike(tmp_path):
    kinds = {
        "annotations": datasets.List(
            {"bbox": datasets.List(datasets.Value("int64")), "category_id": datasets.Value("int64")}
        ),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
    }
    objects = [[{"bbox": [20, 10, 5, 8], "category_id": 7}]]
    name = saved(tmp_path / "set", {"annotations": objects, "width": [40], "height": [30]}, kinds)
    images = load_dataset(name, split="test")
    assert (images.read(0).boxes.tolist(), images.label_of(0), list(images.classes)) == ([[20, 10, 25, 18]], 7, [])


def test_a_mask_of_two_values_is_ground_truth_and_one_of_classes_is_not(tmp_path):
    binary = np.zeros((30, 40), np.uint8)
    binary[5:20, 10:30] = 255
    classes = binary.copy()
    classes[:3] = 7
    masks = [Image.fromarray(mask) for mask in (binary, classes)]
    name = saved(tmp_path / "set", {"label": [1, 0], "mask": masks}, {**LABEL, "mask": datasets.Image()})
    first, second = ResizedDataset(load_dataset(name, split="test"), (30, 40))
    np.testing.assert_array_equal(first.mask, binary > 0)
    assert second.reason == "its mask row 1 has 2 values beside 0, so which are the object's is not known"


@pytest.mark.parametrize(
    ("columns", "kinds", "message"),
    [
        ({"colour": ["red"]}, {"colour": datasets.Value("string")}, "expected one column of labels in "),
        (
            {"breed": [1], "age": [0]},
            {"breed": LABEL["label"], "age": LABEL["label"]},
            "got breed, age among image (Image), breed (ClassLabel), age (ClassLabel)",
        ),
        ({"label": [0], "photo": [picture(1)]}, {**LABEL, "photo": datasets.Image()}, "got image, photo among "),
    ],
)
def test_columns_that_cannot_be_told_are_listed(tmp_path, columns, kinds, message):
    assert message in error_of(load_dataset, saved(tmp_path / "set", columns, kinds), None, "test")


def test_rows_without_a_label_or_a_sound_image_are_left_out(tmp_path):
    broken = io.BytesIO()
    gradient().save(broken, "PNG")
    cells = [{"bytes": broken.getvalue()[:60], "path": None}, None, {"bytes": broken.getvalue(), "path": None}]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": cells, "label": [1, 1, -1]}, features)
    table.save_to_disk(tmp_path / "set")
    reasons = [sample.reason for sample in ResizedDataset(load_dataset(f"hf:{tmp_path / 'set'}@train"), (8, 8))]
    assert reasons[0].startswith("cannot be decoded: ")
    assert reasons[1:] == ["no image in its row", "no label: none, or one below 0, in its row"]


def test_names_that_are_none_are_refused_in_one_line(tmp_path):
    assert error_of(load_dataset, "hf:NAME") == "expected --data with a name behind hf:, got hf:NAME"
    assert "expected --data to be one of " in error_of(load_dataset, "hf:")
    assert (
        error_of(load_dataset, "hf:./none@test")
        == "expected an id of the hub or an existing folder behind hf:, got './none'"
    )
    refusal = error_of(load_dataset, "hf:nobody/none")
    assert refusal.startswith("hf:nobody/none could not be had from datasets (")
    assert refusal.endswith("; no folder is called nobody/none here, so it was taken for an id of the hub")
    assert "expected no --root with --data hf:nobody/none" in error_of(load_dataset, "hf:nobody/none", tmp_path)


def test_an_analysis_of_boxes_runs_to_its_records(tmp_path, monkeypatch):
    kinds = {"objects": {**BOXES["objects"], "category": datasets.List(datasets.ClassLabel(names=[*"abcdefghij"]))}}
    objects = [{"bbox": [[20, 15, 10, 6]], "category": [3]}, {"bbox": [[0, 0, 20, 15]], "category": [0]}]
    name = saved(tmp_path / "set", {"objects": objects}, kinds)
    monkeypatch.chdir(tmp_path)
    how = {
        "data": f"{name}@test",
        "model": "resnet8",
        "weights": "none",
        "method": "grad-cam",
        "steps": 1,
        "workers": 0,
    }
    run = analyze(AnalyzeConfig.of(**how), progress=quietly)
    assert (run.folder.parent, run.manifest["options"]["data"]) == (Path("runs"), f"{name}@test")
    assert run.manifest["options"]["split"] == "test"
    boxes = [np.stack(list(record)).tolist() for record in read_records(run.folder)["boxes"]]
    assert boxes == [[[32, 32, 48, np.float32(21 * 64 / 30)]], [[0, 0, 32, 32]]]


def test_a_class_that_another_split_alone_has_keeps_its_index(tmp_path):
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    texts = {"train": ["cat", "zebra"], "test": ["dog", "ape"]}
    splits = {
        split: datasets.Dataset.from_dict({"image": [picture(0), picture(1)], "label": labels}, kinds)
        for split, labels in texts.items()
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "set")
    for split, labels in (("train", [1, 3]), ("test", [2, 0])):
        images = load_dataset(f"hf:{tmp_path / 'set'}", split=split)
        assert list(images.classes) == ["ape", "cat", "dog", "zebra"]
        assert [images.label_of(index) for index in range(2)] == labels


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[30.0, 20, 39, 29]], "expected a label for each box of {name}, got 1 and 2 in row 1"),
        ([[30.0, 20, 39, 29], [30.0, 20, 39, None]], "expected boxes of four numbers in {name}, got others"),
    ],
)
def test_boxes_that_fit_no_labels_or_are_no_four_numbers_are_refused(tmp_path, boxes, message):
    objects = [{"bbox": [[30.0, 20, 39, 29]] * 2, "category": [0, 1]}, {"bbox": boxes, "category": [0, 1]}]
    name = saved(tmp_path / "set", {"objects": objects}, BOXES)
    assert error_of(load_dataset, name, None, "test").startswith(message.format(name=name))
