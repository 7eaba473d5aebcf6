"""CSV files of a run folder: names in them are no formulas, and are read as they were written."""

import csv

import pandas as pd
import pytest
from common import begun_run

from attnlab.files import safe_cell
from attnlab.records import read_checks, skipped_images


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("-", "'-"),
        ("crane", "crane"),
    ],
)
def test_a_cell_is_no_formula_and_numbers_stay_numbers(text, cell):
    assert safe_cell(text) == cell


def test_skipped_csv_escapes_names_and_the_records_beside_it_hold_them_unchanged(tmp_path):
    names = ["=1.png", "a\x1b[2J.png", 'b,"c".png', "d.png"]
    run = begun_run(tmp_path / "run")
    run.write_part(0, [{"image_id": name, "skipped": "the file is empty"} for name in names])
    run.write_skipped(skipped_images(run))
    with (run.folder / "skipped.csv").open(newline="") as file:
        listed = [row["image_id"] for row in csv.DictReader(file)]
    assert listed == ["'=1.png", "a\\x1b[2J.png", 'b,"c".png', "d.png"]
    assert b"\x1b" not in (run.folder / "skipped.csv").read_bytes()
    (part,) = (run.folder / "records").glob("*.parquet")
    assert pd.read_parquet(part)["image_id"].tolist() == names


def test_skipped_images_are_written_as_safe_cells(tmp_path):
    run = begun_run(tmp_path / "run")
    run.write_skipped([("=1+1.png", "the file is empty")])
    assert (run.folder / "skipped.csv").read_text().splitlines() == ["image_id,reason", "'=1+1.png,the file is empty"]


def test_checks_are_read_as_they_were_written(tmp_path):
    assert read_checks(tmp_path) is None
    (tmp_path / "checks.csv").write_text('model,found\na,"one, two"\n')
    assert read_checks(tmp_path) == [("a", "one, two")]
