"""Whether the paper's observations hold for each attention method of a run, before and after the centred control.

    python -m benchmarks.method_claims RUN [--cells 10]

Claim 1: where the attack succeeds the clean map overlaps less with the object. Claim 3: there the map moves more. Each
line gives the mean of the images on which the attack fails less that of those on which it succeeds, its 95 % bootstrap
interval, and a two-sided permutation p-value (9,999 draws), Holm-corrected over the methods of the run that look at
something. "less centre" is the IoU less that of a centred frame as large as the object.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy import stats

from attnlab.records import read_records
from attnlab.report.outcomes import GROUPS
from attnlab.report.statistics import bootstrap_difference
from attnlab.report.tables.controls import blind_areas
from attnlab.report.tables.iou import cell_ious, i_att
from attnlab.runs import Run

BLIND = ("centre", "random-map")  # methods that look at nothing
DRAWS = 9_999
CLAIMS = {
    "iou": "claim 1: IoU with the object",
    "less_centre": "claim 1, less centre",
    "moved": "claim 3: IoU clean/attacked",
}


def p_value(fail: np.ndarray, succeed: np.ndarray) -> float:
    """Two-sided p-value that both have one mean, by permutations; NaN of fewer than two values."""
    if min(len(fail), len(succeed)) < 2:
        return float("nan")

    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return first.mean(axis) - second.mean(axis)  # type: ignore[no-any-return]

    found = stats.permutation_test(
        (fail, succeed), difference, n_resamples=DRAWS, vectorized=True, rng=np.random.default_rng(0), batch=1_000
    )
    return float(found.pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for several tests (Holm 1979), in their order; NaN stay, and count for nothing."""
    known = [place for place, value in enumerate(values) if not np.isnan(value)]
    corrected, highest = list(values), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: values[place])):
        highest = max(highest, min(1.0, (len(known) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def claims(images: pd.DataFrame, size: tuple[int, int], cells: int) -> pd.DataFrame:
    """A row per eps, claim and method, from I_att with the attack's outcome as `group`."""
    images = images.reset_index(drop=True)
    images["iou"] = images["iou_att_gt"]
    images["less_centre"] = images["iou"] - blind_areas(images, size)["centred"]
    images["moved"] = cell_ious(images, [cells])[f"table3_{cells}"]
    rows = []
    for (eps, method), of_both in images.groupby(["eps", "method"], sort=False):
        for claim in CLAIMS:
            succeed, fail = (of_both.loc[of_both["group"] == group, claim].dropna().to_numpy(float) for group in GROUPS)
            interval = bootstrap_difference(fail, succeed)
            means = [sample.mean() if len(sample) else np.nan for sample in (succeed, fail)]
            counts = (len(succeed), means[0], len(fail), means[1], means[1] - means[0])
            rows.append((eps, claim, method, *counts, *interval, p_value(fail, succeed)))
    names = ["eps", "claim", "method", "n_succeed", "succeed", "n_fail", "fail", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=names)
    tested = table[~table["method"].isin(BLIND)]
    for _, group in tested.groupby(["eps", "claim"]):
        table.loc[group.index, "p_holm"] = holm(group["p"].to_list())
    return table


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--cells", default=10, show_default=True, help="Cells of the areas of claim 3.")
def main(folder: Path, cells: int) -> None:
    """Print a table in Markdown for each eps and claim."""
    run = Run(folder)
    height, width = run.manifest["model"]["input_size"]
    table = claims(i_att(read_records(folder)), (height, width), cells)
    for (eps, claim), group in table.groupby(["eps", "claim"], sort=False):
        click.echo(f"\n{CLAIMS[claim]}, eps {255 * eps:.0f}/255\n")
        click.echo("| method | succeed | fail | difference | p, Holm |\n|---|---|---|---|---|")
        for row in group.itertuples():
            p = "" if np.isnan(row.p_holm) else f"{row.p_holm:.3f}"
            between = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            click.echo(
                f"| {row.method} | {row.succeed:.3f} ({row.n_succeed}) | {row.fail:.3f} ({row.n_fail}) | {between} "
                f"| {p} |"
            )


if __name__ == "__main__":
    main()
