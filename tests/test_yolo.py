"""Images with YOLO's .txt labels."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from common import error_of, gradient

from attnlab.boxes import ground_truth
from attnlab.config import AnalyzeConfig
from attnlab.data import LABEL_RULES, load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.pending_parts import quietly
from attnlab.records import read_records, skipped_images

NAMES = "names: [cat, dog, owl]\n"
BOX = "1 0.5 0.5 0.5 0.4\n"  # of 40x30 pixels: 10, 9, 30, 21


def lay(root: Path, labels: dict[str, str | None], yaml: str | None = f"{NAMES}val: images/val\n") -> Path:
    """Images by their paths, with their labels in the usual place, and a data.yaml."""
    for name, lines in labels.items():
        image = root / name
        image.parent.mkdir(parents=True, exist_ok=True)
        gradient().save(image)
        text = root / name.replace("images", "labels").replace(".png", ".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        if lines is not None:
            text.write_text(lines)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


def test_boxes_are_half_open_pixels_of_the_image(tmp_path):
    images = load_dataset("yolo", lay(tmp_path, {"images/val/a.png": f"{BOX}1 0.125 0.1 0.25 0.2\n"}))
    assert (list(images.image_ids), images.classes, images.label_of(0)) == (
        ["images/val/a.png"],
        ["cat", "dog", "owl"],
        1,
    )
    np.testing.assert_allclose(images.read(0).boxes, [[10, 9, 30, 21], [0, 0, 10, 6]], atol=1e-12)
    sample = ResizedDataset(images, (15, 20))[0]
    assert sample.boxes.tolist() == [[5, 4.5, 15, 10.5], [0, 0, 5, 3]]
    assert (sample.dropped_boxes, sample.notes, sample.masked) == (0, (), False)


def test_images_elsewhere_have_names_that_do_not_depend_on_where_all_lies(tmp_path, monkeypatch):
    facts = set()
    for place in ("one", "two"):
        lay(tmp_path / place / "far", {"images/a.png": BOX}, None)
        (tmp_path / place / "mine").mkdir()
        lay(tmp_path / place / "mine", {}, f"{NAMES}val: ../far/images\n")
        monkeypatch.chdir(tmp_path / place / "mine")
        for root in (Path(), Path("../mine"), tmp_path / place / "mine"):
            images = load_dataset("yolo", root)
            facts.add((*images.image_ids, images.fingerprint()))
    assert [name for name, _ in facts] == ["far/images/a.png"]
    lay(tmp_path / "two/mine", {"far/images/a.png": BOX}, f"{NAMES}val: [far/images, ../far/images]\n")
    assert "names of their own, got far/images/a.png twice" in error_of(load_dataset, "yolo", tmp_path / "two/mine")


def test_a_box_beyond_the_frame_is_clipped_and_noted(tmp_path):
    images = load_dataset("yolo", lay(tmp_path, {"images/val/a.png": "1 0.9 0.5 0.4 1\n"}))
    sample = ResizedDataset(images, (30, 40))[0]
    np.testing.assert_allclose(sample.boxes, [[28, 0, 40, 30]], atol=1e-5)
    assert sample.notes == ("with a box that reaches beyond the frame, clipped to it",)


def test_polygons_are_masks_and_a_box_beside_them_counts(tmp_path):
    pytest.importorskip("pycocotools")
    turned = "2 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8\n"  # 10, 6 to 30, 24, as a turned box has it too
    three = "2 0.0 0.0 0.5 0.0 0.5 1.0\n"
    lay(tmp_path, {"images/val/a.png": turned, "images/val/b.png": f"{turned}2 0.05 0.9 0.1 0.2\n"})
    lay(tmp_path, {"images/val/c.png": three})
    images = load_dataset("yolo", tmp_path)
    expected = np.zeros((2, 30, 40), bool)
    expected[:, 6:24, 10:30] = True
    expected[1, 24:30, :4] = True
    masks = [images.read(index).mask() for index in range(3)]
    np.testing.assert_array_equal(np.stack(masks[:2]), expected)
    assert abs(masks[2].sum() - 20 * 30 / 2) < 30  # half of the left half
    assert images.read(0).boxes.tolist() == [[10, 6, 30, 24]]


@pytest.mark.parametrize(
    ("image", "yaml"),
    [
        ("images/val/a.png", "names: {0: cat, 1: dog, 2: owl}\npath: ../nowhere/coco8\nval: images/val\n"),
        ("images/val/a.png", f"{NAMES}val: [images/val]\nnc: 3\ntest:\n"),
        ("valid/images/a.png", f"{NAMES}val: ../valid/images\n"),
        ("valid/images/a.png", f"{NAMES}valid: valid/images\n"),
        ("images/deep/images/a.png", f"{NAMES}val: images/deep/images\n"),
        ("inner/a.png", f"{NAMES}path: inner\nval: .\n"),
        ("images/a.png", f"{NAMES}val: list.txt\n"),
        ("images/val/a.png", None),
        ("val/images/a.png", None),
        ("images/a.png", None),
        ("val/a.png", None),
        ("a.png", None),
    ],
)
def test_every_layout_is_found(tmp_path, image, yaml):
    labels = str(Path(image.replace("deep/images", "deep/labels") if "deep" in image else image))
    lay(tmp_path, {image: None if "deep" in image else BOX}, yaml)
    if "deep" in image:
        (tmp_path / labels).parent.mkdir(parents=True)
        (tmp_path / labels).with_suffix(".txt").write_text(BOX)
    (tmp_path / "list.txt").write_text("./images/a.png\n")
    if yaml is None:
        (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    images = load_dataset("yolo", tmp_path)
    assert list(images.image_ids) == ["a.png" if "inner" in image else image]
    assert (images.label_of(0), images.classes[1]) == (1, "dog")
    (store,) = [tmp_path.with_suffix(".zip")]
    with zipfile.ZipFile(store, "w") as archive:
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(tmp_path))
    packed = load_dataset("yolo", store)
    assert list(packed.image_ids) == list(images.image_ids)
    assert packed.fingerprint() == images.fingerprint()


def test_the_layout_of_darknet_as_cvat_packs_it_is_read(tmp_path):
    lay(tmp_path, {"obj_train_data/a.png": BOX}, None)
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/gone.png\n")
    images = load_dataset("yolo", tmp_path, "train")
    assert list(images.image_ids) == ["obj_train_data/a.png", "data/obj_train_data/gone.png"][::-1]
    assert ResizedDataset(images, (8, 8))[0].reason == "listed, but there is no such file"
    assert ResizedDataset(images, (8, 8))[1].label == 1


def test_a_root_may_be_the_yaml_and_a_classes_txt_gives_another_order(tmp_path):
    lay(tmp_path, {"images/val/a.png": BOX})
    (tmp_path / "data.yaml").rename(tmp_path / "my.yml")
    (tmp_path / "other.yaml").write_text(NAMES)
    assert "expected one YAML of YOLO in " in error_of(load_dataset, "yolo", tmp_path)
    (tmp_path / "classes.txt").write_text("owl\ndog\nhen\ncat\n")
    images = load_dataset("yolo", tmp_path / "my.yml")
    assert (images.label_of(0), list(images.classes)) == (1, ["owl", "dog", "hen", "cat"])
    (tmp_path / "images/val/a.png").rename(tmp_path / "images/val/b.png")
    (tmp_path / "labels/val/b.txt").write_text("0 0.5 0.5 1 1\n")
    assert load_dataset("yolo", tmp_path / "my.yml").label_of(0) == 3


def test_images_without_objects_are_left_out_with_the_reason(tmp_path):
    lay(tmp_path, {"images/val/a.png": None, "images/val/b.png": "\n", "images/val/c.png": BOX})
    samples = list(ResizedDataset(load_dataset("yolo", tmp_path), (8, 8)))
    assert [sample.reason for sample in samples[:2]] == ["no a.txt, so no object", "b.txt names no object"]
    assert samples[2].label == 1


def test_label_chooses_among_objects(tmp_path):
    lay(tmp_path, {"images/val/a.png": f"0 0.1 0.1 0.1 0.1\n{BOX}"})
    chosen = {rule: load_dataset("yolo", tmp_path, label=rule) for rule in (None, *LABEL_RULES)}
    assert [chosen[rule].label_of(0) for rule in (None, *LABEL_RULES)] == [1, 1, 0]
    assert list(chosen["each"].image_ids) == ["images/val/a.png#0", "images/val/a.png#1"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 12 9 30 21\n", "expected fractions of the image's size from 0 to 1, got 12; of pixels, divide x by"),
        (
            f"{BOX}1 0.5 0.5 -0.5 0.5\n",
            "from 0 to 1, got -0.5; of pixels, divide x by the width and y by the height, in line 2 of",
        ),
        (
            "1 0.5 0.5 0.5 0.5 0.98\n",
            "the confidence of a prediction? as `class x y width height confidence` in line 1",
        ),
        ("1 0.1 0.1 0.2 0.1 0.2 0.2 0.98\n", "the confidence of a prediction?"),
        ("3 0.5 0.5 0.5 0.5\n", "expected a class index below 3, got '3' in line 1 of "),
        ("dog 0.5 0.5 0.5 0.5\n", "expected a class index below 3, got 'dog'"),
        ("1 0.5 0.5 0.5\n", "expected `class x y width height` or a polygon of three points, got 4 values"),
        ("1 0.5 0.5 nan 0.5\n", "expected numbers, got 'nan'"),
        ("1 0,5 0,5 0,5 0,5\n", "expected numbers, got '0,5'"),
    ],
)
def test_a_malformed_line_is_refused_with_its_place(tmp_path, lines, message):
    assert message in error_of(load_dataset, "yolo", lay(tmp_path, {"images/val/a.png": lines}))


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [a\n", "cannot read "),
        ("names: [yes, no]\nval: images/val\n", "expected texts as `names` in "),
        ("val: images/val\n", "to be a list or a mapping of class names, got None"),
        ("names: {1: cat, 2: dog}\nval: images/val\n", "to number the classes from 0 on, got 1, 2"),
        (f"{NAMES}nc: 4\nval: images/val\n", "as its `nc` says, 4, got 3"),
        (f"{NAMES}train: images/val\n", "to say where the images of val lie; it has train, for --split"),
        (f"{NAMES}val: images/test\n", "expected the folder or list of val in "),
        (f"{NAMES}val: labels\n", "expected images in "),
        (f"{NAMES}kpt_shape: [17, 3]\nval: images/val\n", "expected boxes or polygons, got keypoints"),
        (f"{NAMES}val: !!python/object/apply:os.getcwd []\n", "cannot read "),
    ],
)
def test_a_yaml_that_cannot_be_meant_is_refused(tmp_path, yaml, message):
    assert message in error_of(load_dataset, "yolo", lay(tmp_path, {"images/val/a.png": BOX}, yaml))


def test_a_folder_without_names_or_labels_says_what_to_write(tmp_path):
    lay(tmp_path, {"images/a.png": None}, None)
    assert "expected class names of YOLO in " in error_of(load_dataset, "yolo", tmp_path)
    (tmp_path / "images/a.txt").write_text(BOX)
    (tmp_path / "classes.txt").write_text("\n")
    assert "expected class names, one a line, in " in error_of(load_dataset, "yolo", tmp_path)
    (tmp_path / "images/a.txt").unlink()
    (tmp_path / "classes.txt").write_text("cat\n")
    assert "expected labels of YOLO beside the images or in `labels`" in error_of(load_dataset, "yolo", tmp_path)
    lay(tmp_path, {"images/train/a.png": BOX}, None)
    assert "got train; choose by --split" in error_of(load_dataset, "yolo", tmp_path)
    assert "or a YAML of YOLO, got" in error_of(load_dataset, "yolo", tmp_path / "none.yaml")


def test_an_analysis_of_polygons_has_them_as_ground_truth(tmp_path):
    pytest.importorskip("pycocotools")
    turned = "1 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8\n"
    lay(
        tmp_path / "data",
        {f"images/val/{name}.png": lines for name, lines in zip("abc", (turned, BOX, ""), strict=True)},
    )
    (tmp_path / "data/data.yaml").write_text(f"names: {[*'abcdefghij']}\nval: images/val\n")  # resnet8 knows ten
    how = {"data": "yolo", "root": tmp_path / "data", "model": "resnet8", "weights": "none", "out": tmp_path / "run"}
    run = analyze(AnalyzeConfig.of(**how, workers=0, method="grad-cam", steps=1), progress=quietly)
    records = read_records(run.folder)
    truth = [ground_truth(record, 64, 64) for record in records.to_dict("records")]
    expected = np.zeros((2, 64, 64), bool)
    expected[0, 13:51, 16:48] = True  # 6 to 24 of 30 rows, 10 to 30 of 40 columns
    expected[1, 19:45, 16:48] = True
    np.testing.assert_array_equal(np.stack(truth), expected)
    assert skipped_images(run) == [("images/val/c.png", "c.txt names no object")]
