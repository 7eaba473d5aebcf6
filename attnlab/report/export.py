"""A run's tables: made from its records, captioned, written as CSV and LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.records import as_csv
from attnlab.report.attention import attention_report
from attnlab.report.base import Report
from attnlab.report.evaluation import evaluation_report
from attnlab.report.formats import latex_table
from attnlab.runs import Run


def report_run(
    folder: Path,
    cells: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    lime_gt: str = "matched",
    *,
    with_controls: bool = False,
) -> Report:
    """Make a run's tables from its records and write them to its folder, tables/*.csv and tables/*.tex.

    Args:
        folder: A run of `analyze` or `evaluate`, finished or not.
        cells: Of an analysis, see `attention_report`.
        features: Likewise.
        lime_gt: Likewise.
        with_controls: Likewise.

    Raises:
        UserError: If the folder holds no readable run, or it has no map of so many cells.
    """
    report = make_report(Run(folder), cells, features, lime_gt, with_controls=with_controls)
    for name, frame in report.frames.items():
        write_whole(folder / "tables" / f"{name}.csv", as_csv(frame).encode())
        write_whole(folder / "tables" / f"{name}.tex", latex_table(report, name).encode())
    return report


def make_report(
    run: Run,
    cells: Sequence[int] | None = None,
    features: Sequence[int] | None = None,
    lime_gt: str = "matched",
    *,
    with_controls: bool = False,
) -> Report:
    """Make a run's tables from its records and write nothing; arguments and errors as of `report_run`."""
    if run.manifest["kind"] == "evaluate":
        if with_controls:
            raise UserError(f"expected a run of `analyze` for --controls, got {run.folder}, one of `evaluate`")
        return evaluation_report(run)
    return attention_report(run, cells, features, lime_gt, with_controls=with_controls)
