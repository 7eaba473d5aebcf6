"""Data sets: the built-in scenes, ImageNet as it lies on a disk, anyone's folder, MNIST and CIFAR-10."""

import contextlib
import gzip
import hashlib
import importlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnlab.compat import torchvision
from attnlab.data import load_data
from attnlab.data.base import open_rgb
from attnlab.data.geometry import Prepared, Skipped
from attnlab.errors import Unusable, UserError

scenes = importlib.import_module("attnlab.data.scenes")


def told(call, *arguments) -> str:
    """The one line a user reads."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------------ scenes

SCENES = {
    "train": "3153023d4ca214e0020cfd28d73809210956e48ff5bd9bee6fa81d99118fecb9",
    "val": "a880593863967759424d5b073c807f94b7d7939da88416dccbeeab585ccf260a",
    "test": "3c7266b3cfa9bc332835dc03a013655d81a63326d1935d9770be64438614ca2c",
}


@pytest.mark.parametrize("split", SCENES)
def test_scenes_are_the_same_on_every_machine(split):
    images = load_data("scenes", split=split)
    total = hashlib.sha256()
    for index in (0, 1, 2, 7, len(images.image_ids) - 1):
        image, label, boxes = images.read(index)
        total.update(image.tobytes() + repr((label, boxes.tolist())).encode())
    assert total.hexdigest() == SCENES[split]


def test_box_of_a_scene_tightly_bounds_the_ink(monkeypatch):
    """The ink's opacity is found again from the scene, its bare background and the same scene with an opaque square."""
    images = load_data("scenes", split="test")
    glyphs, labels = scenes._digits("test")

    def render(index: int, glyphs: np.ndarray) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(scenes, "_digits", lambda split: (glyphs, labels))
            patch.setattr(scenes, "INK", 0)  # a background without ink has a box too then
            return np.asarray(images.read(index).image, float)

    for index in range(60):
        seen, bare, full = (render(index, each) for each in (glyphs, glyphs * 0, glyphs * 0 + 255))
        strongest = np.abs(full - bare).argmax(2)[..., None]
        seen, bare, full = (np.take_along_axis(each, strongest, 2)[..., 0] for each in (seen, bare, full))
        contrast = np.abs(full - bare)
        opacity = 255 * (seen - bare) / np.where(contrast, full - bare, np.inf)
        error = 255 / np.maximum(contrast, 1)  # of the opacity, as colours are rounded
        x0, y0, x1, y1 = images.read(index).boxes[0].int().tolist()
        outside = np.ones((64, 64), bool)
        outside[y0:y1, x0:x1] = False
        assert (opacity < scenes.INK + error)[outside].all()
        inked = (opacity > scenes.INK - error) & (contrast > 20)
        for edge in (inked[y0, x0:x1], inked[y1 - 1, x0:x1], inked[y0:y1, x0], inked[y0:y1, x1 - 1]):
            assert edge.any()


def test_digits_of_the_splits_are_disjoint_and_none_is_left_out():
    digits = {split: {glyph.tobytes() for glyph in scenes._digits(split)[0]} for split in SCENES}
    assert sum(map(len, digits.values())) == len(set.union(*digits.values()))
    assert sum(len(scenes._digits(split)[1]) for split in SCENES) == 1797


def test_scenes_run_from_a_quarter_to_most_of_the_frame():
    boxes = torch.cat([load_data("scenes").read(index).boxes for index in range(400)])
    sides = torch.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert sides.min() == 16
    assert sides.max() == 56
    assert 30 < sides.median() < 42
    assert boxes.min() >= 0
    assert boxes.max() <= 64


def test_each_split_of_the_scenes_has_all_ten_classes_twenty_times_or_more():
    for split in SCENES:
        counts = np.bincount(scenes._digits(split)[1], minlength=10)
        assert counts.min() >= 20


def test_a_split_that_does_not_exist_is_refused_with_the_nearest():
    assert told(load_data, "scenes", None, "tset").endswith("got 'tset'; did you mean 'test'?")


def test_a_data_set_that_does_not_exist_is_refused_with_the_nearest():
    assert told(load_data, "imagnet").endswith("got 'imagnet'; did you mean 'imagenet'?")


# ------------------------------------------------------------------ single images


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])).astype(np.uint8)
    return Image.fromarray(np.stack([ramp * 3, ramp, 255 - ramp], 2)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "gif"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_images_of_other_modes_become_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    gradient(mode).save(path)
    image = open_rgb(path)
    assert image.mode == "RGB"
    difference = np.asarray(image, int) - np.asarray(gradient(mode).convert("RGB"), int)
    assert np.abs(difference).mean() < 3


def test_sixteen_bits_a_channel_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(tmp_path / "deep.png")
    with pytest.raises(Unusable, match=r"more than 8 bits a channel \(mode I;16\)"):
        open_rgb(tmp_path / "deep.png")


def test_a_truncated_image_is_unusable(tmp_path):
    gradient().save(tmp_path / "whole.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    with pytest.raises(Unusable, match="cannot be decoded: image file is truncated"):
        open_rgb(tmp_path / "cut.jpg")


def test_a_text_file_called_jpg_is_unusable_and_the_reason_names_no_path(tmp_path):
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(Unusable) as reason:
        open_rgb(tmp_path / "text.jpg")
    assert str(reason.value) == "no image that Pillow can read"


def test_an_empty_file_is_unusable(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(Unusable, match="the file is empty"):
        open_rgb(tmp_path / "empty.png")


@pytest.mark.parametrize("pixels", [1199, 599])  # Pillow warns above its limit, and refuses above twice that
def test_a_decompression_bomb_is_unusable(tmp_path, monkeypatch, pixels):
    gradient().save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(Unusable, match="limit against decompression bombs"):
        open_rgb(tmp_path / "bomb.png")


def test_an_image_at_pillows_limit_is_read(tmp_path, monkeypatch):
    gradient().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert open_rgb(tmp_path / "large.png").size == (40, 30)


def test_damage_anywhere_in_a_file_never_raises_anything_but_unusable(tmp_path):
    random = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "bmp", "webp"):
        path = tmp_path / f"image.{suffix}"
        gradient().save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for cut in random.integers(0, len(whole), 20):
            damaged = whole.copy()
            damaged[random.integers(0, len(whole), 3)] = random.integers(0, 256, 3)
            path.write_bytes(damaged[: len(whole) if cut % 2 else cut].tobytes())
            with contextlib.suppress(Unusable):
                assert open_rgb(path).mode == "RGB"


# ------------------------------------------------------------------ imagenet

#: image, size, wnid, boxes
PHOTOGRAPHS = [
    ("ILSVRC2012_val_00000003", (60, 40), "n01440764", [(1, 2, 30, 40), (10, 0, 60, 20)]),
    ("ILSVRC2012_val_00000001", (50, 80), "n03000000", [(5, 6, 45, 70)]),
    ("ILSVRC2012_val_00000002", (33, 44), "n02000000", [(0, 0, 33, 44)]),
]
SYNSETS = "n03000000 chair, seat\nn01440764 tench, Tinca tinca\nn02000000 kite\n"


def plant(root: Path, *, folders: str = "val", annotations: str = "csv", xml_scale: int = 1) -> Path:
    """A tiny ImageNet; `xml_scale` gives the XML files' boxes and sizes in another resolution."""
    lines = ["ImageId,PredictionString"]
    for image_id, (width, height), wnid, boxes in PHOTOGRAPHS:
        folder = root / folders.format(wnid=wnid)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (40, 50, 60)).save(folder / f"{image_id}.JPEG")
        lines.append(f"{image_id},{' '.join(f'{wnid} {x0} {y0} {x1} {y1}' for x0, y0, x1, y1 in boxes)} ")
        objects = "".join(
            # not the order of the corners that one expects: the tags say which is which
            f"<object><bndbox><ymax>{y1 * xml_scale}</ymax><xmax>{x1 * xml_scale}</xmax><xmin>{x0 * xml_scale}</xmin>"
            f"<ymin>{y0 * xml_scale}</ymin></bndbox><difficult>0</difficult><name>{wnid}</name></object>"
            for x0, y0, x1, y1 in boxes
        )
        size = f"<size><depth>3</depth><height>{height * xml_scale}</height><width>{width * xml_scale}</width></size>"
        if annotations == "xml":
            (root / "boxes").mkdir(exist_ok=True)
            (root / "boxes" / f"{image_id}.xml").write_text(f"<annotation>{objects}{size}</annotation>")
    if annotations == "csv":
        (root / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    (root / "LOC_synset_mapping.txt").write_text(SYNSETS)
    return root


@pytest.mark.parametrize("folders", [".", "val", "images", "val/{wnid}", "ILSVRC/Data/CLS-LOC/val"])
@pytest.mark.parametrize(("annotations", "xml_scale"), [("csv", 1), ("xml", 1), ("xml", 2)])
def test_imagenet_in_any_of_its_layouts_gives_the_same_boxes_and_labels(tmp_path, folders, annotations, xml_scale):
    images = load_data("imagenet", plant(tmp_path, folders=folders, annotations=annotations, xml_scale=xml_scale))
    assert list(images.image_ids) == [f"ILSVRC2012_val_0000000{number}" for number in (1, 2, 3)]
    assert list(images.classes) == ["tench", "kite", "chair"]
    for image_id, size, wnid, boxes in PHOTOGRAPHS:
        example = images.read(images.image_ids.index(image_id))
        assert example.image.size == size
        assert example.label == sorted(photograph[2] for photograph in PHOTOGRAPHS).index(wnid)
        assert example.boxes.tolist() == [list(map(float, box)) for box in boxes]


def test_imagenet_boxes_may_lie_beside_the_folder_of_images(tmp_path):
    plant(tmp_path, folders="flat")
    assert load_data("imagenet", tmp_path / "flat").read(2).boxes.shape == (2, 4)


def reason_of(root: Path, annotation: str) -> str:
    """Why the image with that row in LOC_val_solution.csv is unusable."""
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{annotation}\n")
    with pytest.raises(Unusable) as reason:
        load_data("imagenet", root).read(0)
    return str(reason.value)


def test_annotations_that_cannot_be_used_concern_their_image_alone(tmp_path):
    root = plant(tmp_path)
    image = "ILSVRC2012_val_00000001"
    assert reason_of(root, f"{image},n02000000 1 2 3") == "a box of 3 numbers instead of 4"
    assert reason_of(root, f"{image},n02000000 1 2 3 x") == "malformed boxes 'n02000000 1 2 3 x'"
    assert reason_of(root, f"{image},n09999999 1 2 3 4") == "wnid n09999999 is not among the classes"
    assert reason_of(root, f"{image},") == "no object in its annotation"
    assert reason_of(root, image) == "no object in its annotation"  # a row that ends before its second column
    assert reason_of(root, "") == "no annotation for this image"


def test_a_malformed_xml_file_concerns_its_image_alone(tmp_path):
    root = plant(tmp_path, annotations="xml")
    (root / "boxes" / "ILSVRC2012_val_00000002.xml").write_text("<annotation>")
    images = load_data("imagenet", root)
    assert images.read(0).boxes.shape == (1, 4)
    with pytest.raises(Unusable, match=r"malformed annotation ILSVRC2012_val_00000002\.xml"):
        images.read(1)


def test_imagenets_training_images_have_the_labels_of_the_validation_split(tmp_path):
    for wnid in ("n02", "n07"):
        (tmp_path / "train" / wnid).mkdir(parents=True)
        gradient().save(tmp_path / "train" / wnid / f"{wnid}_1.png")
    images = load_data("imagenet", tmp_path, "train")
    assert (list(images.image_ids), list(images.classes)) == (["n02_1", "n07_1"], ["n02", "n07"])
    assert [images.read(index).label for index in range(2)] == [0, 1]
    assert not images.has_boxes
    assert images.read(0).boxes.shape == (0, 4)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 a tench\nn02 a goldfish, a carp\nn05 a cock\nn07 a hen\n")
    images = load_data("imagenet", tmp_path, "train")
    assert list(images.classes) == ["a tench", "a goldfish", "a cock", "a hen"]
    assert [images.read(index).label for index in range(2)] == [1, 3]
    (tmp_path / "train" / "n99").mkdir()
    assert told(load_data, "imagenet", tmp_path, "train").endswith(", got n99")


def test_imagenet_without_what_it_needs_says_what_to_get(tmp_path):
    assert told(load_data, "imagenet").startswith("data set 'imagenet' needs --root DIR, the folder that holds")
    missing = tmp_path / "nowhere"
    assert told(load_data, "imagenet", missing) == f"expected --root to be an existing folder, got '{missing}'"
    root = plant(tmp_path)
    assert told(load_data, "imagenet", root, "test") == "expected --split to be one of val, train, got 'test'"
    assert told(load_data, "imagenet", root, "train") == (
        f"no training images below {root}; expected class folders in {root / 'train'}"
    )
    (root / "LOC_synset_mapping.txt").unlink()
    assert "no LOC_synset_mapping.txt" in told(load_data, "imagenet", root)
    (root / "LOC_val_solution.csv").write_text("image,boxes\n")
    assert "expected the columns ImageId,PredictionString" in told(load_data, "imagenet", root)
    (root / "LOC_val_solution.csv").unlink()
    assert told(load_data, "imagenet", root).endswith("expected LOC_val_solution.csv or ILSVRC2012_val_*.xml")
    plant(tmp_path / "bare", folders="elsewhere/{wnid}/deep")
    empty = tmp_path / "no-images"
    empty.mkdir()
    (empty / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n")
    (empty / "LOC_synset_mapping.txt").write_text(SYNSETS)
    assert f"no images below {empty}" in told(load_data, "imagenet", empty)


def test_a_link_to_nowhere_is_skipped_and_does_not_stop_the_fingerprint(tmp_path):
    root = plant(tmp_path)
    photograph = root / "val" / "ILSVRC2012_val_00000001.JPEG"
    photograph.unlink()
    photograph.symlink_to("/nonexistent/image.JPEG")
    images = load_data("imagenet", root)
    assert len(images.fingerprint()) == 64
    assert Prepared(images, (32, 32))[0] == Skipped(0, photograph.stem, "cannot be decoded: No such file or directory")


def test_real_imagenet_images_have_their_published_labels_and_boxes(shared):
    images = load_data("imagenet", shared / "imagenet-val")
    assert len(images.image_ids) == 500
    assert len(images.classes) == 1000
    first = images.read(0)
    assert (images.image_ids[0], first.label, images.classes[first.label]) == (
        "ILSVRC2012_val_00000001",
        65,
        "sea snake",
    )
    boxes = [entry.boxes for entry in images.entries]
    assert sum(len(each) > 1 for each in boxes) == 114
    for index in range(0, 500, 50):
        width, height = images.read(index).image.size
        assert (boxes[index][:, 2:] <= torch.tensor([width, height])).all()


# ------------------------------------------------------------------ folder


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
    images = load_data("folder", lay(tmp_path, "a.png,3,1,2,30,20\nb.png,0,0,0,5,5\na.png,3,4.5,5,6,7\nc.png,1,,,,\n"))
    assert list(images.image_ids) == ["a.png", "b.png", "c.png"]
    assert list(images.classes) == []
    read = [images.read(index) for index in range(3)]
    assert [example.label for example in read] == [3, 0, 1]
    assert [example.boxes.tolist() for example in read] == [[[1, 2, 30, 20], [4.5, 5, 6, 7]], [[0, 0, 5, 5]], []]


def test_folder_takes_class_names_also_ones_that_pandas_holds_for_missing(tmp_path):
    rows = "./a.png,cat,1,2,3,4\nb.png,null,1,2,3,4\nc.png, NA ,1,2,3,4\nd.png,1,1,2,3,4\n"
    images = load_data("folder", lay(tmp_path, rows, names="null\nNA\ncat\n\n", images="abcd"))
    assert list(images.classes) == ["null", "NA", "cat"]
    assert list(images.image_ids) == ["a.png", "b.png", "c.png", "d.png"]  # ./a.png is a.png
    assert [images.read(index).label for index in range(4)] == [2, 0, 1, 1]


def test_folder_takes_the_splits_subfolder_with_the_names_of_the_root(tmp_path):
    lay(tmp_path / "test", "x.png,dog,1,2,3,4\n", images="x")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    images = load_data("folder", tmp_path, "test")
    assert (list(images.image_ids), images.read(0).label) == (["x.png"], 1)
    assert told(load_data, "folder", tmp_path, "val").endswith("; --split test has one")


def test_images_that_the_table_and_the_folder_do_not_share_are_unusable(tmp_path):
    images = load_data("folder", lay(tmp_path, "a.png,1,1,2,3,4\ngone.png,1,1,2,3,4\nb.png,0,,,,\nb.png,1,1,2,3,4\n"))
    reasons = {skipped.image_id: skipped.reason for skipped in Prepared(images, (8, 8)) if isinstance(skipped, Skipped)}
    assert reasons == {
        "b.png": "boxes of 2 labels: which one the model should see is not known",
        "c.png": "no row in boxes.csv",
        "gone.png": "named in boxes.csv, but there is no such file",
    }


def test_a_box_that_lacks_a_coordinate_is_counted_as_dropped(tmp_path):
    sample = Prepared(load_data("folder", lay(tmp_path, "a.png,1,1,2,,4\na.png,1,0,0,20,15\n")), (30, 40))[0]
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
            "one of the 2 names in classes.txt or an index, got 'dog' for image a.png",
        ),
        ("a.png,2,1,2,3,4\n", "cat\ncow\n", "one of the 2 names in classes.txt or an index, got '2' for image a.png"),
        ("a.png,1,1,2,wide,4\n", None, "could not convert string to float: 'wide'"),
        ("b.png,1,1,2,3,4\n,1,1,2,3,4\n", None, "to name an image, got none in line 3"),
        ("a.png,1,1,2,3,4,\n", None, "as there are columns, got more"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(tmp_path, rows, names, message):
    assert message in told(load_data, "folder", lay(tmp_path, rows, names=names))


def test_a_folder_without_what_it_needs_says_what_to_write(tmp_path):
    (tmp_path / "bare").mkdir()
    message = told(load_data, "folder", tmp_path / "bare")
    assert message.startswith("no boxes: expected ")
    assert message.endswith("with the columns image,label,x0,y0,x1,y1")
    (tmp_path / "bare" / "boxes.csv").write_text("image,label,x,y\n")
    assert told(load_data, "folder", tmp_path / "bare").endswith("x0, y0, x1, y1 missing")
    assert told(load_data, "folder", lay(tmp_path / "none", "", images="")).startswith("no images: ")


def test_fingerprint_changes_with_labels_boxes_and_files(tmp_path):
    prints = {load_data("folder", lay(tmp_path, "a.png,3,1,2,30,20\n")).fingerprint()}
    prints.add(load_data("folder", lay(tmp_path, "a.png,4,1,2,30,20\n")).fingerprint())
    prints.add(load_data("folder", lay(tmp_path, "a.png,3,1,2,30,21\n")).fingerprint())
    lay(tmp_path, "a.png,3,1,2,30,20\n")
    gradient(size=(80, 90)).save(tmp_path / "a.png")
    prints.add(load_data("folder", tmp_path).fingerprint())
    assert len(prints) == 4


# ------------------------------------------------------------------ mnist

DIGITS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([7, 2, 1, 0, 4], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_mnist(root: Path, suffix: str = "", pack=bytes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx(DIGITS)))
    (root / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS)))
    return root


@pytest.mark.parametrize("place", [".", "MNIST/raw"])
@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_mnist_is_read_plain_or_gzipped_from_the_root_or_from_torchvisions_folder(tmp_path, place, suffix, pack):
    write_mnist(tmp_path / place, suffix, pack)
    images = load_data("mnist", tmp_path, "test")
    assert (images.size, images.channels, images.has_boxes) == ((28, 28), 1, False)
    for index in range(5):
        image, label, boxes = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), DIGITS[index])
        assert (image.mode, label, len(boxes)) == ("L", LABELS[index], 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: b"",
        lambda data: data[:-10],
        lambda data: b"\x89PNG" + data[4:],
        lambda data: gzip.compress(data)[:-20],
        lambda data: gzip.compress(data)[:10] + b"\x07" * 40,  # zlib's own error, which is no OSError
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_mnist_file_is_refused_by_name(tmp_path, damage, suffix):
    write_mnist(tmp_path, suffix, gzip.compress if suffix else bytes)
    path = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    path.write_bytes(damage(idx(DIGITS)))
    assert told(load_data, "mnist", tmp_path, "test").startswith(f"expected {path} to be an IDX file of bytes")


def test_mnist_without_what_it_needs_says_so(tmp_path):
    assert "needs --root DIR" in told(load_data, "mnist")
    message = told(load_data, "mnist", tmp_path, "test")
    assert message == f"no t10k-images-idx3-ubyte in {tmp_path}; expected it there or in MNIST/raw, plain or .gz"
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:3]))
    assert "do not belong together" in told(load_data, "mnist", tmp_path, "test")


@pytest.mark.parametrize(
    ("split", "count", "labels"), [("train", 60_000, [5, 0, 4, 1, 9]), ("test", 10_000, [7, 2, 1, 0, 4])]
)
def test_real_mnist_is_the_published_one(shared, split, count, labels):
    images = load_data("mnist", shared / "mnist", split)
    assert len(images.image_ids) == count
    assert [images.read(index).label for index in range(5)] == labels
    assert images.pixels.mean() / 255 == pytest.approx({"train": 0.1307, "test": 0.1325}[split], abs=1e-4)


# ------------------------------------------------------------------ cifar10

PICTURES = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)
CLASSES = np.array([3, 8, 8, 0], np.uint8)


def write_binary(folder: Path, name: str = "test_batch.bin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(4, -1)
    (folder / name).write_bytes(np.concatenate([CLASSES[:, None], flat], 1).tobytes())
    return folder / name


def assert_pictures(images) -> None:
    assert (len(images.image_ids), images.size, images.channels) == (4, (32, 32), 3)
    for index in range(4):
        image, label, _ = images.read(index)
        np.testing.assert_array_equal(np.asarray(image), PICTURES[index])
        assert label == CLASSES[index]


@pytest.mark.parametrize("place", [".", "cifar-10-batches-bin"])
def test_cifar10_is_read_in_the_official_binary_layout(tmp_path, place):
    write_binary(tmp_path / place)
    assert_pictures(load_data("cifar10", tmp_path, "test"))


def test_cifar10_training_joins_its_five_files_in_order(tmp_path):
    for number in range(1, 6):
        path = write_binary(tmp_path, f"data_batch_{number}.bin")
        path.write_bytes(bytes([number]) + path.read_bytes()[1:])
    images = load_data("cifar10", tmp_path, "train")
    assert [images.read(index).label for index in range(0, 20, 4)] == [1, 2, 3, 4, 5]


def write_pickled(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torchvision's layout; it reads no file whose checksum is not the one in these lists."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(4, -1)
    files = {"test_batch": {"data": flat, "labels": CLASSES.tolist()}, "batches.meta": {"label_names": ["airplane"]}}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in files}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", [])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "meta", meta)
    return folder


def test_cifar10_is_read_in_torchvisions_layout(tmp_path, monkeypatch):
    write_pickled(tmp_path, monkeypatch)
    assert_pictures(load_data("cifar10", tmp_path, "test"))


def test_a_pickled_cifar10_file_that_is_not_the_published_one_is_refused_and_never_loaded(tmp_path, monkeypatch):
    folder = write_pickled(tmp_path, monkeypatch)
    (folder / "test_batch").write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    message = told(load_data, "cifar10", tmp_path, "test")
    assert message.endswith("unpack the archive again, or use the binary version (cifar-10-batches-bin)")
    assert not (tmp_path / "executed").exists()


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_cifar10_without_what_it_needs_says_so(tmp_path):
    message = told(load_data, "cifar10", tmp_path, "test")
    assert message == f"no CIFAR-10 in {tmp_path}; expected a folder cifar-10-batches-bin or cifar-10-batches-py"
    path = write_binary(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert told(load_data, "cifar10", tmp_path, "test") == (
        f"expected {path} to hold records of 3073 bytes, got 12291 bytes"
    )
    first = write_binary(tmp_path, "data_batch_1.bin")
    missing = first.with_name("data_batch_2.bin")
    assert told(load_data, "cifar10", tmp_path, "train").startswith(f"expected {missing} to hold records of 3073 bytes")


def test_real_cifar10_test_images_have_the_published_mean_and_order(shared, tmp_path):
    """The mosaics hold 5,000 images each, 50 rows of 100; two of them are the test batch."""
    labels = np.load(shared / "cifar10" / "test-labels.npz")["label"]
    mosaic = np.asarray(Image.open(shared / "cifar10" / "test-00.webp").convert("RGB"))
    flat = mosaic.reshape(50, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(5000, -1)
    (tmp_path / "test_batch.bin").write_bytes(np.concatenate([labels[:5000, None], flat], 1).astype(np.uint8).tobytes())
    images = load_data("cifar10", tmp_path, "test")
    assert [images.classes[images.read(index).label] for index in range(4)] == ["cat", "ship", "ship", "airplane"]
    np.testing.assert_allclose(images.pixels.mean((0, 1, 2)) / 255, [0.494, 0.485, 0.450], atol=0.005)
    np.testing.assert_array_equal(np.asarray(images.read(101).image), mosaic[32:64, 32:64])
