"""The checks of an evaluation: masked gradients and slips of protocol, written to checks.csv."""

from collections.abc import Mapping, Sequence

import pandas as pd

from attnlab.attacks.checks import check_accuracies, check_model
from attnlab.attacks.pgd import Attack
from attnlab.attacks.suites import BLIND, Suite
from attnlab.data.base import ImageSet
from attnlab.data.geometry import Prepared, load_batches
from attnlab.files import write_whole
from attnlab.models.classifier import Classifier
from attnlab.pipelines.evaluation import Evaluation
from attnlab.records import read_evaluation
from attnlab.runs import Run

FILE = "checks.csv"


def write_checks(
    run: Run,
    models: Mapping[str, Classifier],
    images: ImageSet,
    evaluation: Evaluation,
    positions: Sequence[int],
    *,
    white_box: bool = True,
) -> None:
    """Look at each model on some images and at its records, and write checks.csv: model, found.

    Args:
        run: Finished; one that has the file keeps it.
        models: Name -> classifier.
        images: The images of the run.
        evaluation: What was done.
        positions: Indices of the images to look at the models with.
        white_box: The attacks climb the gradients of the models themselves, so that their order tells something.
    """
    if (run.folder / FILE).exists() or all(attack is None for attack in evaluation.attacks.values()):
        return
    records = read_evaluation(run.folder)
    attacks = {name: attack for name, attack in evaluation.attacks.items() if isinstance(attack, Attack)}
    blind = [
        name for name, attack in evaluation.attacks.items() if isinstance(attack, Suite) and attack.method in BLIND
    ]
    budgets = [attack.eps for attack in evaluation.attacks.values() if attack is not None]
    found = []
    for name, classifier in models.items():
        prepared = Prepared(images, classifier.input_size, evaluation.geometry)
        (batch,) = load_batches(prepared, [list(positions)], workers=0)
        if batch.positions and budgets:
            pixels, labels = batch.tensors(classifier.device)
            found += [(name, told) for told in check_model(classifier, pixels, labels, min(budgets))]
        own = records[records["model"] == name]
        right = own.assign(right=own["prediction"] == own["label"])
        held = {str(attack): group["right"].to_numpy(bool) for attack, group in right.groupby("attack", sort=False)}
        if white_box and held:
            found += [(name, told) for told in check_accuracies(attacks, blind, held)]
    frame = pd.DataFrame(found, columns=["model", "found"])
    write_whole(run.folder / FILE, frame.to_csv(index=False).encode())
