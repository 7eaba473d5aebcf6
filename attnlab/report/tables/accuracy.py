"""Tables 6 and 7 of the paper: accuracy under attack; records as `read_evaluation` gives them in, a tidy frame out."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import pandas as pd

from attnlab.boxes import iou_of_shared
from attnlab.report.statistics import mcnemar, mean_interval, wilson_interval
from attnlab.report.tables import CELLS, NONE, TABLES, Paper

Models = Mapping[str, Mapping[str, str]]


def table6(
    records: pd.DataFrame, dataset: str, models: Models, paper: Paper | None = None, *, worst: bool = False
) -> pd.DataFrame:
    """Accuracy of each model under each attack, in percent, with Wilson intervals (Table 6).

    `models` has the `defense` of each model, `paper` the published numbers, where they are of this data set. `worst`
    counts an image as lost if any point that was looked at is misclassified, and not the last one alone.
    """
    rows = []
    for model, attack, group in _pairs(records):
        defense = models[model]["defense"]
        correct = group["steps_to_success"].isna() & _correct(group) if worst else _correct(group)
        published = _published6(paper, dataset, defense, attack)
        rows.append((dataset, model, defense, attack, *_accuracy(correct), published))
    return TABLES["table6"].tidy(rows)


def table6_worst(records: pd.DataFrame, dataset: str, models: Models) -> pd.DataFrame:
    """Table 6 with an image lost as soon as any point on the way is misclassified."""
    return table6(records, dataset, models, worst=True)


def table7(records: pd.DataFrame, paper: Paper | None = None) -> pd.DataFrame:
    """Accuracy under each attack of the images that the model classifies correctly, in percent (Table 7).

    `paper` is the published numbers, where the attacks are the paper's.
    """
    published = (paper or {}).get("table7", {})
    rows = []
    for model, attack, group in _pairs(records):
        images = group[group["clean_prediction"] == group["label"]]
        rows.append((model, attack, *_accuracy(_correct(images)), published.get(attack, NONE)))
    return TABLES["table7"].tidy(rows)


def targeted(records: pd.DataFrame, models: Models, attacks: Mapping[str, str]) -> pd.DataFrame:
    """Share of the correctly classified images that each targeted attack makes its target, in percent.

    Args:
        records: With the `target` of each.
        models: As for `table6`.
        attacks: Of each targeted attack the class, in words.

    Returns:
        success at the last point, with its Wilson interval, and any_point, on the way to it.
    """
    rows = []
    for model, attack, group in _pairs(records[records["attack"].isin(list(attacks))]):
        images = group[group["clean_prediction"] == group["label"]]
        reached = images["prediction"] == images["target"]
        ever = 100 * (reached | images["steps_to_success"].notna()).mean() if len(images) else NONE
        rows.append((model, models[model]["defense"], attack, attacks[attack], *_accuracy(reached), ever))
    return TABLES["targeted"].tidy(rows)


def gaze(records: pd.DataFrame, models: Models, map_attacks: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """How clean and attacked maps agree under each attack on maps, of the images that the model classifies correctly.

    Of an attack that holds the prediction they are those whose prediction it kept, of one that holds the map those
    whose prediction it changed.

    Args:
        records: With the distance of each image's maps, and of k cells how many both maps share as `shared_k`.
        models: As for `table6`.
        map_attacks: Of each attack on maps what it `holds`, `prediction` or `map`, and the name of its `distance`.
    """
    rows = []
    for model, attack, group in _pairs(records[records["attack"].isin(list(map_attacks))]):
        images = group[group["clean_prediction"] == group["label"]]
        kept, about = _correct(images), map_attacks[attack]
        prediction, shown = ("kept", images[kept]) if about["holds"] == "prediction" else ("changed", images[~kept])
        measures = {
            f"IoU of {k} cells": iou_of_shared(shown[f"shared_{k}"].to_numpy(float), k)
            for k in CELLS
            if f"shared_{k}" in shown and shown[f"shared_{k}"].notna().any()
        }
        measures[f"{about['distance']} distance"] = shown["distance"].to_numpy(float)
        first = (model, models[model]["defense"], attack, prediction)
        rows += [(*first, name, len(images), *mean_interval(values)) for name, values in measures.items()]
    return TABLES["gaze"].tidy(rows)


def corruptions(records: pd.DataFrame, models: Models, severities: Mapping[str, tuple[str, int]]) -> pd.DataFrame:
    """Mean accuracy under each kind of corruption over its severities, in percent, and the mean of the kinds last.

    Args:
        records: As for `table6`.
        models: As for `table6`.
        severities: Of each attack that is a corruption its kind and severity.
    """
    kinds: dict[str, dict[str, int]] = {}
    for attack, (kind, severity) in severities.items():
        kinds.setdefault(kind, {})[attack] = severity
    rows = []
    for model in records["model"].unique():
        own = records[records["model"] == model]
        wide = {attack: _correct(group).set_axis(group["image_id"]) for _, attack, group in _pairs(own)}
        shares = {
            kind: pd.concat([wide[attack] for attack in of_kind], axis=1).mean(axis=1)
            for kind, of_kind in kinds.items()
        }
        shares[f"mean of {len(kinds)}"] = pd.concat(shares, axis=1).mean(axis=1)
        for kind, share in shares.items():
            written = ", ".join(map(str, kinds.get(kind, {}).values()))
            n, *mean = mean_interval(100 * share.to_numpy(float))
            rows.append((model, models[model]["defense"], kind, written, n, *mean))
    return TABLES["corruptions"].tidy(rows)


def paired(records: pd.DataFrame) -> pd.DataFrame:
    """Each two models compared on the same images, by exact McNemar tests; empty with one model.

    Returns:
        only_first, only_second: images that one model alone classifies correctly; difference: accuracy of the first
        less that of the second, in points.
    """
    numbered = records.assign(image=pd.factorize(records["image_id"])[0])
    rows = []
    for attack in records["attack"].unique():
        groups = _pairs(numbered[numbered["attack"] == attack])
        correct = {model: _correct(group).set_axis(group["image"]) for model, _, group in groups}
        wide = pd.concat(correct, axis=1, join="inner")  # a model without gradients has no records of some attacks
        for first, second in combinations(wide, 2):
            ahead = int((wide[first] & ~wide[second]).sum())
            behind = int((wide[second] & ~wide[first]).sum())
            difference = 100 * (ahead - behind) / len(wide) if len(wide) else NONE
            rows.append((attack, first, second, len(wide), ahead, behind, difference, mcnemar(ahead, behind)))
    return TABLES["paired"].tidy(rows)


def _pairs(records: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Records of each model under each attack."""
    for model, attack in records[["model", "attack"]].drop_duplicates().itertuples(index=False):
        yield model, attack, records[(records["model"] == model) & (records["attack"] == attack)]


def _correct(records: pd.DataFrame) -> "pd.Series[bool]":
    return records["prediction"] == records["label"]


def _accuracy(correct: "pd.Series[bool]") -> tuple[int, float, float, float]:
    """Number of images, accuracy in percent and its interval."""
    count, total = int(correct.sum()), len(correct)
    low, high = wilson_interval(count, total)
    return total, 100 * count / total if total else NONE, 100 * low, 100 * high


def _published6(paper: Paper | None, dataset: str, defense: str, attack: str) -> float:
    table = (paper or {}).get("table6", {})
    values = table.get(dataset, {}).get(defense)
    return float(values[table["attacks"].index(attack)]) if values and attack in table["attacks"] else NONE
