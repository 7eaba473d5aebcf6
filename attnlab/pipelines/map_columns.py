"""What records hold of the maps of a batch: a struct for each method and image, see `attnlab.schema.MAP`."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from attnlab.arrays import Areas, Maps
from attnlab.attention import METHODS
from attnlab.attention.map_metrics import map_mask_iou, topk_intersection
from attnlab.attention.pixel_maps import pool_to_grid
from attnlab.kept_maps import pack_map

Struct = dict[str, Any]


def map_columns(
    maps: Mapping[str, Maps],
    masks: Areas,
    grid: tuple[int, int],
    clean: Mapping[str, Maps] | None = None,
    *,
    keep: bool = False,
) -> list[list[Struct]]:
    """For each method a struct for each image.

    Args:
        maps: Of each method, at the attention layer's resolution or the images', as METHODS says.
        masks: Ground truth at the images' resolution, (N, H, W).
        grid: Height and width of the layer's maps in cells.
        clean: Of adversarial images: the clean ones' maps, with which they are compared.
        keep: Keep the maps at the images' resolution themselves.
    """
    columns = []
    for name, values in maps.items():
        cells = on_grid(name, values, grid)
        fields: dict[str, list[Any]] = {
            "values": cells.flatten(1).cpu().numpy().tolist(),
            "iou_att_gt": [None if math.isnan(value) else value for value in map_mask_iou(values, masks).tolist()],
        }
        if keep and METHODS[name].at == "pixels":
            fields["full"] = [pack_map(one) for one in values.cpu().numpy()]
        if clean is not None:
            shared = topk_intersection(on_grid(name, clean[name], grid), cells).tolist()
            fields["shared_cells"] = [None if counts[0] < 0 else counts for counts in shared]
        columns.append([dict(zip(fields, one, strict=True)) for one in zip(*fields.values(), strict=True)])
    return columns


def on_grid(method: str, maps: Maps, grid: tuple[int, int]) -> Tensor:
    """Maps of a method in cells, (N, h, w): as they are, or pooled where they are at the images' resolution."""
    return pool_to_grid(maps, grid) if METHODS[method].at == "pixels" else maps
