"""ImageNet as it lies on a disk."""

from pathlib import Path

import pytest
import torch
from common import error_of, gradient
from PIL import Image

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, Skipped
from attnlab.errors import Unusable
from attnlab.manifests import check_same
from attnlab.pipelines.provenance import describe_data

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
    images = load_dataset("imagenet", plant(tmp_path, folders=folders, annotations=annotations, xml_scale=xml_scale))
    assert list(images.image_ids) == [f"ILSVRC2012_val_0000000{number}" for number in (1, 2, 3)]
    assert list(images.classes) == ["tench", "kite", "chair"]
    for image_id, size, wnid, boxes in PHOTOGRAPHS:
        example = images.read(images.image_ids.index(image_id))
        assert example.image.size == size
        assert example.label == sorted(photograph[2] for photograph in PHOTOGRAPHS).index(wnid)
        # files give the last pixel of a box, the data set the edge behind it: half a pixel at twice the size
        behind = 1 / xml_scale
        assert example.boxes.tolist() == [[x0, y0, x1 + behind, y1 + behind] for x0, y0, x1, y1 in boxes]


@pytest.mark.parametrize("annotations", ["csv", "xml"])
def test_boxes_of_imagenet_are_counted_from_0_and_hold_their_last_pixel(tmp_path, annotations):
    plant(tmp_path, annotations=annotations)
    samples = ResizedDataset(load_dataset("imagenet", tmp_path), (44, 33))
    chair, kite, tench = (samples[index].boxes.tolist() for index in range(3))
    assert kite == [[0, 0, 33, 44]]  # of pixels 0 to 33 and 0 to 44 the image has 0 to 32 and 0 to 43: clipped
    assert chair == [pytest.approx([5 * 33 / 50, 6 * 44 / 80, 46 * 33 / 50, 71 * 44 / 80])]
    assert tench[0] == pytest.approx([1 * 33 / 60, 2 * 44 / 40, 31 * 33 / 60, 44])
    assert tench[1] == pytest.approx([10 * 33 / 60, 0, 33, 21 * 44 / 40])


def test_a_run_with_imagenets_boxes_as_they_were_read_before_is_not_resumed(tmp_path):
    images = load_dataset("imagenet", plant(tmp_path / "data"))
    now = describe_data(images, [0])
    assert now["box_corners"] == "0-based inclusive, read as x0, y0, x1 + 1, y1 + 1"
    before = {key: value for key, value in now.items() if key != "box_corners"} | {"sha256": "0" * 64}
    line = error_of(check_same, tmp_path, {"options": {}, "data": before}, {"options": {}, "data": now})
    assert "data box_corners is new: '0-based inclusive, read as x0, y0, x1 + 1, y1 + 1'" in line
    assert "box_corners" not in describe_data(load_dataset("scenes"), [0])  # whose runs are resumed as ever


def test_imagenet_boxes_may_lie_beside_the_folder_of_images(tmp_path):
    plant(tmp_path, folders="flat")
    assert load_dataset("imagenet", tmp_path / "flat").read(2).boxes.shape == (2, 4)


def reason_of(root: Path, annotation: str) -> str:
    """Why the image with that row in LOC_val_solution.csv is unusable."""
    (root / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{annotation}\n")
    with pytest.raises(Unusable) as reason:
        load_dataset("imagenet", root).read(0)
    return str(reason.value)


def test_annotations_that_cannot_be_used_concern_their_image_alone(tmp_path):
    root = plant(tmp_path)
    image = "ILSVRC2012_val_00000001"
    assert reason_of(root, f"{image},n02000000 1 2 3") == "a box of 3 numbers instead of 4"
    assert reason_of(root, f"{image},n02000000 1 2 3 x") == "malformed boxes 'n02000000 1 2 3 x'"
    assert reason_of(root, f"{image},n09999999 1 2 3 4") == "wnid n09999999 is not among the classes"
    assert reason_of(root, f"{image},{'n' * 9000} 1 2 3 4") == f"wnid {'n' * 40} is not among the classes"
    assert reason_of(root, f"{image},") == "no object in its annotation"
    assert reason_of(root, image) == "no object in its annotation"  # a row that ends before its second column
    assert reason_of(root, "") == "no annotation for this image"


def test_a_malformed_xml_file_concerns_its_image_alone(tmp_path):
    root = plant(tmp_path, annotations="xml")
    (root / "boxes" / "ILSVRC2012_val_00000002.xml").write_text("<annotation>")
    images = load_dataset("imagenet", root)
    assert images.read(0).boxes.shape == (1, 4)
    with pytest.raises(Unusable, match=r"malformed annotation ILSVRC2012_val_00000002\.xml"):
        images.read(1)


def test_imagenets_training_images_have_the_labels_of_the_validation_split(tmp_path):
    for wnid in ("n02", "n07"):
        (tmp_path / "train" / wnid).mkdir(parents=True)
        gradient().save(tmp_path / "train" / wnid / f"{wnid}_1.png")
    images = load_dataset("imagenet", tmp_path, "train")
    assert (list(images.image_ids), list(images.classes)) == (["n02_1", "n07_1"], ["n02", "n07"])
    assert [images.read(index).label for index in range(2)] == [0, 1]
    assert not images.has_boxes
    assert images.read(0).boxes.shape == (0, 4)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 a tench\nn02 a goldfish, a carp\nn05 a cock\nn07 a hen\n")
    images = load_dataset("imagenet", tmp_path, "train")
    assert list(images.classes) == ["a tench", "a goldfish", "a cock", "a hen"]
    assert [images.read(index).label for index in range(2)] == [1, 3]
    (tmp_path / "train" / "n99").mkdir()
    assert error_of(load_dataset, "imagenet", tmp_path, "train").endswith(", got n99")


def test_imagenet_without_what_it_needs_says_what_to_get(tmp_path):
    assert error_of(load_dataset, "imagenet").startswith("data set 'imagenet' needs --root DIR, the folder that holds")
    missing = tmp_path / "nowhere"
    assert error_of(load_dataset, "imagenet", missing) == f"expected --root to be an existing folder, got '{missing}'"
    root = plant(tmp_path)
    assert error_of(load_dataset, "imagenet", root, "test") == "expected --split to be one of val, train, got 'test'"
    assert error_of(load_dataset, "imagenet", root, "train") == (
        f"no training images below {root}; expected class folders in {root / 'train'}"
    )
    (root / "LOC_synset_mapping.txt").unlink()
    assert "no LOC_synset_mapping.txt" in error_of(load_dataset, "imagenet", root)
    (root / "LOC_val_solution.csv").write_text("image,boxes\n")
    assert "expected the columns ImageId,PredictionString" in error_of(load_dataset, "imagenet", root)
    (root / "LOC_val_solution.csv").unlink()
    assert error_of(load_dataset, "imagenet", root).endswith("expected LOC_val_solution.csv or ILSVRC2012_val_*.xml")
    plant(tmp_path / "bare", folders="elsewhere/{wnid}/deep")
    empty = tmp_path / "no-images"
    empty.mkdir()
    (empty / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n")
    (empty / "LOC_synset_mapping.txt").write_text(SYNSETS)
    assert f"no images below {empty}" in error_of(load_dataset, "imagenet", empty)


def test_a_link_to_nowhere_is_skipped_and_does_not_stop_the_fingerprint(tmp_path):
    root = plant(tmp_path)
    photograph = root / "val" / "ILSVRC2012_val_00000001.JPEG"
    photograph.unlink()
    photograph.symlink_to("/nonexistent/image.JPEG")
    images = load_dataset("imagenet", root)
    assert len(images.fingerprint()) == 64
    assert ResizedDataset(images, (32, 32))[0] == Skipped(
        0, photograph.stem, "cannot be decoded: No such file or directory"
    )


def test_real_imagenet_images_have_their_published_labels_and_boxes(shared):
    images = load_dataset("imagenet", shared / "imagenet-val")
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
    assert sum(map(len, boxes)) == 770
    sizes = []
    for path in (entry.path for entry in images.entries):
        with Image.open(path) as image:
            sizes.append(image.size)
    beyond = torch.cat([box[:, 2:] - torch.tensor(size) for box, size in zip(boxes, sizes, strict=True)])
    # inclusive corners end at width - 1, height - 1: half-open ones at the edge, and none behind it
    assert ((beyond == 0).sum(0).tolist(), (beyond > 0).sum().item()) == ([68, 91], 0)


def test_a_byte_order_mark_moves_no_label(tmp_path):
    root = plant(tmp_path)
    for name in ("LOC_synset_mapping.txt", "LOC_val_solution.csv"):
        (root / name).write_bytes(b"\xef\xbb\xbf" + (root / name).read_bytes())
    # n03000000 comes first in the mapping, so the mark would sort it elsewhere
    images = load_dataset("imagenet", root)
    assert [images.read(index).label for index in range(3)] == [2, 1, 0]


def test_localisations_annotations_win_over_detections_and_detections_alone_are_refused(tmp_path):
    root = plant(tmp_path, annotations="xml")
    right = [load_dataset("imagenet", root).read(index).boxes.tolist() for index in range(3)]
    other = "<annotation><object><name>n02000000</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
    other += "<ymax>9</ymax></bndbox></object></annotation>"
    for kind in ("CLS-LOC", "DET"):
        (root / "Annotations" / kind / "val").mkdir(parents=True)
    for path in list((root / "boxes").iterdir()):
        (root / "Annotations" / "DET" / "val" / path.name).write_text(other)
        path.rename(root / "Annotations" / "CLS-LOC" / "val" / path.name)
    assert [load_dataset("imagenet", root).read(index).boxes.tolist() for index in range(3)] == right
    (root / "Annotations" / "CLS-LOC" / "val").rename(root / "Annotations" / "more")
    message = error_of(load_dataset, "imagenet", root)
    assert message.startswith("expected annotations for classification and localisation below ")
    (root / "Annotations" / "DET").rename(root / "Annotations" / "other")
    message = error_of(load_dataset, "imagenet", root)
    assert message.startswith("expected one annotation for ILSVRC2012_val_00000001, got ")


def test_class_folders_without_boxes_give_labels(tmp_path):
    root = plant(tmp_path, folders="val/{wnid}")
    (root / "LOC_val_solution.csv").unlink()
    images = load_dataset("imagenet", root)
    assert not images.has_boxes
    read = {name: images.label_of(index) for index, name in enumerate(images.image_ids)}
    assert read == {f"ILSVRC2012_val_0000000{number}": label for number, label in ((3, 0), (2, 1), (1, 2))}


def test_images_of_one_name_in_two_class_folders_have_ids_of_their_own(tmp_path):
    for name in ("n01/img0.png", "n01/img1.png", "n01/img1.jpg", "n02/img0.png", "n02/other.png"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        gradient().save(tmp_path / "train" / name)
    images = load_dataset("imagenet", tmp_path, "train")
    assert images.image_ids == ["n01/img0", "n01/img1.jpg", "n01/img1.png", "n02/img0", "other"]
    assert [images.label_of(index) for index in range(5)] == [0, 0, 0, 1, 1]


def test_two_rows_of_one_image_are_refused(tmp_path):
    root = plant(tmp_path)
    with (root / "LOC_val_solution.csv").open("a") as file:
        file.write("ILSVRC2012_val_00000001,n02000000 1 2 3 4\n")
    assert "got a second one of ILSVRC2012_val_00000001 in line 5" in error_of(load_dataset, "imagenet", root)


BOMB = "<!DOCTYPE a [<!ENTITY b 'x'><!ENTITY c '&b;&b;'>]><annotation><object><name>&c;</name></object></annotation>"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "it has a DOCTYPE"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "malformed annotation"),
        ("<annotation><object><name>n02000000</name><bndbox><xmin>nan</xmin></bndbox></object></annotation>", "finite"),
        ("", "no element found"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_hostile_annotation_concerns_its_image_alone(tmp_path, content, reason):
    root = plant(tmp_path, annotations="xml")
    path = root / "boxes" / "ILSVRC2012_val_00000002.xml"
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    images = load_dataset("imagenet", root)
    assert images.read(0).boxes.shape == (1, 4)
    with pytest.raises(Unusable, match=reason):
        images.read(1)


def test_stored_pixels_are_under_imagenets_boxes_whatever_exif_says(tmp_path):
    root = plant(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient(size=(50, 80)).save(root / "val" / "ILSVRC2012_val_00000001.JPEG", exif=exif)
    assert load_dataset("imagenet", root).read(0).image.size == (50, 80)
