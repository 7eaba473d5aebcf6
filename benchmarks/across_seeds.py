"""The same defence trained from several seeds: means and spreads of Table 6, and paired differences."""

from collections.abc import Mapping, Sequence

import pandas as pd


def over_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row for each defence and attack from the Table 6 of each training.

    Columns dataset, defense, attack, seeds (trainings), n (images of each), accuracy (mean over the trainings, in
    percent), sd (standard deviation over the trainings, in points; empty for one), lowest, highest, paper.
    """
    keys = ["dataset", "defense", "attack"]
    by_training = pd.concat(tables, ignore_index=True).groupby(keys, sort=False)
    rows = by_training.agg(
        seeds=("accuracy", "size"),
        n=("n", "min"),
        accuracy=("accuracy", "mean"),
        sd=("accuracy", "std"),
        lowest=("accuracy", "min"),
        highest=("accuracy", "max"),
        paper=("paper", "first"),
    )
    return rows.reset_index()


def gains(records: Mapping[str, Mapping[int, pd.DataFrame]], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Gain of one defence over another, the second of a pair, seed by seed on the same images.

    Of each defence and seed the records as `read_evaluation` gives them, to columns attack, first, second, seeds
    (those that both have under the attack), difference (accuracy of the first less that of the second, in points, mean
    over the seeds), sd (of the differences), lowest, highest.
    """
    rows = []
    for first, second in pairs:
        shared = sorted(records.get(first, {}).keys() & records.get(second, {}).keys())
        by_seed = [_accuracies(records[first][seed]) - _accuracies(records[second][seed]) for seed in shared]
        for attack, values in pd.DataFrame(by_seed).items():
            spread = values.mean(), values.std(), values.min(), values.max()
            rows.append((attack, first, second, values.count(), *spread))
    columns = ["attack", "first", "second", "seeds", "difference", "sd", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


def _accuracies(records: pd.DataFrame) -> "pd.Series[float]":
    correct = records["prediction"] == records["label"]
    return 100 * correct.groupby(records["attack"], sort=False).mean()
