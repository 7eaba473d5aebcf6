"""Make a run's tables from its records, and write them as CSV and LaTeX."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.records import as_csv
from attnlab.report.description import outcomes_of
from attnlab.report.outcomes import GROUPS, Outcomes
from attnlab.report.tables import TABLES, call, summary
from attnlab.report.tables.formats import Report, latex_table
from attnlab.report.tables.measures import Frames
from attnlab.report.tables.sources import Source, analysis, evaluation
from attnlab.runs import Run


def make_tables(
    run: Run,
    cells: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    lime_gt: str = "matched",
    optional: Collection[str] = (),
) -> Report:
    """Make a run's tables from its records and write nothing.

    Args:
        run: Of `analyze` or `evaluate`, finished or not.
        cells: Of an analysis, numbers of cells of Table 3; by default 5, 10, 20, 30, as far as the maps have more.
        features: Likewise, numbers of superpixels of Tables 4 and 5; by default those the run was made with.
        lime_gt: Likewise, the ground truth of LIME areas, a name in GROUND_TRUTHS.
        optional: Tables to make that are not made unasked.

    Raises:
        UserError: If the folder holds no readable run, it has no map of so many cells, or lacks what an optional table
            needs.
    """
    kind = run.manifest["kind"]
    for name in optional:
        if TABLES[name].kind != kind:
            wanted, option = TABLES[name].kind, TABLES[name].option
            raise UserError(f"expected a run of `{wanted}` for {option}, got {run.folder}, one of `{kind}`")
    source = evaluation(run) if kind == "evaluate" else analysis(run, cells, features, lime_gt, optional)
    frames: dict[str, pd.DataFrame] = {}
    made: dict[Callable[..., Any], Any] = {}
    for name, spec in TABLES.items():
        if spec.kind != kind or (spec.option and name not in optional):
            continue
        if not source.has.issuperset(spec.needs):
            if name in optional:
                needs = " and ".join(spec.needs)
                raise UserError(f"expected {needs} for {spec.option}, got {run.folder}, which lacks one of them")
            continue
        code = spec.compute
        made[code] = made[code] if code in made else call(code, source.given)
        frames[name] = made[code][name] if isinstance(made[code], dict) else made[code]
    lines = summary.of_evaluation(run, source) if kind == "evaluate" else summary.of_analysis(run, source, frames)
    return _report(lines, source, frames)


def _report(lines: list[str], source: Source, frames: Mapping[str, pd.DataFrame]) -> Report:
    """Tables with their captions, groups named as the run's attack asks."""
    outcomes = outcomes_of(source.manifest)
    captions = {name: outcomes.in_caption(f"{TABLES[name].title}. {source.setting(TABLES[name])}") for name in frames}
    named = {name: _named(frame, outcomes) for name, frame in frames.items()}
    return Report(lines, captions, named, tuple(source.given.get("unaware", ())), outcomes)


def _named(frame: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """A frame with what the groups are called, in cells or in the names of columns."""
    if "group" in frame:
        return frame.assign(group=frame["group"].map(outcomes.name))
    heads = {f"{start}{group}": f"{start}{outcomes.name(group)}" for group in GROUPS for start in ("", "n_")}
    return frame.rename(columns=heads)


def write_tables(folder: Path, *choices: Any, **named: Any) -> Report:
    """Make a run's tables and write them to its folder, tables/*.csv and tables/*.tex.

    Further arguments, and errors, as of `make_tables`.
    """
    report = make_tables(Run(folder), *choices, **named)
    write_report(folder, report)
    return report


def write_report(folder: Path, report: Report) -> None:
    """Write a report's tables to a run's folder."""
    for name, frame in report.frames.items():
        write_whole(folder / "tables" / f"{name}.csv", as_csv(frame).encode())
        write_whole(folder / "tables" / f"{name}.tex", latex_table(report, name).encode())


def measures_table(run: Run, names: Sequence[str], frames: Frames, notes: Sequence[str] = ()) -> Report:
    """The table of measures that the records do not hold; write nothing.

    Args:
        run: Of `analyze`.
        names: Of the measures.
        frames: Records that have them, see `attnlab.report.tables.measures`.
        notes: Lines of the summary.
    """
    source, spec = analysis(run), TABLES["measures"]
    frame = call(spec.compute, {**source.given, "measured": names, "frames": frames})
    return _report(list(notes), source, {"measures": frame})
