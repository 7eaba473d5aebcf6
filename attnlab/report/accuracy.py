"""Tables 6 and 7 of the paper: accuracy under attack; records in, a tidy frame out."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from attnlab.report.statistics import mcnemar, wilson_interval
from attnlab.report.tables import NONE, Paper

A3 = "+a3"
ACCURACY = ("n", "accuracy", "ci_low", "ci_high", "paper")

Models = Mapping[str, Mapping[str, str]]


def table6(
    records: pd.DataFrame, dataset: str, models: Models, paper: Paper | None = None, *, worst: bool = False
) -> pd.DataFrame:
    """Accuracy of each model under each attack, in percent, with Wilson intervals (Table 6).

    Args:
        records: As `read_evaluation` gives them.
        dataset: Name of the data set.
        models: Of each model its `name` and `defense`.
        paper: The published numbers, where they are of this data set.
        worst: Count an image as lost if any point that was looked at is misclassified, and not the last one alone.

    Returns:
        Columns dataset, model, defense, attack, n, accuracy, ci_low, ci_high, paper.
    """
    rows = []
    for (model, attack), group in records.groupby(["model", "attack"], sort=False):
        defense = models[str(model)]["defense"]
        correct = group["steps_to_success"].isna() & _correct(group) if worst else _correct(group)
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "defense": defense,
                "attack": attack,
                **_accuracy(correct),
                "paper": _published6(paper, dataset, defense, str(attack)),
            }
        )
    return pd.DataFrame(rows, columns=["dataset", "model", "defense", "attack", *ACCURACY])


def table7(records: pd.DataFrame, paper: Paper | None = None) -> pd.DataFrame:
    """Accuracy under each attack of the images that the model classifies correctly, in percent (Table 7).

    Args:
        records: As `read_evaluation` gives them.
        paper: The published numbers, where the attacks are the paper's.

    Returns:
        Columns attack, n, accuracy, ci_low, ci_high, paper; where there are several models, a first column model.
    """
    images = records[records["clean_prediction"] == records["label"]]
    several = records["model"].nunique() > 1
    rows = []
    for model, attack in records[["model", "attack"]].drop_duplicates().itertuples(index=False):
        group = images[(images["model"] == model) & (images["attack"] == attack)]
        named = {"model": model} if several else {}
        published = paper["table7"].get(attack, NONE) if paper else NONE
        rows.append({**named, "attack": attack, **_accuracy(_correct(group)), "paper": published})
    return pd.DataFrame(rows, columns=None if rows else ["attack", *ACCURACY])


def paired(records: pd.DataFrame) -> pd.DataFrame:
    """Each two models held against each other on the same images, by exact McNemar tests.

    Args:
        records: As `read_evaluation` gives them.

    Returns:
        Columns attack, first, second, n, only_first, only_second (images that one model alone classifies correctly),
        difference (accuracy of the first less that of the second, in points), p. Empty with one model.
    """
    rows = []
    for attack, group in records.groupby("attack", sort=False):
        wide = group.assign(correct=_correct(group)).pivot_table(
            index="image_id", columns="model", values="correct", aggfunc="first", sort=False
        )
        wide = wide.dropna()
        # a model without gradients has no records of attacks that climb one
        for first, second in combinations([model for model in dict.fromkeys(records["model"]) if model in wide], 2):
            ahead = int((wide[first].astype(bool) & ~wide[second].astype(bool)).sum())
            behind = int((wide[second].astype(bool) & ~wide[first].astype(bool)).sum())
            rows.append(
                {
                    "attack": attack,
                    "first": first,
                    "second": second,
                    "n": len(wide),
                    "only_first": ahead,
                    "only_second": behind,
                    "difference": 100 * (ahead - behind) / len(wide) if len(wide) else NONE,
                    "p": mcnemar(ahead, behind),
                }
            )
    columns = ["attack", "first", "second", "n", "only_first", "only_second", "difference", "p"]
    return pd.DataFrame(rows, columns=columns)


def _correct(records: pd.DataFrame) -> "pd.Series[bool]":
    return records["prediction"] == records["label"]


def _accuracy(correct: "pd.Series[bool]") -> dict[str, Any]:
    count = int(correct.sum())
    low, high = wilson_interval(count, len(correct))
    accuracy = 100 * count / len(correct) if len(correct) else NONE
    return {"n": len(correct), "accuracy": accuracy, "ci_low": 100 * low, "ci_high": 100 * high}


def _published6(paper: Paper | None, dataset: str, defense: str, attack: str) -> float:
    if not paper or dataset not in paper["table6"] or attack not in paper["table6"]["attacks"]:
        return NONE
    values = paper["table6"][dataset].get(defense)
    return float(values[paper["table6"]["attacks"].index(attack)]) if values else NONE
