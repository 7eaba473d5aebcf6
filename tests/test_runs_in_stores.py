"""Runs that lie in an archive or under a URL: read by every command that reads one, and never written to."""

import shutil
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from common import error_of

from attnlab.records import read_evaluation, read_records


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def places(run, evaluated, tmp_path) -> dict[str, str]:
    """A run of analyze and one of evaluate, zipped with and without their folder's name, and under a URL."""
    memory = fsspec.filesystem("memory")
    for name, folder in (("analysis", run), ("evaluation", evaluated)):
        shutil.copytree(folder, tmp_path / "there" / name, ignore=shutil.ignore_patterns("tables", "*.html", "figures"))
        for path in (tmp_path / "there" / name).rglob("*"):
            if path.is_file():
                memory.pipe_file(
                    f"/runs-{tmp_path.name}/{name}/{path.relative_to(tmp_path / 'there' / name)}", path.read_bytes()
                )
    shutil.make_archive(str(tmp_path / "analysis"), "zip", tmp_path / "there" / "analysis")
    shutil.make_archive(str(tmp_path / "evaluation"), "gztar", tmp_path / "there", "evaluation")
    shutil.rmtree(tmp_path / "there")
    url = f"memory://runs-{tmp_path.name}"
    return {
        "analysis": f"{url}/analysis",
        "evaluation": f"{url}/evaluation",
        "zip": str(tmp_path / "analysis.zip"),
        "tgz": str(tmp_path / "evaluation.tar.gz"),
    }


def test_records_are_read_from_wherever_a_run_lies(places, run, evaluated):
    for place in ("analysis", "zip"):
        pd.testing.assert_frame_equal(read_records(places[place]), read_records(run))
    for place in ("evaluation", "tgz"):
        pd.testing.assert_frame_equal(read_evaluation(places[place]), read_evaluation(evaluated))


@pytest.mark.parametrize("place", ["analysis", "zip", "evaluation", "tgz"])
def test_tables_are_printed_and_not_written(places, place, run, evaluated, attnlab, tmp_path):
    memory = fsspec.filesystem("memory")
    before = files_of(tmp_path), memory.find("/")
    there = attnlab("tables", places[place], "--format", "csv")
    here = attnlab("tables", run if place in ("analysis", "zip") else evaluated, "--format", "csv")
    assert (there.code, there.out) == (0, here.out)
    assert there.err.splitlines()[-1] == f"{places[place]} is only read: no tables are written"
    assert (files_of(tmp_path), memory.find("/")) == before


def test_report_and_figures_write_to_out_alone(places, attnlab, tmp_path):
    assert attnlab("report", places["zip"]).error.startswith("expected --out, a place to write to, with the run")
    assert attnlab("figures", places["analysis"]).error.startswith("expected --out, a place to write to")
    assert attnlab("figures", places["zip"], "runs/other").error.startswith("expected one run, or checkpoints")
    page = attnlab("report", places["analysis"], "--no-images", "--out", tmp_path / "page.html")
    assert (page.code, (tmp_path / "page.html").stat().st_size > 10_000) == (0, True)
    drawn = attnlab("figures", places["tgz"], "--out", tmp_path / "drawn")
    assert (drawn.code, bool(list((tmp_path / "drawn").glob("*.png")))) == (0, True), drawn.err


def test_what_is_no_run_is_one_line(places, tmp_path):
    fsspec.filesystem("memory").pipe_file(f"/no-run-{tmp_path.name}/records/../../x", b"1")
    url = f"memory://no-run-{tmp_path.name}"
    assert error_of(read_records, url) == f"expected {url} to be a run, but it has no run.json"
    assert error_of(read_records, f"{url}/gone").startswith(
        "expected the run to be an existing folder, archive or bucket"
    )
    fsspec.filesystem("memory").pipe_file(f"/no-run-{tmp_path.name}/run.json", b"{")
    assert error_of(read_records, url).startswith(f"{url}/run.json is damaged")
