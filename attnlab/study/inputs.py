"""The runs of a study: opened, described, and brought to the images that those which are compared share."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnlab.errors import UserError
from attnlab.recorded_attacks import norm_of, where_of
from attnlab.report.description import holds_prediction, models_of, with_names
from attnlab.report.tables.sources import records_of_models
from attnlab.runs import Run
from attnlab.study.images import ordered, table_of_images
from attnlab.words import counted, in_norm

FEWEST = 30  # images that runs must share to be compared
Manifest = Mapping[str, Any]
#: columns of an image that no method has a part in
PASSES = ["image_id", "eps", "label", "prediction", "adv_prediction", "confidence", "margin", "adv_confidence"]


class Inputs(NamedTuple):
    """What a study is made from.

    Attributes:
        images: The table of images of all analyses, see `attnlab.study.images.COLUMNS`; None without any.
        outcomes: Of all evaluations the images that a model classifies correctly, a row for each attack; None without.
        manifests: Of each run, by what it is called.
        notes: What was left out or intersected, in words.
    """

    images: pd.DataFrame | None
    outcomes: pd.DataFrame | None
    manifests: Mapping[str, Manifest]
    notes: list[str]


def read_runs(
    folders: Sequence[Path],
    cells: int | None = None,
    called: Sequence[object] = (),
    defended: Collection[str] = (),
    features: int | None = None,
) -> Inputs:
    """Read the runs of a study.

    Args:
        folders: Of runs of `analyze` or `evaluate`, finished or not.
        cells: Of the areas that clean and attacked map are compared by.
        called: What the runs are called; by default their folders.
        defended: Runs, as they are called, of defended models; the others that do not say are then of undefended ones.
        features: Superpixels of LIME's areas; by default 8.

    Raises:
        UserError: If a folder holds no readable run, one is given twice, or runs share too few images.
    """
    runs, manifests, notes = opened(folders, called)
    analyses, evaluations = _of_kind(manifests, "analyze"), _of_kind(manifests, "evaluate")
    shared = {kind: shared_images({name: runs[name] for name in of_kind}, notes)
              for kind, of_kind in (("analyze", analyses), ("evaluate", evaluations))}  # fmt: skip
    areas = cells, features
    frames = [_images(runs[name], name, manifests[name], areas, notes) for name in analyses]
    images = _of_one_model_together(_joined(frames, shared["analyze"]), manifests, notes)
    outcomes = _joined([_outcomes(runs[name], name, manifests[name]) for name in evaluations], shared["evaluate"])
    if images is None and outcomes is None:
        raise UserError(f"nothing can be told from {', '.join(runs)}: {'; '.join(notes)}")
    if images is not None:
        images["model"] = images["run"].map(_titles({name: manifests[name] for name in images["run"].unique()}))
        if defended:
            said = images["run"].isin([*defended]).astype(float)
            images["defended"] = images["defended"].where(images["defended"].notna(), said)
        images = images[[*ordered(images)]]
        notes += _missing_margins(images)
    return Inputs(images, outcomes, manifests, notes)


def opened(folders: Sequence[Path], called: Sequence[object]) -> tuple[dict[str, Run], dict[str, Manifest], list[str]]:
    """Runs and their manifests by what they are called, by default their folders; a note for each unfinished one.

    Raises:
        UserError: If a folder holds no readable run, or one is given twice.
    """
    names = [str(name) for name in called or folders]
    if double := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise UserError(f"expected each run once, got {double} twice")
    runs = {name: Run(folder) for name, folder in zip(names, folders, strict=True)}
    manifests: dict[str, Manifest] = {name: with_names(run.manifest) for name, run in runs.items()}
    notes = [f"{name} is unfinished: its records so far are used" for name in names if not manifests[name]["finished"]]
    return runs, manifests, notes


def _of_kind(manifests: Mapping[str, Manifest], kind: str) -> list[str]:
    return [name for name, manifest in manifests.items() if manifest["kind"] == kind]


def shared_images(runs: Mapping[str, Run], notes: list[str]) -> set[str]:
    """Names of the images that all runs have records of; a note says of how many, where some have others too.

    Raises:
        UserError: If they are fewer than FEWEST, or an image has another label in another run.
    """
    if len(runs) < 2:
        return set()
    labels = {name: labels_of(run) for name, run in runs.items()}
    common = set.intersection(*map(set, labels.values()))
    counts = ", ".join(f"{name} {len(known)}" for name, known in labels.items())
    if len(common) < FEWEST:
        raise UserError(
            f"expected runs that share at least {FEWEST} images, got {len(common)} (images: {counts}); study runs of "
            "different images by themselves"
        )
    check_labels(labels)
    if any(len(known) > len(common) for known in labels.values()):
        notes.append(f"runs of different images ({counts}): the {len(common)} that all have are compared")
    return common


def check_labels(labels: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse runs, by their names, in which an image has different labels."""
    known: dict[str, tuple[str, int]] = {}
    for name, of_run in labels.items():
        for image, label in of_run.items():
            first, other = known.setdefault(image, (name, label))
            if other != label:
                raise UserError(
                    f"expected one label for each image, got {other} in {first} and {label} in {name} for {image!r}; "
                    "are these runs of the same data?"
                )


def labels_of(run: Run) -> dict[str, int]:
    """Label of each image of a run that was not skipped."""
    known: dict[str, int] = {}
    for part in run.parts(["image_id", "label", "skipped"]):
        frame = part.to_pandas()
        used = frame[frame["skipped"].isna()]
        known.update(zip(used["image_id"], used["label"].astype(int), strict=True))
    return known


def _images(
    run: Run, name: str, manifest: Manifest, areas: tuple[int | None, int | None], notes: list[str]
) -> pd.DataFrame:
    options, defense = manifest["options"], manifest.get("defense")
    frame = table_of_images(run, manifest, *areas)
    if holds_prediction(options["attack"]):
        notes.append(f"{name}: its attack holds predictions, so no claim about its success is looked at")
        frame["succeed"] = np.nan
    if not manifest["data"]["has_boxes"]:
        notes.append(f"{name} has no boxes: claims 1 and 2 cannot be looked at")
    described = {"run": name, "attack": _called(options["attack_name"], options["attack"])}
    return frame.assign(**described, defended=np.nan if defense is None else float(defense != "none"))


def _called(name: str, attack: Mapping[str, Any]) -> str:
    """An attack with its region and norm where they are not the usual ones: `pgd outside (L2)`."""
    return in_norm(" ".join(filter(None, (name, where_of(attack)))), norm_of(attack))


def _outcomes(run: Run, name: str, manifest: Manifest) -> pd.DataFrame:
    """Images that each model classifies correctly, under each attack."""
    models, attacks = manifest["options"]["models"], manifest["options"]["attacks"]
    records = records_of_models(run, models)
    used = records[records["clean_prediction"] == records["label"]].astype(dict.fromkeys(("model", "attack"), str))
    titles = {attack: _called(attack, settings or {}) for attack, settings in attacks.items()}
    budgets = {attack: (settings or {}).get("eps", np.nan) for attack, settings in attacks.items()}
    return pd.DataFrame(
        {
            "run": name,
            "model": used["model"],
            "attack": used["attack"].map(titles),
            "eps": used["attack"].map(budgets),
            "image_id": used["image_id"].astype(str),
            "label": used["label"],
            "prediction": used["clean_prediction"],
            "adv_prediction": used["prediction"],
            "lost": (used["prediction"] != used["label"]).astype(np.int8),
        }
    )


def _titles(analyses: Mapping[str, Manifest]) -> dict[str, str]:
    """What the model of each analysis is called; with its run's name where two are called the same."""
    titles = {name: models_of(manifest["options"])[0] for name, manifest in analyses.items()}
    known = list(titles.values())
    return {name: f"{title} ({Path(name).name})" if known.count(title) > 1 else title for name, title in titles.items()}


def _joined(frames: list[pd.DataFrame], common: set[str]) -> pd.DataFrame | None:
    """Tables of several runs as one, of the images that all have."""
    if not frames:
        return None
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    return pd.concat([frame[frame["image_id"].isin(common)] for frame in frames], ignore_index=True)


def _of_one_model_together(
    images: pd.DataFrame | None, manifests: Mapping[str, Manifest], notes: list[str]
) -> pd.DataFrame | None:
    """Analyses that differ in their methods alone as one run, so that p-values are corrected over all methods.

    They are of one network, layer, attack and data, and the numbers of each image but those of maps are equal to the
    bit. A method that several have is the first one's.
    """
    if images is None:
        return None
    together: dict[str, pd.DataFrame] = {}
    for name, frame in images.groupby("run", sort=False):
        run = str(name)
        for into, first in together.items():
            more = frame[~frame["method"].isin(first["method"])]
            if len(more) and _described(manifests[into]) == _described(manifests[run]) and _same_passes(first, frame):
                together[into] = pd.concat([first, more.assign(run=into)])
                notes.append(f"{into} and {run} differ in their methods alone: they are studied as one run")
                break
        else:
            together[run] = frame
    return pd.concat(together.values(), ignore_index=True)


def _described(manifest: Manifest) -> tuple[object, ...]:
    """What an analysis is of, but for its methods."""
    options = manifest["options"]
    return manifest["model"], manifest["data"], options["attack_name"], options["attack"], options["eps"]


def _same_passes(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two runs have equal numbers, to the bit, of each image clean and attacked."""
    once = [frame.drop_duplicates(["image_id", "eps"])[PASSES].reset_index(drop=True) for frame in (first, second)]
    return once[0].equals(once[1])


def _missing_margins(images: pd.DataFrame) -> list[str]:
    notes = []
    for name, frame in images.groupby("run", sort=False):
        missing = int(frame.drop_duplicates("image_id")["margin"].isna().sum())
        if missing:
            notes.append(
                f"{name}: margin not recorded for {counted(missing, 'image')} (made by an older attnlab); the log-odds "
                "of the label's probability stand in its place"
            )
    return notes
