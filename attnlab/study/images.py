"""The table of images: what a run's records say of each image of I_att, at each eps, by each method that maps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnlab.boxes import ground_truth
from attnlab.manifests import map_methods
from attnlab.records import with_measures
from attnlab.report.figures.curves import compared_cells
from attnlab.report.tables import FEATURES, LOW_IOU
from attnlab.report.tables.controls import blind_ious, from_the_centre
from attnlab.report.tables.iou import cell_ious, i_att
from attnlab.report.tables.lime import measure_explanations
from attnlab.report.tables.sources import numbers
from attnlab.runs import Run

#: column -> what it holds; behind these stand the measures that the run took, `-` written `_`, `adv_` before those of
#: the attacked map
COLUMNS = {
    "run": "folder of the run",
    "model": "the model",
    "attack": "the attack",
    "eps": "its budget, as a share of the pixels' range",
    "method": "attention method",
    "image_id": "the image",
    "label": "its class",
    "prediction": "of the clean image",
    "adv_prediction": "of the attacked image",
    "defended": "1 of a model that was trained with a defence, 0 of another; empty where the run does not say",
    "succeed": "1 where the attack changes the prediction, a targeted one to its target, else 0",
    "confidence": "softmax probability of the label",
    "log_odds": "log(p / (1 - p)) of that probability p, 1 - p being at least 2^-25",
    "margin": "logit of the label less the highest of the others; empty where the run does not record it",
    "adv_confidence": "softmax probability of the label, attacked image",
    "iou_att_gt": "IoU of attention and ground truth; of lime that of Table 4",
    "adv_iou_att_gt": "the same, attacked image",
    "low_iou": f"1 where iou_att_gt is below {LOW_IOU}, else 0",
    "less_centred": "iou_att_gt less that of a centred frame as large as the ground truth",
    "iou_ori_adv": "IoU of the highest cells of the clean and the attacked map; of lime that of Table 5",
    "box_area": "share of the image that the ground truth takes",
    "box_x": "its centre of mass across, 0 to 1",
    "box_y": "its centre of mass down, 0 to 1",
    "box_offset": "distance of that from the image's centre, as a share of half its diagonal",
    "box_count": "number of boxes",
}
LISTS = ("measures", "adv_measures", "pair_measures")  # columns of records that hold several measures each
#: table of LIME's areas -> column that holds its IoUs
OF_LIME = {"table4": "iou_att_gt", "table4_adversarial": "adv_iou_att_gt", "table5": "iou_ori_adv"}
#: column of records that holds measures -> column and field that hold those of LIME
MEASURED = {
    "measures": ("lime", "measures"),
    "adv_measures": ("adv_lime", "measures"),
    "pair_measures": ("adv_lime", "pair_measures"),
}
LIME = "lime"
AREA = "lime:"  # before the names of columns that are of LIME's areas
GEOMETRY = ("box_area", "box_x", "box_y", "box_offset", "box_count", "centred")


def table_of_images(
    run: Run, manifest: Mapping[str, Any], cells: int | None = None, features: int | None = None
) -> pd.DataFrame:
    """A row for each image of I_att, eps and method, with the columns from `succeed` on that are of one run.

    LIME's areas are those of Tables 4 and 5: an image whose areas are both empty has no IoU.

    Args:
        run: Of `analyze`.
        manifest: Its manifest.
        cells: Of the areas that clean and attacked map are compared by; by default at most ten, see `compared_cells`.
        features: Superpixels of LIME's areas; by default 8.
    """
    has_boxes = manifest["data"]["has_boxes"]
    height, width = manifest["model"]["input_size"]
    known: dict[str, tuple[float, ...]] = {}

    def objects(images: pd.DataFrame) -> pd.DataFrame:
        return geometry(images, (height, width), known)

    def explanations(images: pd.DataFrame) -> pd.DataFrame:
        return _explanations(images, (height, width), features or FEATURES[0], manifest["options"])

    explained = LIME in manifest["options"]["methods"]
    more = [*([objects] if has_boxes else []), *([explanations] if explained else [])]
    records = numbers_of(run, manifest, cells, more=more)
    images = i_att(records, has_boxes).reset_index(drop=True)
    methods = map_methods(manifest)
    if "method" not in images:
        images["method"] = methods[0] if methods else LIME
    if explained:
        images = _with_lime(images, methods)
    images["succeed"] = (images["group"] == "succeed").astype(np.int8)
    images["log_odds"] = log_odds(images["confidence"].to_numpy(float))
    for name in COLUMNS:
        if name not in images and name not in ("run", "model", "attack", "defended"):
            images[name] = np.nan
    if has_boxes:
        images["low_iou"] = (images["iou_att_gt"] < LOW_IOU).where(images["iou_att_gt"].notna()).astype(float)
        # the ground truth of a LIME area is scaled to its size, that of the centred frame is not
        images["less_centred"] = (images["iou_att_gt"] - images["centred"]).where(images["method"] != LIME)
    left = ["group", "centred", "has_map", "has_lime", "has_mask", "dropped_boxes", "box_share", *LISTS]
    return images.drop(columns=left, errors="ignore")


def _explanations(images: pd.DataFrame, size: tuple[int, int], count: int, options: Mapping[str, Any]) -> pd.DataFrame:
    """What the table has of LIME's areas of `count` superpixels, each column with AREA before its name."""
    ious = measure_explanations(images, size, [count])
    found = pd.DataFrame({name: ious[f"{table}_{count}"] for table, name in OF_LIME.items()})
    lists: dict[str, Any] = {
        column: [None if one is None else one[name] for one in images[explained]]
        for column, (explained, name) in MEASURED.items()
    }
    measures = _measures(images[["image_id"]].assign(**lists), options)
    return pd.concat([found, measures], axis=1).add_prefix(AREA)


def _with_lime(images: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The rows of the methods that map, and behind them one for each LIME explanation."""
    areas = {name: name.removeprefix(AREA) for name in map(str, images) if name.startswith(AREA)}
    first = images["method"] == (methods[0] if methods else LIME)  # its rows hold the explanations
    rows = images[first & images["has_lime"]].assign(method=LIME)
    rows = rows.drop(columns=[name for name in areas.values() if name in rows]).rename(columns=areas)
    return pd.concat([images.drop(columns=[*areas]) if methods else images.iloc[:0, :0], rows], ignore_index=True)


def numbers_of(
    run: Run,
    manifest: Mapping[str, Any],
    cells: int | None = None,
    method: str | None = None,
    more: Sequence[Callable[[pd.DataFrame], pd.DataFrame]] = (),
) -> pd.DataFrame:
    """What `numbers` gives, with `iou_ori_adv` and the measures of each image of I_att; of all methods, or of one.

    Arguments as of `table_of_images`; `more` as the `measures` of `numbers`.
    """
    count = cells or compared_cells(manifest)

    def overlaps(images: pd.DataFrame) -> pd.DataFrame:
        return cell_ious(images, [count]).rename(columns={f"table3_{count}": "iou_ori_adv"})

    def measures(images: pd.DataFrame) -> pd.DataFrame:
        return _measures(images, manifest["options"])

    return numbers(run, manifest["data"]["has_boxes"], [overlaps, measures, *more], method)


def _measures(images: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
    """A column for each measure of one number in the records' lists."""
    taken = with_measures(images, options).drop(columns=images.columns, errors="ignore")
    scalars = taken.select_dtypes("number")
    return scalars.rename(columns={name: column_of(name) for name in map(str, scalars)})


def column_of(measure: str) -> str:
    """A measure's name as a formula can have it."""
    return measure.replace("-", "_")


def log_odds(confidence: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities, which float32 rounds to 1 from 1 - 2^-25 on."""
    rest = np.maximum(1 - confidence, 2.0**-25)
    return np.asarray(np.log(np.maximum(confidence, 2.0**-126) / rest))


def geometry(images: pd.DataFrame, size: tuple[int, int], known: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Size, place and number of the objects of each image, and the IoU of a centred frame as large with them.

    Args:
        images: Of I_att, with boxes and masks.
        size: Height and width of the images in pixels.
        known: Numbers by the images' names; those of others join them.
    """
    outwards = from_the_centre(size)
    once = images[["image_id", "boxes", "mask"]].drop_duplicates("image_id")
    for record in once[~once["image_id"].isin(known)].to_dict("records"):
        known[record["image_id"]] = _of_object(record, size, outwards)
    rows = [known[image_id] for image_id in images["image_id"]]
    return pd.DataFrame(rows, images.index, columns=[*GEOMETRY], dtype=float)


def _of_object(record: Mapping[Any, Any], size: tuple[int, int], outwards: np.ndarray) -> tuple[float, ...]:
    mask = ground_truth(record, *size)
    down, across = mask.sum(1), mask.sum(0)
    pixels = int(down.sum())
    if not pixels:  # a box thinner than half a pixel
        return (0.0, *[np.nan] * 3, float(len(record["boxes"])), np.nan)
    y, x = ((np.arange(len(line)) + 0.5) @ line / pixels / len(line) for line in (down, across))
    height, width = size
    offset = np.hypot((y - 0.5) * height, (x - 0.5) * width) / (np.hypot(height, width) / 2)
    count = max(1, len(record["boxes"]))
    return pixels / mask.size, float(x), float(y), float(offset), float(count), blind_ious(mask, outwards)[0]


def ordered(frame: pd.DataFrame) -> Sequence[str]:
    """The frame's columns in the order of the table of images, measures last."""
    return [*(name for name in COLUMNS if name in frame), *(name for name in map(str, frame) if name not in COLUMNS)]
