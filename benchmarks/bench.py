"""Run the benchmarks one after the other, and say what moved since the last time.

    python -m benchmarks.bench [--data DIR] [--only analyze] [--out runs/bench]

Each prints its ratios to a peer or a floor as lines `figure: ... = 1.08x` (benchmarks.timing). They are gathered here,
held against those of the last time (benchmarks/figures.csv), and written into benchmarks/results.md and a plot. A
command that was interrupted goes on with the benchmarks that are left; remove --out to measure all again.
"""

import subprocess
import sys
from pathlib import Path

import click
import pandas as pd

from benchmarks.timing import figures_in, machine

ROOT = Path(__file__).resolve().parents[1]
LAST, PAGE, PLOT = ROOT / "benchmarks/figures.csv", ROOT / "benchmarks/results.md", ROOT / "docs/images/bench.webp"
BEGIN, END = "<!-- begin: made by benchmarks.bench -->", "<!-- end: made by benchmarks.bench -->"
MOVED = 0.05  # share by which a ratio differs that is told

#: name -> module and arguments; one more is a line here. {data} is the folder of photographs and weights
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "start": ("start",),
    "analyze": ("analyze", "--no-memory"),
    "lime": ("lime", "--rounds", "1", "--samples", "300", "--no-captum"),
    "attacks": ("attacks", "--rounds", "9"),
    "attacks-lenet": ("attacks", "--model", "lenet", "--rounds", "21"),
    "train": ("train",),
    "train-lenet": ("train", "--model", "lenet"),
    "methods": ("methods", "{data}", "--only", "fused CAMs", "--only", "captum", "--only", "score-cam"),
}


def command(name: str, data: Path | None) -> list[str]:
    """The command line of a benchmark."""
    module, *words = BENCHMARKS[name]
    return [sys.executable, "-m", f"benchmarks.{module}", *(word.format(data=data) for word in words)]


def measured(log: Path) -> dict[str, float]:
    """Ratios in a benchmark's log, which ends with them once it is whole; none of one that was interrupted."""
    return figures_in(log.read_text()) if log.exists() else {}


def run(name: str, data: Path | None, out: Path) -> dict[str, float]:
    """The ratios of a benchmark, run unless its log is whole."""
    log = out / f"{name}.log"
    if not log.exists():
        part = log.with_suffix(".part")
        with part.open("w") as file:
            code = subprocess.run(command(name, data), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT).returncode
        if code:
            raise SystemExit(f"Error: benchmark {name} ended with exit code {code}; {part} has what it printed")
        part.rename(log)
    return measured(log)


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


def table(both: pd.DataFrame, where: str) -> str:
    """The section of the page: a row a ratio."""
    rows = [
        f"| {row.figure} | {row.ratio:.2f}x | {'' if pd.isna(row.ratio_last) else f'{row.ratio_last:.2f}x'} |"
        for row in both.itertuples()
    ]
    return "\n".join([f"{where}. Time of the first, as a multiple of the second:", "", "| | now | last time |",
                      "|---|---|---|", *rows])  # fmt: skip


def with_section(page: str, section: str) -> str:
    """A page with what stands between the marks replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{rest.split(END)[1]}"


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
    """Run benchmarks, print what moved, and write table and plot unless only some were run."""
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for name in only or [name for name in BENCHMARKS if data or name != "methods"]:
        click.echo(f"{name}: {' '.join(command(name, data)[1:])}")
        for figure, ratio in run(name, data, out).items():
            click.echo(f"  {figure} = {ratio:.2f}x")
            found.append((name, figure, ratio))
    figures = pd.DataFrame(found, columns=["benchmark", "figure", "ratio"])
    last = pd.read_csv(LAST) if LAST.exists() else figures[:0]
    both = compared(figures, last)
    moved = told(both)
    click.echo(
        "\n".join([f"moved by more than {MOVED:.0%}:" if moved else f"nothing moved by more than {MOVED:.0%}", *moved])
    )
    if not only:
        PAGE.write_text(with_section(PAGE.read_text(), table(both, machine())))
        draw(both, PLOT)
        kept = last[~last["figure"].isin(figures["figure"])]
        pd.concat([figures, kept]).to_csv(LAST, index=False)


if __name__ == "__main__":
    main()
