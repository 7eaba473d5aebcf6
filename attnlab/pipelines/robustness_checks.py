"""The checks of the models of a run: suspicious outputs, masked gradients, slips of protocol, written to checks.csv."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from attnlab.attacks import Attack
from attnlab.attacks.autoattack import LEAST_CLASSES
from attnlab.attacks.others import Attacks, OtherAttack
from attnlab.attacks.output_checks import IMAGES, answers_at_random, check_outputs
from attnlab.attacks.sanity_checks import check_accuracies, check_maps, check_model, check_suites
from attnlab.data.base import ImageSet
from attnlab.data.resizing import ResizedDataset, Sample, collate, load_batches
from attnlab.failures import naming
from attnlab.files import write_whole
from attnlab.models.classifier import Classifier
from attnlab.pipelines.checks import checked_inputs
from attnlab.records import CHECKS, CHECKS_COLUMNS, read_checks, read_evaluation, rows_as_csv
from attnlab.runs import Run

TRIED = 32  # images that are read at most to find some that can be used
Found = list[tuple[str, str]]  # name of a model, and what was found


def first_look(
    models: Mapping[str, Classifier], images: ImageSet, positions: Sequence[int], resize: str, gradients: bool = True
) -> Found:
    """Check the outputs of models on the first images that can be used, and warn of what is found.

    `positions` are those of the run's images, `gradients` is as of `check_outputs`.
    """
    found: Found = []
    for name, classifier in models.items():
        prepared = ResizedDataset(images, classifier.input_size, resize)
        items = (item for item in map(prepared.__getitem__, positions[:TRIED]) if isinstance(item, Sample))
        batch = collate(list(islice(items, IMAGES)))
        if batch.positions:
            pixels, labels, _seeds = checked_inputs(classifier, batch, seed=0)
            with naming("images", batch.image_ids):
                found += [(name, sign) for sign in check_outputs(classifier, pixels, labels, gradients=gradients)]
    for name, sign in found:
        warnings.warn(f"{name}: {sign}", stacklevel=2)
    return found


def write_found(folder: Path, found: Found) -> None:
    """Write checks.csv: model, found."""
    write_whole(folder / CHECKS, rows_as_csv(CHECKS_COLUMNS, found).encode())


def write_checks(
    run: Run,
    models: Mapping[str, Classifier],
    images: ImageSet,
    attacks: Attacks,
    positions: Sequence[int],
    resize: str,
    *,
    white_box: bool,
) -> None:
    """Look at each model on the images of these positions and at its records in a finished run, and write checks.csv.

    A run that has the file, undamaged, keeps it. With `white_box` the attacks climb the gradients of the models
    themselves, so that their order means something.
    """
    bounded = [attack for attack in attacks.values() if isinstance(attack, Attack | OtherAttack)]
    if read_checks(run.folder) is not None or not bounded:
        return
    records = read_evaluation(run.folder)
    known = {name: attack for name, attack in attacks.items() if isinstance(attack, Attack)}
    loop = {name: attack for name, attack in known.items() if attack.distance is None}
    on_maps = {name: attack for name, attack in known.items() if attack.distance is not None}
    others = {name: attack for name, attack in attacks.items() if isinstance(attack, OtherAttack)}
    blind = [name for name, attack in others.items() if not attack.uses_gradient]
    least = min(bounded, key=lambda attack: attack.eps)
    found: Found = []
    for name, classifier in models.items():
        prepared = ResizedDataset(images, classifier.input_size, resize)
        (batch,) = load_batches(prepared, [list(positions)], workers=0, warn=False)
        signs = []
        if batch.positions:
            pixels, labels, _seeds = checked_inputs(classifier, batch, seed=0)
            signs += check_model(classifier, pixels, labels, least.eps, least.norm)
            signs += check_suites(others, answers_at_random(classifier, pixels))
        if classifier.classes < LEAST_CLASSES:
            signs += [
                f"{suite} is without APGD-T, which needs {LEAST_CLASSES} classes, and the model has "
                f"{classifier.classes}: its figure is weaker than the suite's"
                for suite, attack in others.items()
                if "apgd-t" in attack.stages
            ]
        own = records[records["model"] == name]
        right = own["prediction"] == own["label"]
        if "target" in own:  # what a targeted attack has not reached, it has not broken
            right = right.where(own["target"].isna(), own["prediction"] != own["target"])
        held = {str(attack): group.to_numpy(bool) for attack, group in right.groupby(own["attack"], sort=False)}
        if white_box and held:
            signs += check_accuracies({attack: loop[attack] for attack in loop if attack in held}, blind, held)
            by_attack = {
                str(attack): group for attack, group in own[own["attack"].isin(list(on_maps))].groupby("attack")
            }
            kept = {
                name: (group["prediction"] == group["clean_prediction"]).to_numpy(bool)
                for name, group in by_attack.items()
            }
            distances = {name: group["distance"].to_numpy(float) for name, group in by_attack.items()}
            signs += check_maps({name: on_maps[name] for name in by_attack}, kept, distances)
        found += [(name, sign) for sign in signs]
    write_found(run.folder, found)
