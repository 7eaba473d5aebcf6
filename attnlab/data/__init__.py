"""Data sets by name, each described in one place; no torch before one is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.data.spec import Budget as Budget
from attnlab.data.spec import DatasetSpec as DatasetSpec
from attnlab.errors import UserError, check_one_of
from attnlab.registry import Lazy, Registry
from attnlab.stores import ARCHIVES, Root, open_root, parse_root

if TYPE_CHECKING:
    from attnlab.data.base import ImageSet

Size = tuple[int, int]

#: what the ground truth of an image is, where it has both
TRUTHS = ("mask", "box")
#: which objects of an image are a sample: those of the largest one's class together, or each on its own
LABEL_RULES = ("largest", "each")

#: data sets; a new one is a function and an entry here
DATASETS = Registry(
    "--data",
    {
        "scenes": DatasetSpec(
            Lazy("attnlab.data.digit_scenes:scenes"),
            "handwritten digits on textures, 64x64, made as they are read, with boxes",
            splits=("train", "val", "test"),
            model="resnet8",
            plans=Lazy("attnlab.training.recipes:SCENES"),
        ),
        "imagenet": DatasetSpec(
            Lazy("attnlab.data.imagenet:imagenet"),
            "ILSVRC-2012 as it lies on a disk; validation images with boxes",
            holds="the validation images and LOC_val_solution.csv or the folder of ILSVRC2012_val_*.xml",
            splits=("val", "train"),
            accuracy_split="val",
            model="inception_v3",
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "imagenet-v2": DatasetSpec(
            Lazy("attnlab.data.imagenet_variants:imagenet_v2"),
            "ImageNet-V2: new test images of the 1,000 classes, without boxes",
            holds="the folders imagenetv2-SPLIT-format-val, or the classes of one split",
            split="matched-frequency",
            accuracy_split="matched-frequency",
            model="inception_v3",
        ),
        "imagenet-a": DatasetSpec(
            Lazy("attnlab.data.imagenet_variants:imagenet_a"),
            "ImageNet-A: photographs of 200 of the classes that networks take for others, without boxes",
            holds="a folder per class, n01498041 and so on",
            splits=("test",),
            split="test",
            model="inception_v3",
        ),
        "imagenet-r": DatasetSpec(
            Lazy("attnlab.data.imagenet_variants:imagenet_r"),
            "ImageNet-R: paintings, toys and other renditions of 200 of the classes, without boxes",
            holds="a folder per class, n01443537 and so on",
            splits=("test",),
            split="test",
            model="inception_v3",
        ),
        "imagenet-c": DatasetSpec(
            Lazy("attnlab.data.imagenet_variants:imagenet_c"),
            "ImageNet-C: corrupted validation images, without boxes; --split gaussian_noise/3 and so on",
            holds="folders CORRUPTION/SEVERITY, such as gaussian_noise/3, with a folder per class in each",
            split="gaussian_noise/3",
            accuracy_split="gaussian_noise/3",
            model="inception_v3",
        ),
        "folder": DatasetSpec(
            Lazy("attnlab.data.csv_folder:folder"),
            "your own images, with labels and boxes, or masks, in a boxes.csv",
            holds="images and boxes.csv",
            accuracy_split="val",
            objects=True,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "coco": DatasetSpec(
            Lazy("attnlab.data.coco:coco"),
            "your own images, with boxes and masks in a JSON as COCO, Label Studio, CVAT and Roboflow write it",
            holds="images and a JSON of instances, such as annotations/instances_val2017.json, or is that JSON",
            accuracy_split="val",
            files=(".json",),
            objects=True,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "yolo": DatasetSpec(
            Lazy("attnlab.data.yolo:yolo"),
            "your own images, with boxes or polygons in .txt files as YOLO reads them",
            holds="data.yaml or classes.txt, images and labels, or is that data.yaml",
            accuracy_split="val",
            files=(".yaml", ".yml"),
            objects=True,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "voc": DatasetSpec(
            Lazy("attnlab.data.voc:voc"),
            "PASCAL VOC, and your own images with an XML each as labelImg, CVAT and Roboflow write it",
            holds="JPEGImages, Annotations and ImageSets of VOC, or images with an .xml each",
            accuracy_split="val",
            objects=True,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "webdataset": DatasetSpec(
            Lazy("attnlab.data.webdataset:webdataset"),
            "your own images in .tar files of WebDataset, with labels in .cls or .json, boxes in .json",
            holds=".tar files, or a pattern of them such as 'DIR/{0000..0009}.tar'",
            accuracy_split="val",
            files=ARCHIVES,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "images": DatasetSpec(
            Lazy("attnlab.data.plain_images:images"),
            "your own images alone, without labels or boxes: what the model predicts stands for the label",
            holds="images, in folders or not",
            accuracy_split="val",
            own=True,
        ),
        "class-folders": DatasetSpec(
            Lazy("attnlab.data.class_folders:class_folders"),
            "your own images in a folder per class, as torchvision's ImageFolder reads them, without boxes",
            holds="a folder per class, or a folder per split that holds those",
            accuracy_split="val",
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "mnist": DatasetSpec(
            Lazy("attnlab.data.mnist_cifar:mnist"),
            "MNIST's four IDX files, without boxes",
            holds="the IDX files, such as t10k-images-idx3-ubyte.gz",
            splits=("train", "test"),
            split="test",
            budget=Budget(0.3, 0.01, 40),
            plans=Lazy("attnlab.training.recipes:MNIST"),
        ),
        "cifar10": DatasetSpec(
            Lazy("attnlab.data.mnist_cifar:cifar10"),
            "CIFAR-10 in its binary or Python files, without boxes",
            holds="cifar-10-batches-bin or cifar-10-batches-py",
            splits=("train", "test"),
            split="test",
            budget=Budget(8 / 255, 2 / 255, 10),
            plans=Lazy("attnlab.training.recipes:CIFAR10"),
        ),
        "cifar100": DatasetSpec(
            Lazy("attnlab.data.mnist_cifar:cifar100"),
            "CIFAR-100 with its 100 fine labels, in its binary or Python files, without boxes",
            holds="cifar-100-binary or cifar-100-python",
            splits=("train", "test"),
            split="test",
            budget=Budget(8 / 255, 2 / 255, 10),
            plans=Lazy("attnlab.training.recipes:CIFAR10"),
        ),
        "svhn": DatasetSpec(
            Lazy("attnlab.data.svhn:svhn"),
            "SVHN's cropped digits in their .mat files, without boxes",
            holds="train_32x32.mat, test_32x32.mat or extra_32x32.mat",
            splits=("train", "test", "extra"),
            split="test",
            budget=Budget(8 / 255, 2 / 255, 10),
        ),
        "hf:NAME": DatasetSpec(
            Lazy("attnlab.data.hf_datasets:hf"),
            "a data set of Hugging Face's hub, or a folder of one: hf:NAME[:CONFIG][@SPLIT], with labels or boxes",
            split="validation",
            objects=True,
            own=True,
            plans=Lazy("attnlab.training.recipes:IMAGENET"),
        ),
        "cub": DatasetSpec(
            Lazy("attnlab.data.cub:cub"),
            "CUB-200-2011: birds of 200 species, with boxes, and masks where the segmentations are there",
            holds="CUB_200_2011, with images.txt and the other tables, and segmentations",
            splits=("train", "test"),
            split="test",
        ),
    },
)

#: how images reach the model's size: (height and width of the image, of the model) -> those to resize to before the
#: centre is cut out
RESIZINGS: Registry[Callable[[Size, Size], Size]] = Registry(
    "--resize",
    {"squash": Lazy("attnlab.data.placing:squash"), "crop": Lazy("attnlab.data.placing:crop")},
)


def load_dataset(
    name: str, root: Root | str | None = None, split: str | None = None, label: str | None = None
) -> "ImageSet":
    """Open a split of a data set.

    Args:
        name: A name in DATASETS.
        root: Folder that holds its files, an archive or a URL of it (`attnlab.stores`); `scenes` needs none.
        split: Such as `train`, `val`, `test`; by default the one that is analysed.
        label: A name in LABEL_RULES: which objects of an image are a sample (`attnlab.data.objects.file_set`); for data
            sets whose images may show several alone.

    Raises:
        UserError: If a name or the split is unknown, files are missing, or two images share an id.
    """
    from attnlab.data.base import check_unique, no_collection

    spec = DATASETS.expect(name)
    if spec.holds and root is None:
        raise UserError(f"data set {name!r} needs --root DIR, the folder that holds {spec.holds}")
    if name not in DATASETS and root is not None:
        raise UserError(f"expected no --root with --data {name}, got {root}; a folder may stand behind the colon")
    named = parse_root(root) if isinstance(root, str) else root
    folder = Path() if named is None else named if spec.reads(named) else open_root(named) if spec.holds else Path()
    split = spec.split if split is None else split
    if spec.splits:
        check_one_of(split, spec.splits, "--split")
    check_label(name, label)
    with no_collection():
        images = spec.open(folder, split, label) if spec.objects else spec.open(folder, split)
    check_unique(images.image_ids, name)
    return images


def check_label(name: str, label: str | None) -> None:
    """Check a rule of LABEL_RULES, or None, for a data set, each of whose images may show one class alone."""
    if label is not None and not DATASETS[name].objects:
        having = ", ".join(known for known, spec in DATASETS.items() if spec.objects)
        raise UserError(f"expected --label with images of several objects ({having}), got --data {name}")
    if label is not None:
        check_one_of(label, LABEL_RULES, "--label")


def split_names() -> list[str]:
    """Every name that is known of a split."""
    return list(dict.fromkeys(split for spec in DATASETS.values() for split in (*spec.splits, spec.split)))
