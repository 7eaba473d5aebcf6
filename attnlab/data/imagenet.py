"""ILSVRC-2012 as it lies on a disk: validation images with labels and boxes, training images with labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from attnlab.data.base import Anywhere, Entry, FileSet, as_id, list_images
from attnlab.data.class_folders import images_by_class, labelled, short_ids
from attnlab.data.text import read_rows, read_text
from attnlab.data.voc_xml import finite, read_annotation
from attnlab.errors import Unusable, UserError
from attnlab.stores import StorePath, each

BOXES_CSV = "LOC_val_solution.csv"
SYNSETS = "LOC_synset_mapping.txt"
TRAIN_FOLDERS = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
IMAGE_FOLDERS = ("val", "images", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", ".")
BOX_CORNERS = "0-based inclusive, read as x0, y0, x1 + 1, y1 + 1"  # how the annotations give a box, as a run records it
#: wnid, boxes (half-open pixels), and the height and width they refer to (None: the image's own)
Annotation = tuple[str, list[list[float]], tuple[int, int] | None]


def imagenet(root: Anywhere, split: str) -> FileSet:
    """Open the validation split with boxes, or the training split, whose images lie in class folders, without.

    Validation images lie flat or in class folders, in the root or in one of its usual subfolders. Boxes come from
    LOC_val_solution.csv or from XML files anywhere below the root. The label is the class's place among the sorted
    wnids, which LOC_synset_mapping.txt lists (or, without it, the annotations of all 50,000 images). Without any
    annotation, class folders alone give the labels, as in training. Boxes refer to the pixels as they are stored:
    EXIF orientation is not applied.
    """
    if split == "train":
        return _class_folders(root, next((root / name for name in TRAIN_FOLDERS if (root / name).is_dir()), None))
    boxes_csv = _beside(root, BOXES_CSV)
    xml_files = [] if boxes_csv else _xml_files(root)
    if not (boxes_csv or xml_files):
        folders = (root / name for name in IMAGE_FOLDERS[:-1])
        holding = next((path for path in folders if any(image.parent != path for image in list_images(path))), None)
        if holding is None:
            raise UserError(f"no boxes below {root}; expected {BOXES_CSV} or ILSVRC2012_val_*.xml")
        return _class_folders(root, holding)
    stems = [path.stem for path in xml_files]
    annotations = dict(_from_csv(boxes_csv) if boxes_csv else zip(stems, each(_from_xml, xml_files), strict=True))
    wnids, names = _listed(root) or _numbered(root, annotations)
    folder = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir() and list_images(root / name)), None)
    if folder is None:
        raise UserError(f"no images below {root}; expected ILSVRC2012_val_*.JPEG there or in {root / 'val'}")
    paths = sorted(list_images(folder), key=lambda path: path.stem)
    return FileSet(
        name="imagenet",
        classes=names,
        image_ids=short_ids([as_id(path.relative_to(folder).as_posix()) for path in paths]),
        entries=[
            _entry(path, annotations.get(path.stem) or Unusable("no annotation for this image"), wnids)
            for path in paths
        ],
        box_corners=BOX_CORNERS,
        boxes_from=str(boxes_csv or f"XML files, for want of {BOXES_CSV}"),
    )


def _class_folders(root: Anywhere, folder: Anywhere | None) -> FileSet:
    """Images below FOLDER/WNID; labels as LOC_synset_mapping.txt numbers them, without it the folders' places."""
    if folder is None:
        raise UserError(f"no training images below {root}; expected class folders in {root / 'train'}")
    found = images_by_class(folder)
    wnids, names = _listed(root) or ({wnid: label for label, wnid in enumerate(found)}, list(found))
    unknown = [wnid for wnid in found if wnid not in wnids]
    if unknown:
        raise UserError(f"expected the folders in {folder} to be classes that {SYNSETS} lists, got {unknown[0]}")
    images = labelled("imagenet", folder, found, wnids, names)
    return replace(images, image_ids=short_ids(images.image_ids))


def _entry(path: Path | StorePath, annotation: Annotation | Unusable, wnids: Mapping[str, int]) -> Entry | Unusable:
    if isinstance(annotation, Unusable):
        return annotation
    wnid, boxes, size = annotation
    if wnid not in wnids:
        return Unusable(f"wnid {wnid[:40]} is not among the classes")
    return Entry(path, wnids[wnid], torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), size)


def _numbered(root: Anywhere, annotations: Mapping[str, Annotation | Unusable]) -> tuple[dict[str, int], list[str]]:
    """Class index per wnid, and wnids as class names, of annotations that name them all."""
    wnids = sorted({annotation[0] for annotation in annotations.values() if not isinstance(annotation, Unusable)})
    if len(wnids) != 1000:
        raise UserError(f"cannot number the classes: no {SYNSETS} in {root}, and its boxes name {len(wnids)} of 1000")
    return {wnid: index for index, wnid in enumerate(wnids)}, wnids


def _listed(root: Anywhere) -> tuple[dict[str, int], list[str]] | None:
    """Class index per wnid, and class names, of LOC_synset_mapping.txt, if there is one."""
    mapping = _beside(root, SYNSETS)
    if mapping is None:
        return None
    lines = sorted(line.split(maxsplit=1) for line in read_text(mapping).splitlines() if line.strip())
    # a line may hold the wnid alone
    return {line[0]: index for index, line in enumerate(lines)}, [line[-1].split(",")[0] for line in lines]


def _beside(root: Anywhere, name: str) -> Anywhere | None:
    """A file in the root, beside it, or in the folder that the archive of the images is unpacked to."""
    paths = (root / name, root.parent / name, root / "ILSVRC" / name)
    return next((path for path in paths if path.is_file()), None)


def _xml_files(root: Anywhere) -> list[Anywhere]:
    """The annotations of validation images: those for localisation where detection's are there too."""
    files = sorted(root.rglob("ILSVRC2012_val_*.xml"))
    localisation = [path for path in files if "CLS-LOC" in path.parts]
    files, detection = localisation or files, [path for path in files if "DET" in path.relative_to(root).parts]
    if detection and not localisation:
        raise UserError(
            f"expected annotations for classification and localisation below {root}, got those for detection "
            f"({detection[0].parent}), whose objects are not the images' classes"
        )
    by_image: dict[str, Anywhere] = {}
    for path in files:
        other = by_image.setdefault(path.stem, path)
        if other != path:
            raise UserError(f"expected one annotation for {path.stem}, got {other} and {path}; name the folder of one")
    return files


def _from_csv(path: Path | StorePath) -> Iterator[tuple[str, Annotation | Unusable]]:
    """`ImageId,PredictionString`, the latter groups of `wnid x1 y1 x2 y2`."""
    _, rows = read_rows(path)
    headings = [heading.strip() for heading in next(rows, (0, []))[1]]
    if not {"ImageId", "PredictionString"} <= set(headings):
        got = ",".join(headings)[:80] or "none"
        raise UserError(f"expected the columns ImageId,PredictionString in {path}, got {got}")
    known: set[str] = set()
    for line, row in rows:
        values = dict(zip(headings, row, strict=False))  # a row may end early
        image_id, text = values.get("ImageId", ""), values.get("PredictionString", "")
        if image_id in known:
            raise UserError(f"expected one row for each image in {path}, got a second one of {image_id} in line {line}")
        known.add(image_id)
        words = text.split()
        groups = [words[start : start + 5] for start in range(0, len(words), 5)]
        try:
            boxes = [[finite(word) for word in group[1:]] for group in groups]
            yield image_id, _one_object([group[0] for group in groups], boxes, None)
        except ValueError:
            yield image_id, Unusable(f"malformed boxes {text[:60]!r}")


def _from_xml(path: Path | StorePath) -> Annotation | Unusable:
    """An annotation of PASCAL VOC's layout."""
    said = read_annotation(path)
    return said if isinstance(said, Unusable) else _one_object(said.names, said.boxes, said.size)


def _one_object(names: Sequence[str], boxes: list[list[float]], size: tuple[int, int] | None) -> Annotation | Unusable:
    """The boxes of one class, made half-open; ILSVRC's validation images show objects of one class each.

    ILSVRC's corners are pixels of the object, counted from 0, in the CSV and in the XML alike: no box of the
    validation images reaches their width or height, and many end one pixel before.
    """
    if not names:
        return Unusable("no object in its annotation")
    if any(len(box) != 4 for box in boxes):
        return Unusable(f"a box of {len(boxes[-1])} numbers instead of 4")
    same = [[x0, y0, x1 + 1, y1 + 1] for name, (x0, y0, x1, y1) in zip(names, boxes, strict=True) if name == names[0]]
    return names[0], same, size
