"""Tables 6 and 7 from hand-made records: every number can be checked by eye."""

import pandas as pd
import pytest
from evaluations import MODELS, manifest, rows, write

from attnlab.records import read_evaluation
from attnlab.report.statistics import wilson_interval
from attnlab.report.tables import TABLES
from attnlab.report.tables.accuracy import paired, table6, table6_worst, table7
from attnlab.report.tables.layout import Value
from attnlab.report.tables.published import numbers_of_the_paper

TABLE6 = ["dataset", "model", "defense", "attack", "n", "accuracy", "ci_low", "ci_high", "paper"]
TABLE7 = ["attack", "n", "accuracy", "ci_low", "ci_high", "paper"]


@pytest.fixture
def records(tmp_path) -> pd.DataFrame:
    return read_evaluation(write(tmp_path / "run", rows(), manifest()))


def test_records_are_one_row_per_model_image_and_attack(records):
    assert len(records) == 24
    row = records.set_index(["model", "image_id", "attack"]).loc[("plain", "b", "pgd10")]
    assert (row["label"], row["clean_prediction"], row["prediction"], row["steps_to_success"]) == (1, 1, 1, 3)


def test_table6_by_hand(records):
    table = table6(records, "mnist", MODELS)
    assert list(table.columns) == TABLE6
    assert table[["model", "attack"]].to_numpy().tolist() == [
        [model, name] for model in ("plain", "robust") for name in ("clean", "pgd10", "pgd10+a3")
    ]
    assert table["defense"].tolist() == ["none"] * 3 + ["madry"] * 3
    assert table["n"].tolist() == [4] * 6
    assert table["accuracy"].tolist() == [75, 50, 25, 100, 75, 50]
    low, high = wilson_interval(3, 4)
    assert (table["ci_low"][0], table["ci_high"][0]) == (100 * low, 100 * high)
    assert set(table["dataset"]) == {"mnist"}
    assert table["paper"].isna().all()


def test_table6_of_the_worst_points_by_hand(records):
    table = table6_worst(records, "mnist", MODELS)
    assert list(table.columns) == TABLE6
    assert table["accuracy"].tolist() == [75, 25, 25, 100, 75, 50]


def test_table7_is_on_the_images_that_the_model_classifies_correctly_by_hand(records):
    table = table7(records)
    assert list(table.columns) == ["model", *TABLE7]
    assert table["n"].tolist() == [3, 3, 3, 4, 4, 4]
    assert table["accuracy"].tolist() == pytest.approx([100, 200 / 3, 100 / 3, 100, 75, 50])
    low, high = wilson_interval(2, 3)
    assert (table["ci_low"][1], table["ci_high"][1]) == (100 * low, 100 * high)


def test_table7_of_one_model_has_the_columns_of_the_paper(records):
    table = table7(records[records["model"] == "plain"])
    assert list(table.columns) == TABLE7
    assert table["attack"].tolist() == ["clean", "pgd10", "pgd10+a3"]


def test_two_models_held_against_each_other_by_hand(records):
    table = paired(records)
    assert list(table.columns) == [
        "attack", "first", "second", "n", "only_first", "only_second", "difference", "p"
    ]  # fmt: skip
    assert table[["first", "second", "n"]].drop_duplicates().to_numpy().tolist() == [["plain", "robust", 4]]
    by_attack = table.set_index("attack")
    assert by_attack.loc["clean", ["only_first", "only_second", "difference", "p"]].tolist() == [0, 1, -25.0, 1.0]
    assert by_attack.loc["pgd10", ["only_first", "only_second", "difference", "p"]].tolist() == [1, 2, -25.0, 1.0]
    assert by_attack.loc["pgd10+a3", ["only_first", "only_second", "difference"]].tolist() == [1, 2, -25.0]


def test_models_are_paired_on_the_images_that_both_have(records):
    table = paired(records[(records["model"] == "plain") | records["image_id"].isin(["a", "c"])])
    assert table["n"].tolist() == [2, 2, 2]
    assert paired(records[records["model"] == "plain"]).empty
    assert "p" in paired(records[records["model"] == "plain"]).columns


def test_three_models_make_three_pairs(records):
    third = records[records["model"] == "robust"].assign(model="third")
    table = paired(pd.concat([records, third]))
    pairs = table.loc[table["attack"] == "clean", ["first", "second"]].to_numpy().tolist()
    assert pairs == [["plain", "robust"], ["plain", "third"], ["robust", "third"]]
    assert table.query("first == 'robust'")["difference"].tolist() == [0, 0, 0]


def texts(layout) -> list[list[str]]:
    """The cells of a layout's lines as people read them."""
    return [[cell.text() if isinstance(cell, Value) else cell for cell in line] for line in layout.lines]


def test_table_6_in_full_has_n_and_both_ends_of_the_intervals_below_each_model(records):
    table = table6(records, "mnist", MODELS, numbers_of_the_paper())
    layout = TABLES["table6"].lay_out(table, "full")
    assert (layout.first, layout.heads) == (["Model", "Defense"], ["n", "clean", "pgd10", "pgd10+a3"])
    low, high = (100 * end for end in wilson_interval(3, 4))
    assert texts(layout)[:4] == [
        ["plain", "none", "4", "75.00", "50.00", "25.00"],
        ["95 % from", "", "", f"{low:.2f}", *texts(layout)[1][4:]],
        ["to", "", "", f"{high:.2f}", *texts(layout)[2][4:]],
        ["paper", "none", "", "99.18", "0.49", "--"],
    ]


def test_table_7_of_one_model_has_a_column_per_attack_and_needs_no_name(records):
    layout = TABLES["table7"].lay_out(table7(records[records["model"] == "plain"]))
    assert layout.heads == ["clean", "pgd10", "pgd10+a3"]
    assert texts(layout) == [["accuracy (%)", "100.00", "66.67", "33.33"]]
