"""Measures of the maps of a batch, put beside the maps that the records hold, see `attnlab.schema`."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlab.arrays import Images, Labels, Maps
from attnlab.attention.map_metrics import resize_maps
from attnlab.attention.pixel_maps import pool_to_grid
from attnlab.attention.several import Maker
from attnlab.config import AnalyzeConfig
from attnlab.data.resizing import Batch
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.kept_maps import grid_of, segments_of
from attnlab.measures import ALL, MEASURES, of_one, of_two
from attnlab.measures.taking import own_measures, pair_measures
from attnlab.models.classifier import Classifier
from attnlab.pipelines.fused_pass import BatchOutput
from attnlab.pipelines.map_columns import Struct, on_grid
from attnlab.words import listed


def chosen_measures(asked: Sequence[str], has_boxes: bool) -> tuple[str, ...]:
    """The measures of those names; of `all` those that the data allow, with a warning that names the others.

    Raises:
        UserError: If one is named that compares maps with boxes, and the data have none.
    """
    names = list(MEASURES) if ALL in asked else list(asked)
    boxless = [] if has_boxes else [name for name in names if MEASURES[name].family == "object"]
    if boxless:
        what = f"{listed(boxless)}, which compare maps with boxes or masks: these data have none"
        if ALL not in asked:
            raise UserError(f"expected --measures that need no boxes, got {what}")
        warnings.warn(f"--measures {ALL} leaves out {what}", stacklevel=2)
    return tuple(name for name in names if name not in boxless)


@dataclass(frozen=True, eq=False)
class BatchMeasures:
    """Takes the measures of a batch's maps.

    Attributes:
        classifier: That the maps explain.
        config: With the names of the measures.
        batch: The images.
        chosen: Numbers of the images to measure: those that the tables use.
        labels: Of the batch, (N,), on the classifier's device.
        seeds: Of each image's random numbers.
    """

    classifier: Classifier
    config: AnalyzeConfig
    batch: Batch
    chosen: Sequence[int]
    labels: Labels
    seeds: Sequence[int]

    def add(self, seen: BatchOutput, columns: Sequence[Sequence[Struct]], clean: BatchOutput | None = None) -> None:
        """Put the measures of each method's maps into its structs, a list for each image; of pairs with `clean`."""
        if not self.config.measures or not self.chosen:
            return
        grid, which = grid_of(self.classifier.map_shape), torch.tensor(self.chosen, device=seen.logits.device)
        for (method, maps), structs in zip(seen.maps.items(), columns, strict=True):
            classes = self.labels if self.config.target_of(method) == "true" else seen.logits.argmax(1)
            chosen, grids = maps[which], on_grid(method, maps[which], grid)
            before = None if clean is None else on_grid(method, clean.maps[method][which], grid)
            images, explain = seen.images[which], self._explain(method)
            found = self._of(chosen, grids, before, images, classes[which], self.chosen, explain=explain)
            for number, values in zip(self.chosen, found, strict=True):
                structs[number].update(values)

    def add_lime(self, explained: Sequence[tuple[Any, Struct]]) -> None:
        """Put the measures of the painted maps of LIME into explanations, each behind its LimeTask; not of reseeded."""
        if not self.config.measures:
            return
        size, grid = self.classifier.input_size, grid_of(self.classifier.map_shape)
        grids: dict[int | None, Maps] = {}
        of_eps: dict[int | None, list[tuple[Any, Struct]]] = {}
        for task, explanation in explained:
            if task.name == "lime":
                of_eps.setdefault(task.eps, []).append((task, explanation))
        for eps in sorted(of_eps, key=lambda eps: -1 if eps is None else eps):  # the clean images first
            tasks, structs = zip(*of_eps[eps], strict=True)
            maps = torch.from_numpy(np.stack([paint(struct, size) for struct in structs])).float()
            maps = maps.to(self.classifier.device)
            grids[eps] = pool_to_grid(maps, grid)
            images, classes = (torch.stack([getattr(task, name) for task in tasks]) for name in ("image", "class_"))
            before = None if eps is None else grids[None]
            found = self._of(maps, grids[eps], before, images, classes, [task.number for task in tasks])
            for struct, values in zip(structs, found, strict=True):
                struct.update(values)

    def _of(
        self,
        maps: Maps,
        grids: Maps,
        before: Maps | None,
        images: Images,
        classes: Labels,
        numbers: Sequence[int],
        **more: Any,
    ) -> list[Struct]:
        """Columns of the images of these numbers."""
        names, batch = self.config.measures, self.batch
        with frozen_eval(self.classifier):
            own = own_measures(
                of_one(names),
                maps,
                self.classifier.input_size,
                grids=grids,
                masks=batch.masks[list(numbers)].to(maps.device),
                boxes=[batch.boxes[number] for number in numbers],
                classifier=self.classifier,
                images=images,
                classes=classes,
                seeds=[self.seeds[number] for number in numbers],
                batch_size=self.config.run.batch_size or len(images),
                **more,
            )
        columns = {"measures": own}
        if before is not None:
            columns["pair_measures"] = pair_measures(of_two(names), before, grids)
        return [
            {column: None if values is None else values[place] for column, values in columns.items()}
            for place in range(len(numbers))
        ]

    def _explain(self, method: str) -> Callable[[Images, Labels, Sequence[int]], Maps]:
        """What makes the method's maps of other images for these classes, at the images' size."""

        def explain(images: Images, classes: Labels, seeds: Sequence[int]) -> Tensor:
            maker = Maker(self.classifier, {method: "true"}, self.config.map_batch_size or len(images))
            look = maker.look(images, classes, seeds, cut=True)
            maps = maker.finish(look)[method]
            return resize_maps(maps, self.classifier.input_size)

        return explain


def paint(explanation: Mapping[str, Any], size: Sequence[int]) -> np.ndarray:
    """The map of a LIME explanation in the records: of each pixel its superpixel's weight, (H, W)."""
    return np.asarray(explanation["weights"], np.float64)[segments_of(explanation, size)]
