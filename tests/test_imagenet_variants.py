"""ImageNet-V2, -A, -R and -C: labels by their folders' names, whatever their order, and what is no such folder."""

from pathlib import Path

import pytest
import timm.data
import torch
from common import error_of
from test_class_folders import plant
from torch import nn

from attnlab.compat import torchvision
from attnlab.data import load_dataset
from attnlab.data.imagenet_variants import _places
from attnlab.models import Classifier
from attnlab.pipelines.checks import fitted

INFO = Path(timm.data.__file__).parent / "_info"
WNIDS = (INFO / "imagenet_synsets.txt").read_text().split()
NAMES = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


def labels_of(images) -> dict[str, int]:
    return {name: images.label_of(index) for index, name in enumerate(images.image_ids)}


@pytest.mark.parametrize(("mark", "count"), [("", 1000), ("a", 200), ("r", 200)])
def test_the_list_of_wnids_equals_timms(mark, count):
    places = _places(mark)
    assert len(places) == count
    if mark:
        indices = [int(line) for line in (INFO / f"imagenet_{mark}_indices.txt").read_text().split()]
        assert sorted(places.values()) == sorted(indices)
    assert {wnid: WNIDS.index(wnid) for wnid in places} == places


@pytest.mark.parametrize("place", ["imagenetv2-matched-frequency-format-val", "matched-frequency", "."])
def test_folders_of_imagenet_v2_are_class_indices_in_whatever_order_they_sort(tmp_path, place):
    plant(tmp_path / place, "0/a.jpeg", "10/b.jpeg", "2/c.jpeg", "999/d.jpeg")
    images = load_dataset("imagenet-v2", tmp_path)
    assert labels_of(images) == {"0/a.jpeg": 0, "10/b.jpeg": 10, "2/c.jpeg": 2, "999/d.jpeg": 999}
    assert (images.classes, images.closed, images.has_boxes) == (NAMES, False, False)


def test_folders_of_imagenet_v2_may_be_wnids(tmp_path):
    plant(tmp_path, "n01443537/a.jpeg", "n15075141/b.jpeg")  # goldfish, toilet paper
    images = load_dataset("imagenet-v2", tmp_path)
    assert labels_of(images) == {"n01443537/a.jpeg": 1, "n15075141/b.jpeg": 999}
    assert [images.classes[label] for label in (1, 999)] == ["goldfish", "toilet tissue"]


def test_another_split_of_imagenet_v2_is_not_taken_for_the_one_asked(tmp_path):
    root = plant(tmp_path / "imagenetv2-top-images-format-val", "0/a.jpeg")
    assert load_dataset("imagenet-v2", root, "top-images").image_ids == ["0/a.jpeg"]
    expected = "expected --split top-images of {}, got 'matched-frequency'"
    assert error_of(load_dataset, "imagenet-v2", root) == expected.format(root)
    assert error_of(load_dataset, "imagenet-v2", tmp_path) == expected.format(tmp_path)
    assert error_of(load_dataset, "imagenet-v2", tmp_path, "top-image").endswith("; did you mean 'top-images'?")


@pytest.mark.parametrize(
    ("name", "place", "wnids", "labels"),
    [
        ("imagenet-a", ".", ("n01498041", "n12267677"), (0, 199)),  # stingray, acorn: the first and the last
        ("imagenet-a", "imagenet-a", ("n01531178",), (1,)),
        ("imagenet-r", ".", ("n01443537", "n01484850"), (0, 1)),
        ("imagenet-r", "imagenet-r", ("n12267677",), (199,)),
    ],
)
def test_labels_of_imagenet_a_and_r_count_its_200_classes_also_where_folders_are_missing(
    tmp_path, name, place, wnids, labels
):
    plant(tmp_path / place, *(f"{wnid}/1.jpg" for wnid in wnids), "README.txt")
    images = load_dataset(name, tmp_path)
    assert labels_of(images) == {f"{wnid}/1.jpg": label for wnid, label in zip(wnids, labels, strict=True)}
    assert (len(images.classes), images.closed, images.out_of) == (200, True, NAMES)
    for wnid, label in zip(wnids, labels, strict=True):
        assert images.classes[label] == NAMES[WNIDS.index(wnid)]


@pytest.mark.parametrize("place", [".", "noise"])
def test_a_split_of_imagenet_c_is_a_corruption_with_its_severity(tmp_path, place):
    below = ("n01443537/ILSVRC2012_val_00000009.JPEG", "n01440764/ILSVRC2012_val_00000293.JPEG")
    for level in "13":
        plant(tmp_path / place / "gaussian_noise" / level, *below)
    plant(tmp_path, "digital/pixelate/5/n01440764/ILSVRC2012_val_00000001.JPEG")
    expected = {"ILSVRC2012_val_00000009": 1, "ILSVRC2012_val_00000293": 0}
    images = load_dataset("imagenet-c", tmp_path)
    assert labels_of(images) == expected
    assert str(images.entries[0].path) == str(tmp_path / place / "gaussian_noise/3" / below[1])
    assert labels_of(load_dataset("imagenet-c", tmp_path / place / "gaussian_noise", "gaussian_noise/1")) == expected
    assert labels_of(load_dataset("imagenet-c", tmp_path / place / "gaussian_noise/3")) == expected
    assert list(labels_of(load_dataset("imagenet-c", tmp_path, "pixelate/5"))) == ["ILSVRC2012_val_00000001"]
    message = error_of(load_dataset, "imagenet-c", tmp_path, "gaussian_noise/2")
    assert message.startswith(f"expected --split to be one of {tmp_path} as CORRUPTION/SEVERITY (")
    for part in ("gaussian_noise/1,3", "pixelate/5", "got 'gaussian_noise/2'; did you mean 'gaussian_noise/"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("imagenet-v2", ["0/a.jpeg", "n01440764/b.jpeg"], "called as the 1000 classes of imagenet-v2, "
         "such as n01440764 or 0, got '0' with images"),
        ("imagenet-v2", ["0/a.jpeg", "1000/b.jpeg"], "got '1000' with images"),
        ("imagenet-v2", ["0/a.jpeg", "007/b.jpeg"], "got '007' with images"),
        ("imagenet-a", ["n01440764/a.jpg"], "in {root} called as the 200 classes of imagenet-a, such as "
         "n01498041, got 'n01440764' with images"),  # tench is a class of ImageNet, and none of ImageNet-A
        ("imagenet-r", ["0/a.jpg"], "got '0' with images"),
        ("imagenet-a", ["a.jpg", "n01498041/notes.txt"], "got none with images"),
        ("imagenet-c", ["n01440764/a.jpg"], "CORRUPTION/SEVERITY (there are none), got 'gaussian_noise/3'"),
        ("imagenet-c", ["gaussian_noise/3/cat/a.jpg"], "{root}/gaussian_noise/3 called as the 1000 classes of"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_class_is_refused(tmp_path, name, files, message):
    plant(tmp_path, *files)
    assert message.format(root=tmp_path) in error_of(load_dataset, name, tmp_path)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("name", "first"), [("imagenet-a", "n01498041"), ("imagenet-r", "n01443537")])
def test_a_model_of_1000_classes_answers_among_the_200_as_the_authors_code_does(tmp_path, name, first, named):
    plant(tmp_path, f"{first}/1.jpg")
    images = load_dataset(name, tmp_path)
    classifier = Classifier(Thousand(NAMES if named else None))
    with pytest.warns(UserWarning, match="200 of the model's 1000 classes"):
        ready = fitted(classifier, images)
    mask = [int(line) for line in (INFO / f"imagenet_{name[-1]}_indices.txt").read_text().split()]
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ready(pixels), classifier(pixels)[:, mask])
    assert (ready.classes, ready.labels[:1]) == (200, (NAMES[WNIDS.index(first)],) if named else ())
    assert fitted(Classifier(Thousand(None, 200)), images).classes == 200  # a network of its own 200


class Thousand(nn.Module):
    """Logits of 1,000 classes, which it may name."""

    mean, std, input_size = (0.0,) * 3, (1.0,) * 3, (8, 8)

    def __init__(self, labels: list[str] | None, classes: int = 1000) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, classes)
        if labels:
            self.labels = tuple(labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.convolution(x).relu().mean((2, 3)))
