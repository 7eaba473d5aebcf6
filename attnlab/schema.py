"""The columns of a run's records."""

import pyarrow as pa

from attnlab.manifests import SCHEMA_VERSION

#: a measure of the manifest's `measures` each, a scalar being a list of one; null without any
MEASURED = pa.list_(pa.list_(pa.float64()))

#: a LIME explanation
LIME = pa.struct(
    {
        "class": pa.int32(),
        "samples": pa.int32(),
        "segments": pa.binary(),  # zlib of the superpixel of each pixel, uint16, row by row
        "weights": pa.list_(pa.float64()),  # of each superpixel
        "measures": MEASURED,  # of the map that the weights paint
        "pair_measures": MEASURED,  # of the clean image's and this one
    }
)

#: what a method made of one image
MAP = pa.struct(
    {
        "values": pa.list_(pa.float32()),  # of each cell, row by row: signed; of a method at pixels see `pool_to_grid`
        "iou_att_gt": pa.float64(),  # null: no ground truth or constant map
        "full": pa.binary(),  # of a method at pixels, with --keep-maps: the map itself, see `attnlab.kept_maps`
        "measures": MEASURED,
    }
)

#: the same of an attacked image
ADVERSARIAL_MAP = pa.struct(
    [
        *MAP,
        pa.field("shared_cells", pa.list_(pa.int32())),  # of the k highest of both maps, k = 1 ...; null: constant map
        pa.field("pair_measures", MEASURED),  # of the clean map and this one
    ]
)

#: what an attack of one eps did to one image
ADVERSARIAL = pa.struct(
    {
        "prediction": pa.int32(),
        "confidence": pa.float32(),  # softmax probability of the label
        "maps": pa.list_(ADVERSARIAL_MAP),  # one per method that maps, in the manifest's order
        "lime": LIME,
        "target": pa.int32(),  # class that a targeted attack moved the image to; null: it is untargeted
    }
)

ATTENTION = pa.schema(
    {
        "image_id": pa.string(),
        "skipped": pa.string(),  # the reason; all that follows is null then
        "label": pa.int32(),
        "prediction": pa.int32(),
        "confidence": pa.float32(),  # softmax probability of the label
        "margin": pa.float32(),  # logit of the label less the highest of the others; null in older runs
        "pixels_sha256": pa.binary(),  # of the image at the model's size, (H, W, C) uint8; null in older runs
        "boxes": pa.list_(pa.list_(pa.float32())),  # half-open pixels at the model's size
        "mask": pa.binary(),  # ground truth at the model's size, see `attnlab.boxes.pack`; null: it is the boxes
        "dropped_boxes": pa.int32(),
        "box_share": pa.float32(),  # of the ground truth's area, what the crop left in the frame; null: there is none
        "maps": pa.list_(MAP),  # one per method that maps, in the manifest's order
        "lime": LIME,
        "lime_again": LIME,  # from a second seed
        "adversarial": pa.list_(ADVERSARIAL),  # one per eps, in the manifest's order
    },
    metadata={"attnlab_schema": str(SCHEMA_VERSION)},
)

#: what one attack made of one image
OUTCOME = pa.struct(
    {
        "attack": pa.string(),
        "prediction": pa.int32(),
        "margin": pa.float32(),  # logit of the label less the highest of the others
        "loss": pa.float32(),  # cross-entropy of the label
        "steps_to_success": pa.int32(),  # until the attack succeeded at a point; 0: it had before; null: never
        "distance": pa.float32(),  # of the map from the clean one; null: not of such an attack, or a map shows nothing
        "shared_cells": pa.list_(pa.int32()),  # of both maps; null likewise, or where a map is constant
        "target": pa.int32(),  # class that a targeted attack moved the image to; null: it is untargeted
    }
)

EVALUATION = pa.schema(
    {
        "image_id": pa.string(),
        "skipped": pa.string(),  # the reason; all that follows is null then
        "model": pa.string(),
        "pixels_sha256": pa.binary(),  # of the image at the model's size, (H, W, C) uint8; null in older runs
        "label": pa.int32(),
        "prediction": pa.int32(),  # of the clean image, as margin and loss
        "margin": pa.float32(),
        "loss": pa.float32(),
        "attacks": pa.list_(OUTCOME),  # in the manifest's order
    },
    metadata={"attnlab_schema": str(SCHEMA_VERSION)},
)

SCHEMAS = {"analyze": ATTENTION, "evaluate": EVALUATION}  # kind of run -> schema of its records
FIRST = ("image_id", "skipped", "label", "prediction")  # what every record has had from the first version on
#: column -> those that schemas 1 and 2, whose runs had one method that maps, hold in its place
FORMER_COLUMNS = {"maps": ("map", "iou_att_gt")}
