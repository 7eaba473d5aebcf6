"""Tables 6 and 7 as a run writes them: CSV, captions, LaTeX."""

import json
from pathlib import Path

import pandas as pd
import pytest
from evaluations import MODELS, attack, manifest, rows, write

from attnlab.records import read_evaluation
from attnlab.report.statistics import mcnemar
from attnlab.report.tables import CORRUPTED, GAZE, TABLES, TARGETED
from attnlab.report.tables.accuracy import paired, table6, table7
from attnlab.report.tables.export import write_tables
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.published import numbers_of_the_paper
from attnlab.run_opening import open_run
from attnlab.schema import EVALUATION


@pytest.fixture
def finished(tmp_path) -> Path:
    return write(tmp_path / "run", rows(), manifest())


@pytest.fixture
def records(finished) -> pd.DataFrame:
    return read_evaluation(finished)


def test_a_run_writes_each_table_as_csv_and_latex(finished):
    report = write_tables(finished)
    others = {CORRUPTED, GAZE, TARGETED}
    made = [name for name, spec in TABLES.items() if spec.kind == "evaluate" and not others & {*spec.needs}]
    assert list(report.frames) == made
    for name, frame in report.frames.items():
        pd.testing.assert_frame_equal(pd.read_csv(finished / f"tables/{name}.csv"), frame, check_dtype=False)
        assert (finished / f"tables/{name}.tex").exists()
    assert report.summary[0] == "8 of 8 records of images and models"


def test_captions_tell_what_the_numbers_depend_on(tmp_path):
    attacks = {"pgd10": attack(restarts=5, eps=8 / 255), "pgd10+a3": attack(eps=8 / 255, sigma=10.0)}
    described = manifest(attacks=attacks, transfer="other", stop=True)
    captions = write_tables(write(tmp_path / "run", rows(), described)).captions
    for part in ("mnist test, 4 images", "eps 8/255", "5 random starts", "made on other", "Wilson"):
        assert part in captions["table6"]
    assert "10 steps, sigma 10" in captions["table7"]
    assert "McNemar" in captions["paired"]


def test_table_7_is_left_out_where_no_attack_is_augmented_and_pairs_where_there_is_one_model(tmp_path):
    only = [row | {"attacks": row["attacks"][:2]} for row in rows() if row["model"] == "plain"]
    described = manifest(models={"plain": MODELS["plain"]}, attacks={"clean": None, "pgd10": attack()})
    assert list(write_tables(write(tmp_path / "run", only, described)).frames) == ["table6", "table6_worst"]


def test_skipped_images_count_nowhere_and_are_told(tmp_path):
    skipped = [{"image_id": "broken", "skipped": "the file is empty"}]
    both = [*rows()[:4], *skipped, *rows()[4:], *skipped]
    report = write_tables(write(tmp_path / "run", both, manifest(images=5)))
    assert report.summary[:2] == [
        "8 of 10 records of images and models",
        "1 image could not be used; skipped.csv says why",
    ]
    assert set(report.frames["table6"]["n"]) == {4}


def test_an_unfinished_run_has_tables_of_what_is_there(tmp_path):
    run = open_run(tmp_path / "run", manifest(), EVALUATION)
    run.write_part(0, rows()[:5])
    report = write_tables(run.folder)
    assert report.frames["table6"]["n"].tolist() == [4, 4, 4, 1, 1, 1]
    assert report.frames["paired"]["n"].tolist() == [1, 1, 1]
    assert report.summary[-1].startswith("unfinished")
    assert json.loads((run.folder / "run.json").read_text())["finished"] is None


def assert_tabular(text: str) -> list[list[str]]:
    """Check LaTeX of a booktabs table, and return the cells of its lines."""
    for once in (r"\begin{table", r"\end{table", r"\toprule", r"\midrule", r"\bottomrule", r"\caption{"):
        assert text.count(once) == 1
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("%"))
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    cells = [line.removesuffix(r" \\").replace(r"\&", "and").split(" & ") for line in lines]
    assert {len(line) for line in cells} == {len(columns)}
    assert text.count("{") == text.count("}")
    for special in "#%_&$":
        body = text.replace(f"\\{special}", "").replace(" & ", "")
        assert special not in body, special
    return cells


def test_latex_of_every_table_has_as_many_cells_in_each_line_as_columns(records):
    models = {"plain": {"defense": "none"}, "robust": {"defense": "madry"}}
    renamed = records.assign(model=records["model"].replace({"plain": "50%_net & co #1"}))
    models["50%_net & co #1"] = models.pop("plain")
    caption = "Accuracy (%) of some_model & others"
    frames = {
        "table6": table6(renamed, "mnist", models),
        "table6_worst": table6(renamed, "mnist", models, worst=True),
        "table7": table7(renamed),
        "paired": paired(renamed),
    }
    for name, frame in frames.items():
        cells = assert_tabular(as_latex(TABLES[name].lay_out(frame), caption))
        assert len(cells) == 1 + (3 if name == "paired" else 2)


def test_latex_of_table_6_is_the_papers_layout_with_its_values_below(records):
    table = table6(records, "mnist", MODELS, numbers_of_the_paper())
    assert assert_tabular(as_latex(TABLES["table6"].lay_out(table), "Table")) == [
        ["Model", "Defense", "clean", "pgd10", "pgd10+a3"],
        ["plain", "none", "75.00", "50.00", "25.00"],
        ["paper", "none", "99.18", "0.49", "--"],
        ["robust", "madry", "100.00", "75.00", "50.00"],
        ["paper", "madry", "99.00", "95.69", "--"],
    ]


def test_latex_of_pairs_tells_small_p_values():
    frame = pd.DataFrame(
        [["clean", "a", "b", 100, 2, 40, -38.0, mcnemar(2, 40)]],
        columns=["attack", "first", "second", "n", "only_first", "only_second", "difference", "p"],
    )
    assert assert_tabular(as_latex(TABLES["paired"].lay_out(frame), "Pairs"))[1][-1] != "0.00"


@pytest.mark.parametrize("special", ["\\", "^", "~"])
def test_latex_of_a_name_with_any_special_character_is_escaped(records, special):
    name = f"net{special}1"
    table = table6(records.assign(model=name), "mnist", {name: {"defense": "none"}})
    assert name not in as_latex(TABLES["table6"].lay_out(table), "Table")
