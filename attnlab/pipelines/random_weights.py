"""What becomes of the maps of a run's methods under random weights, written to sanity.csv."""

from collections.abc import Mapping, Sequence
from itertools import islice

import torch

from attnlab.arrays import Maps
from attnlab.attention.masked_inference import in_batches
from attnlab.attention.several import Maker
from attnlab.config import AnalyzeConfig
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, Sample, collate
from attnlab.failures import naming
from attnlab.files import write_whole
from attnlab.hooks import frozen_eval
from attnlab.measures.sanity import randomisation
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import checked_inputs
from attnlab.records import SANITY, SANITY_COLUMNS, as_csv, read_sanity
from attnlab.runs import Run

SAMPLE = 16  # images whose maps are compared, the first that can be used
TRIED = 64  # images that are read at most to find them


def write_sanity(
    run: Run, classifier: Classifier, config: AnalyzeConfig, images: ImageSet, positions: Sequence[int]
) -> None:
    """Compare the maps of the run's methods under trained and under random weights, and write sanity.csv.

    All explain the classes that they explain under trained weights. A run that has the file, undamaged, keeps it.
    """
    if read_sanity(run.folder) is not None:
        return
    prepared = ResizedDataset(images, classifier.input_size, config.data.resize)
    items = (item for item in map(prepared.__getitem__, positions[:TRIED]) if isinstance(item, Sample))
    batch = collate(list(islice(items, SAMPLE)))
    if not batch.positions:
        return
    pixels, labels, seeds = checked_inputs(classifier, batch, config.run.seed)
    with frozen_eval(classifier), torch.no_grad():
        classes = {"true": labels, "predicted": classifier(pixels).argmax(1)}
    batch_size = config.run.batch_size or SAMPLE

    def maps_of(model: Classifier, part: slice) -> dict[str, Maps]:
        maps: dict[str, Maps] = {}
        for target in dict.fromkeys(config.targets.values()):
            own = {name: "true" for name, wanted in config.targets.items() if wanted == target}
            maker = Maker(model, own, config.map_batch_size or SAMPLE)
            maps |= maker.finish(maker.look(pixels[part], classes[target][part], seeds[part], cut=True))
        return maps

    def explain(model: Classifier) -> Mapping[str, Maps]:
        parts, _ = in_batches(lambda part: maps_of(model, part), len(pixels), batch_size)
        return {name: torch.cat([maps[name] for maps in parts]) for name in parts[0]}

    with naming("images, some of them under random weights", batch.image_ids):
        found = randomisation(classifier, explain, config.run.seed)
    rows = [
        [stage.method, stage.order, stage.stage, " ".join(layer or "." for layer in stage.layers), *stage[4:]]
        for stage in found
    ]
    import pandas as pd  # which no run waits for

    write_whole(run.folder / SANITY, as_csv(pd.DataFrame(rows, columns=SANITY_COLUMNS)).encode())
