"""A run as a data set of FiftyOne: images in groups of a clean one and its attacked counterparts."""

import shlex
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import UserError
from attnlab.exports.pictures import picture_of, places, write_pictures
from attnlab.exports.views import CLEAN, ClassNames, Record, Truth, View, has_labels, truth_of, views_of
from attnlab.exports.write import Export
from attnlab.report.description import class_names
from attnlab.words import counted

if TYPE_CHECKING:
    import fiftyone as fo

GROUPS = "views"  # field of the group of an image and its counterparts; `group` is the attack's outcome
SOURCE = "attnlab"  # key of what the data set is of, in its info


def fiftyone(export: Export) -> list[str]:
    """Make the data set, in place of one that the same run was exported to; it is there whole or not at all."""
    import fiftyone as fo
    from fiftyone.core.config import FiftyOneConfigError
    from fiftyone.core.service import ServiceException

    name = export.config.name or export.run.folder.resolve().name
    try:
        _check_name(name, export)
    except (FiftyOneConfigError, ServiceException) as error:
        raise UserError(f"FiftyOne's database does not start: {' '.join(str(error).split())}") from None
    shown = write_pictures(export)
    made = fo.Dataset(f"{name} {token_hex(4)}")
    try:
        made.add_group_field(GROUPS, default="clean")
        made.info[SOURCE] = {"run": str(export.run.folder.resolve()), "identity": export.identity}
        made.save()
        count = len(made.add_samples(_samples(export, shown), progress=False))
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
        made.name = name
        made.persistent = True
    except BaseException:
        made.delete()
        raise
    command = shlex.join(["fiftyone", "app", "launch", name])
    return [f"{name}: {counted(count, 'sample')} of {counted(len(shown), 'image')}; open it with: {command}"]


def _check_name(name: str, export: Export) -> None:
    """Refuse a name that FiftyOne does not take, and that of a data set which is of something else."""
    import fiftyone as fo

    if not fo.dataset_exists(name):
        try:
            fo.Dataset(name).delete()
        except ValueError as error:
            raise UserError(f"{' '.join(str(error).split())}; choose another --name") from None
    elif (fo.load_dataset(name).info.get(SOURCE) or {}).get("identity") != export.identity:
        raise UserError(
            f"FiftyOne has a data set {name!r} that is no export of {export.run.folder} by this version; choose "
            "another --name"
        )


def _samples(export: Export, shown: set[str]) -> "Iterator[fo.Sample]":
    """Of each image whose pictures are there a group of samples."""
    import fiftyone as fo

    manifest, names = export.manifest, ClassNames(class_names(export.manifest))
    where = places(export.out.resolve(), manifest["options"])
    for record in export.rows():
        if record["image_id"] not in shown:
            continue
        group = fo.Group()
        truth = truth_of(record, manifest["model"]["input_size"])
        for place, view in zip(where, views_of(record, manifest), strict=True):
            path = picture_of(place, record["image_id"])
            fields = _fields(record, view, truth, manifest, names)
            yield fo.Sample(filepath=str(path), **{GROUPS: group.element(slice_of(view))}, **fields)


def slice_of(view: View) -> str:
    """Name of the slice of a group in which a view stands; without dots, which MongoDB does not take there."""
    return view.name.replace(".", "_")


def _fields(
    record: Record, view: View, truth: list[Truth], manifest: Mapping[str, Any], names: ClassNames
) -> dict[str, Any]:
    """The fields of a sample beside its file and its group."""
    import fiftyone as fo

    label, prediction = names[record["label"]], names[view.prediction]
    # records hold the probability of the label, which is that of the prediction where they agree
    known = view.label_confidence if view.prediction == record["label"] else None
    detections = [fo.Detection(label=label, **cut_out(one, manifest["model"]["input_size"])) for one in truth]
    fields = {
        "tags": [CLEAN if view.clean else "adversarial" if view.eps is not None else "corrupted"],
        "image_id": record["image_id"],
        "label": fo.Classification(label=label) if has_labels(manifest) else None,
        "label_confidence": view.label_confidence,
        "prediction": fo.Classification(label=prediction, confidence=known),
        "ground_truth": fo.Detections(detections=detections),
        "eps": view.eps,
        "iou": view.iou,
        "group": view.group or None,
    }
    if view.map is not None:
        # negative values show nothing, as in figures
        positive = np.nan_to_num(view.map).clip(0).astype(np.float32)
        fields["map"] = fo.Heatmap(map=positive, range=[0.0, float(positive.max()) or 1.0])
    return fields


def cut_out(truth: Truth, size: tuple[int, int]) -> dict[str, Any]:
    """A ground truth as FiftyOne has it: box x, y, width, height in shares of the image, mask cut to the box."""
    height, width = size
    x0, y0, x1, y1 = truth.box
    box = {"bounding_box": [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]}
    if truth.mask is None:
        return box
    return {**box, "mask": truth.mask[int(y0) : int(y1), int(x0) : int(x1)]}
