"""The images of an analysis once more, as its model saw them: records keep maps, but no pixels."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.pgd import perturb
from attnlab.data import TRUTHS
from attnlab.data.resizing import ResizedDataset, Skipped, load_batches
from attnlab.errors import UserError
from attnlab.failures import naming
from attnlab.manifests import check_same
from attnlab.models import load_model
from attnlab.pipelines import hardware
from attnlab.pipelines.checks import checked_inputs, fitted, seen_by
from attnlab.pipelines.provenance import describe_data
from attnlab.pipelines.recorded_inputs import NEEDED, check_code, check_said, recorded_images, recorded_threat
from attnlab.records import Row, rows_of
from attnlab.runs import Run
from attnlab.stores import Root
from attnlab.views import Pixels, ReplayedImage
from attnlab.words import counted

NAMED = 5  # how many images that are gone a warning names


def replay(
    folder: Path | str,
    image_ids: Sequence[str] | None = None,
    *,
    root: Root | str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    trust_code: bool = False,
) -> Iterator[ReplayedImage]:
    """See images of an analysis again, and make their adversarial counterparts as it did.

    Images that cannot be read any more are left out; a warning after the last view names them. Those of a run that an
    older version made are read as it read them, which a warning says.

    Args:
        folder: A run of `analyze`, finished or not.
        image_ids: Which images, in any order; by default all that have a record. Views come in the run's order.
        root: Folder, archive or URL of the data set's files; by default where the run found them.
        device: As for `analyze`; another device than the run's may move the last digits of an adversarial image.
        batch_size: Images a pass.
        trust_code: Run the file that builds the model, if the run's is one of a user's own.

    Raises:
        UserError: If the folder is no analysis, an image has no record, data or model are not what they were, or the
            model is code that is not trusted.
    """
    run = Run(Path(folder))
    manifest = run.manifest
    if manifest["kind"] != "analyze":
        raise UserError(f"expected a run of `attnlab analyze`, got one of `attnlab {manifest['kind']}` in {folder}")
    options = manifest["options"]
    check_said(run.folder, options, ("model", "weights", *NEEDED), "seen again")
    recorded = dict.fromkeys(row["image_id"] for row in rows_of(run, columns=["image_id"]))
    wanted = list(recorded) if image_ids is None else list(dict.fromkeys(image_ids))
    unknown = [image_id for image_id in wanted if image_id not in recorded]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    images, earlier = recorded_images(manifest, root)
    check_code(run.folder, [options["model"]], trusted=trust_code)
    known = manifest["model"]
    classifier = load_model(
        options["model"],
        options["weights"],
        known["layer"],
        mean=known.get("mean"),
        std=known.get("std"),
        channels=known.get("channels"),
        weights_key=options.get("weights_key"),
        trust_code=trust_code,
    ).place(hardware.choose_device(device), options["precision"], options["memory_format"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run has told
        images = seen_by(images, classifier)
        classifier = fitted(classifier, images)
    data = {**describe_data(images, []), "used": manifest["data"]["used"]}
    check_same(Path(folder), manifest, {**manifest, "data": data, "model": classifier.describe()})
    if earlier:
        warnings.warn(f"{folder} was made by an older version: {earlier}", stacklevel=1)  # once, whoever calls
    chosen = set(wanted)
    positions = [position for position, image_id in enumerate(images.image_ids) if image_id in chosen]
    size = batch_size or hardware.batch_size(classifier.device, classifier.input_size)
    batches = [positions[start : start + size] for start in range(0, len(positions), size)]
    attack = recorded_threat(options["attack"])
    truth = options.get("truth", TRUTHS[0])
    prepared = ResizedDataset(images, classifier.input_size, options["resize"], truth, attack.where)
    rows, records = rows_of(run, wanted), dict[str, Row]()
    gone: list[Skipped] = []
    for batch in load_batches(prepared, batches, hardware.workers(images), warn=False):
        gone += batch.skipped
        if not batch.positions:
            continue
        pixels, labels, seeds = checked_inputs(classifier, batch, options.get("seed", 0))
        with naming("images", batch.image_ids):
            attacked = [
                _as_arrays(
                    attack(pixels, seeds)
                    if isinstance(attack, Corruption)
                    else perturb(classifier, pixels, labels, replace(attack, eps=eps), seeds=seeds, truth=batch.masks)
                )
                for eps in options["eps"]
            ]
        for image_id, clean, *adversarial in zip(batch.image_ids, _as_arrays(pixels), *attacked, strict=True):
            while image_id not in records:  # they come in the same order, those of unfinished parts last
                row = next(rows)
                records[row["image_id"]] = row
            yield ReplayedImage(records.pop(image_id), clean, adversarial)
    if gone:
        named = "; ".join(f"{image.image_id} ({image.reason})" for image in gone[:NAMED])
        more = f"; and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
        warnings.warn(
            f"{len(gone)} of {counted(len(wanted), 'image')} of {folder} cannot be read any more and are left out: "
            f"{named}{more}",
            stacklevel=2,
        )


def _as_arrays(images: Tensor) -> list[Pixels]:
    return list(images.permute(0, 2, 3, 1).float().cpu().numpy())
