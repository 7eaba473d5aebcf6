"""Run the benchmarks one after the other, and say what moved since the last time.

    python -m benchmarks.bench [--data DIR] [--only analyze] [--out runs/bench]

Each prints its ratios to a peer or a floor as lines `figure: ... = 1.08x` (benchmarks.timing). This program compares
them with the last ones (benchmarks/figures.csv) and writes them into benchmarks/results.md and a plot. Repeat it to run
the benchmarks that are missing, and remove --out to measure all again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd

from benchmarks.pieces import ROOT, Results, Step, run_all
from benchmarks.sections import write_section
from benchmarks.timing import figures_in, machine

LAST, PAGE, PLOT = ROOT / "benchmarks/figures.csv", ROOT / "benchmarks/results.md", ROOT / "docs/images/bench.webp"
MOVED = 0.05  # the share by which a ratio must differ from the last one to be printed
LONGEST = 3600.0  # seconds that a benchmark may take

#: name -> module and arguments; one more is a line here. {data} is the folder of photographs and weights
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "start": ("start",),
    "analyze": ("analyze", "--no-memory"),
    "lime": ("lime", "--rounds", "1", "--samples", "100", "--no-captum"),
    "attacks": ("attacks", "--rounds", "9"),
    "attacks-lenet": ("attacks", "--model", "lenet", "--rounds", "21"),
    "train": ("train",),
    "train-lenet": ("train", "--model", "lenet"),
    "methods": ("methods", "{data}", "--only", "fused CAMs", "--only", "captum", "--only", "score-cam"),
}


def step(name: str, data: Path | None) -> Step:
    """The command of a benchmark."""
    module, *words = BENCHMARKS[name]
    return Step(name, ("-m", f"benchmarks.{module}", *(word.format(data=data) for word in words)), LONGEST)


def measured(results: Results, steps: Sequence[Step]) -> pd.DataFrame:
    """Ratios that benchmarks printed the last time that they succeeded."""
    found = {line["step"]: line["output"] for line in results.lines() if line["rc"] == 0}
    rows = [(one.name, *pair) for one in steps for pair in figures_in(found.get(one.name, "")).items()]
    return pd.DataFrame(rows, columns=["benchmark", "figure", "ratio"])


def compared(figures: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    """Ratios beside those of the last time, and the share by which they moved; NaN where there was none."""
    both = figures.merge(last[["figure", "ratio"]], on="figure", how="left", suffixes=("", "_last"))
    return both.assign(moved=both["ratio"] / both["ratio_last"] - 1)


def told(both: pd.DataFrame) -> list[str]:
    """A line for each ratio that moved by more than MOVED."""
    return [
        f"{row.figure}: {row.ratio_last:.2f}x -> {row.ratio:.2f}x ({row.moved:+.0%})"
        for row in both[both["moved"].abs() > MOVED].itertuples()
    ]


def table(both: pd.DataFrame, where: str, missing: Sequence[str]) -> str:
    """The section of the page: a row a ratio; benchmarks that did not end are named."""
    rows = [
        f"| {row.figure} | {row.ratio:.2f}x | {'' if pd.isna(row.ratio_last) else f'{row.ratio_last:.2f}x'} |"
        for row in both.itertuples()
    ]
    left = f" Not measured: {', '.join(missing)}." if missing else ""
    return "\n".join([f"{where}.{left} Time of the first, as a multiple of the second:", "", "| | now | last time |",
                      "|---|---|---|", *rows])  # fmt: skip


def draw(both: pd.DataFrame, path: Path) -> None:
    """A dot for each ratio on a logarithmic scale, with the last time's as a ring."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 + 0.24 * len(both)), layout="constrained")
    axes = figure.subplots()
    places = range(len(both) - 1, -1, -1)
    axes.axvline(1, color="0.7", linewidth=1)
    axes.scatter(both["ratio_last"], places, facecolors="none", edgecolors="0.5", label="last time")
    axes.scatter(both["ratio"], places, color="#3366cc", s=18, label="now")
    axes.set(xscale="log", xlabel="times as long as peer or floor")
    axes.set_yticks(list(places), both["figure"], fontsize=7)
    axes.legend(loc="lower right", fontsize=7)
    figure.savefig(path, dpi=110)


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of photographs and weights; without it `methods` is left out.")  # fmt: skip
@click.option("--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Run these alone.")
@click.option("--out", default=Path("runs/bench"), show_default=True, type=click.Path(path_type=Path))
def main(data: Path | None, only: tuple[str, ...], out: Path) -> None:
    """Run benchmarks, print what moved, and write table and plot unless only some were asked for."""
    out.mkdir(parents=True, exist_ok=True)
    results = Results(out / "results.jsonl")
    steps = [step(name, data) for name in only or [name for name in BENCHMARKS if data or name != "methods"]]
    whole = run_all(steps, results, LONGEST * len(steps) / 60, click.echo)
    figures = measured(results, steps)
    last = pd.read_csv(LAST) if LAST.exists() else figures[:0]
    both = compared(figures, last)
    moved = told(both)
    click.echo("\n".join([f"{'these' if moved else 'none'} moved by more than {MOVED:.0%}", *moved]))
    if len(figures) and not only:
        missing = [one.name for one in steps if not results.done(one)]
        write_section(PAGE, "benchmarks.bench", table(both, machine(), missing))
        draw(both, PLOT)
        kept = last[~last["figure"].isin(figures["figure"])]
        pd.concat([figures, kept]).to_csv(LAST, index=False)
    sys.exit(not whole)


if __name__ == "__main__":
    main()
