"""Columns of a leaderboard: what numbers mean, and what each run has of them, image by image."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from attnlab.attacks import Attack
from attnlab.manifests import map_methods
from attnlab.measures import MEASURES
from attnlab.recorded_attacks import norm_of, where_of
from attnlab.records import at_eps
from attnlab.report.description import cells_of, data_of, holds_prediction, models_of, predicted_labels
from attnlab.report.figures.curves import compared_cells
from attnlab.report.tables.iou import i_att
from attnlab.report.tables.sources import records_of_models
from attnlab.runs import Run
from attnlab.study.images import column_of, numbers_of
from attnlab.study.inputs import Manifest
from attnlab.words import as_fraction

#: groups of columns -> what they are
GROUPS = {
    "accuracy": "Accuracy in percent, of all images; under attack at its last point",
    "object": "Attention and object, of the images that each model classifies correctly",
    "deviation": "How far attention moves between clean and attacked image, of the images that each model classifies "
    "correctly; deviation: 1 - IoU of the highest cells, ten or as many as Table 3 has",
    "faithfulness": "What the maps say of the model, of the images that it classifies correctly",
}
CLEAN, IOU, DEVIATION = "clean", "iou", "deviation"
PERCENT = 100.0
#: settings of an attack that decide nothing where it is not on maps
OF_MAPS = ("method", "keep", "softplus")
About = tuple[tuple[str, str], ...]
Found = Iterator[tuple[str, "Column", "pd.Series[float]"]]


@dataclass(frozen=True)
class Column:
    """What numbers are of.

    Attributes:
        group: A key of GROUPS.
        measure: Its name; empty of accuracy under attack.
        threat: The attack with its budget; empty of clean images.
        about: All else that decides what the numbers mean, each with its name.
    """

    group: str
    measure: str
    threat: str
    about: About

    @property
    def name(self) -> str:
        """The shortest name; where several columns have the same, `names_of` adds what differs."""
        return f"{self.measure} {self.threat}".strip()

    @property
    def lower(self) -> bool:
        """Whether lower values are better."""
        return self.measure == DEVIATION or (self.measure in MEASURES and MEASURES[self.measure].better == "lower")


def found_in(run: Run, manifest: Manifest, method: str) -> Found:
    """Of a run the title of a model, a column, and the value of each image by its name.

    Args:
        run: Of `analyze` or `evaluate`.
        manifest: Its manifest, with names.
        method: Whose maps are looked at, if the run has them.
    """
    yield from _of_evaluation(run, manifest) if manifest["kind"] == "evaluate" else _of_analysis(run, manifest, method)


def attacks_of(manifest: Manifest) -> Mapping[str, Mapping[str, Any] | None]:
    """A run's attacks by their names, None for the clean image."""
    options = manifest["options"]
    one = {options["attack_name"]: options["attack"]} if manifest["kind"] == "analyze" else options["attacks"]
    return dict(one)


def settings_of(manifest: Manifest) -> About:
    """What a run's numbers depend on beside the attack."""
    options = manifest["options"]
    return (
        ("data", data_of(options)),
        ("images", str(manifest["data"].get("sha256", ""))[:8]),
        ("resize", str(options.get("resize", "squash"))),
        ("precision", str(options.get("precision", "fp32"))),
    )


def _threat(name: str, settings: Mapping[str, Any], eps: float | None, manifest: Manifest) -> tuple[str, About]:
    """An attack as a column is called by it, and its settings; those that older runs do not state are the default."""
    options = manifest["options"]
    budget = "none" if eps is None else f"{eps:.9g}"
    known = {**(asdict(Attack()) if "objective" in settings else {}), **settings, "eps": budget}
    dropped = OF_MAPS if "objective" in settings and not known["distance"] else ()
    more = {"made on": options.get("transfer"), "saved": options.get("saved"), "stop": options.get("stop")}
    about = {name: value for name, value in (known | more).items() if name not in dropped}
    norm = about.setdefault("norm", norm_of(about))
    words = [name, where_of(known), "" if eps is None else as_fraction(eps)]
    words.append("" if norm == "linf" else str(norm).upper())
    words.append(f"made on {options['transfer']}" if options.get("transfer") else "")
    said = {key: "yes" if value is True else str(value or "no") for key, value in sorted(about.items())}
    return " ".join(filter(None, words)), tuple((key.replace("_", " "), value) for key, value in said.items())


def _correct(records: pd.DataFrame, prediction: str) -> "pd.Series[float]":
    right = (records[prediction] == records["label"]).to_numpy() * PERCENT
    return pd.Series(right, records["image_id"].astype(str))


def _of_evaluation(run: Run, manifest: Manifest) -> Found:
    """Title of a model, column and values: accuracy, clean and under each attack."""
    data, attacks = settings_of(manifest), attacks_of(manifest)
    if predicted_labels(manifest):
        return
    records = records_of_models(run, manifest["options"]["models"])
    models: Any = records.groupby("model", sort=False, observed=True)
    for title, of_model in models:
        yield (
            title,
            Column("accuracy", CLEAN, "", data),
            _correct(of_model.drop_duplicates("image_id"), "clean_prediction"),
        )
        for attack, rows in of_model.groupby("attack", sort=False, observed=True):
            settings = attacks[str(attack)]
            if settings and not holds_prediction(settings):
                threat, about = _threat(str(attack), settings, settings.get("eps"), manifest)
                yield title, Column("accuracy", "", threat, data + about), _correct(rows, "prediction")


def _of_analysis(run: Run, manifest: Manifest, method: str) -> Found:
    """Likewise: accuracy of all images, and of I_att what the maps of a method measure."""
    options, has_boxes, data = manifest["options"], manifest["data"]["has_boxes"], settings_of(manifest)
    mapped = method in map_methods(manifest)
    records = numbers_of(run, manifest, method=method if mapped else None)
    (title,), ((name, settings),) = models_of(options), attacks_of(manifest).items()
    labelled = not predicted_labels(manifest)
    if labelled:
        yield title, Column("accuracy", CLEAN, "", data), _correct(records.drop_duplicates("image_id"), "prediction")
    of_maps = (*data, ("method", method), ("class", options["target"][method])) if mapped else ()
    for eps in options["eps"]:
        threat, about = _threat(name, settings or {}, eps, manifest)
        rows = at_eps(records, eps)
        if labelled and not holds_prediction(settings or {}):
            yield title, Column("accuracy", "", threat, data + about), _correct(rows, "adv_prediction")
        if mapped:
            images = i_att(rows, has_boxes)
            for column, values in _of_maps(images.set_index("image_id"), manifest, threat, (of_maps, about)):
                if len(values):
                    yield title, column, values


def _of_maps(
    images: pd.DataFrame, manifest: Manifest, threat: str, about: tuple[About, About]
) -> Iterator[tuple[Column, "pd.Series[float]"]]:
    """What is measured of maps: clean and attacked, and of both together, which depends on the grid."""
    clean, attacked = about[0], about[0] + about[1]
    grid = (*attacked, ("grid", cells_of(manifest["model"])))
    options, cells = manifest["options"], compared_cells(manifest)
    alone = {IOU: ("object", "iou_att_gt")}
    for name in options.get("measures", ()):
        measure = MEASURES[name]
        if measure.values == 1 and (name == "pointing" or measure.family == "faithfulness"):
            alone[name] = (measure.family, column_of(name))
    for name, (group, column) in alone.items():
        yield Column(group, name, "", clean), images[column].astype(float).dropna()
        yield Column(group, name, threat, attacked), images[f"adv_{column}"].astype(float).dropna()
    moved = 1 - images["iou_ori_adv"].astype(float).dropna()
    yield Column("deviation", DEVIATION, threat, (*grid, ("cells", str(cells)))), moved
    for name in options.get("pair_measures", ()):
        yield Column("deviation", name, threat, grid), images[column_of(name)].astype(float).dropna()
