"""Tables 6 and 7 from hand-made records: every number can be checked by eye."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attnlab.records import EVALUATION, read_evaluation
from attnlab.report.accuracy import paired, table6, table7
from attnlab.report.evaluation import published6, published7
from attnlab.report.export import report_run
from attnlab.report.latex import as_latex
from attnlab.report.layout import LAYOUTS, Value
from attnlab.report.statistics import mcnemar, wilson_interval
from attnlab.report.tables import numbers_of_the_paper
from attnlab.runs import open_run

TABLE6 = ["dataset", "model", "defense", "attack", "n", "accuracy", "ci_low", "ci_high", "paper"]
TABLE7 = ["attack", "n", "accuracy", "ci_low", "ci_high", "paper"]
MODELS = {"plain": {"network": "lenet", "defense": "none"}, "robust": {"network": "lenet", "defense": "madry"}}

#: model, image, label, clean prediction, predictions under pgd10 and pgd10+a3, steps to success of both
IMAGES = [
    ("plain", "a", 0, 0, 1, 1, 1, 2),
    ("plain", "b", 1, 1, 1, 0, 3, 1),  # lost on the way to pgd10's last point, and won again
    ("plain", "c", 2, 2, 2, 2, None, None),
    ("plain", "d", 0, 1, 1, 1, 0, 0),  # wrong from the start
    ("robust", "a", 0, 0, 0, 0, None, None),
    ("robust", "b", 1, 1, 1, 1, None, None),
    ("robust", "c", 2, 2, 0, 0, 4, 4),
    ("robust", "d", 0, 0, 0, 1, None, 9),
]


def rows() -> list[dict]:
    """The images as a run's records hold them."""
    return [
        {
            "image_id": image,
            "model": model,
            "label": label,
            "prediction": clean,
            "margin": 1.0 if clean == label else -1.0,
            "loss": 0.5,
            "attacks": [
                {
                    "attack": attack,
                    "prediction": prediction,
                    "margin": 1.0 if prediction == label else -1.0,
                    "loss": 0.5,
                    "steps_to_success": steps,
                }
                for attack, prediction, steps in (
                    ("clean", clean, None if clean == label else 0),
                    ("pgd10", pgd, pgd_steps),
                    ("pgd10+a3", a3, a3_steps),
                )
            ],
        }
        for model, image, label, clean, pgd, a3, pgd_steps, a3_steps in IMAGES
    ]


def attack(**changes: object) -> dict:
    return {"objective": "cross-entropy", "eps": 0.3, "steps": 10, "step_size": 0.01, "random_start": True,
            "restarts": 1, "sigma": None, "label_smoothing": 0.0} | changes  # fmt: skip


def manifest(**changes: object) -> dict:
    """Of a run of these records."""
    options = {
        "data": "mnist",
        "split": "test",
        "models": MODELS,
        "weights": "default",
        "transfer": None,
        "saved": False,
        "attacks": {"clean": None, "pgd10": attack(), "pgd10+a3": attack(sigma=10.0)},
        "geometry": "squash",
        "seed": 0,
        "stop": False,
        "images": 4,
    }
    return {"kind": "evaluate", "options": options | changes, "data": {"name": "mnist"}, "model": {}}


def write(folder: Path, records: list[dict], described: dict) -> Path:
    run = open_run(folder, described, EVALUATION)
    run.write_part(0, records)
    run.finish(1.0)
    return folder


@pytest.fixture
def finished(tmp_path) -> Path:
    return write(tmp_path / "run", rows(), manifest())


@pytest.fixture
def records(finished) -> pd.DataFrame:
    return read_evaluation(finished)


# ------------------------------------------------------------------ statistics


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 7), (9912, 10_000), (1, 1)])
def test_wilson_interval_equals_wilsons_formula(successes, trials):
    z = stats.norm.ppf(0.975)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    assert wilson_interval(successes, trials) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_wilson_interval_of_nothing_is_none():
    assert np.isnan(wilson_interval(0, 0)).all()


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (3, 3), (2, 9), (40, 61), (1, 0)])
def test_mcnemar_equals_the_exact_binomial_sum(first, second):
    """Twice the probability of at most min(first, second) heads in first + second throws of a fair coin."""
    count = first + second
    tail = sum(math.comb(count, heads) for heads in range(min(first, second) + 1)) / 2**count
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


def test_mcnemar_without_a_difference_is_1():
    assert mcnemar(0, 0) == 1.0


# ------------------------------------------------------------------ tables by hand


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
    table = table6(records, "mnist", MODELS, worst=True)
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
    return [[cell.told() if isinstance(cell, Value) else cell for cell in line] for line in layout.lines]


def test_table_6_in_full_has_n_and_both_ends_of_the_intervals_below_each_model(records):
    table = table6(records, "mnist", MODELS, numbers_of_the_paper())
    layout = LAYOUTS["table6"](table, full=True)
    assert (layout.first, layout.heads) == (["Model", "Defense"], ["n", "clean", "pgd10", "pgd10+a3"])
    low, high = (100 * end for end in wilson_interval(3, 4))
    assert texts(layout)[:4] == [
        ["plain", "none", "4", "75.00", "50.00", "25.00"],
        ["95 % from", "", "", f"{low:.2f}", *texts(layout)[1][4:]],
        ["to", "", "", f"{high:.2f}", *texts(layout)[2][4:]],
        ["paper", "none", "", "99.18", "0.49", "--"],
    ]


def test_table_7_of_one_model_has_a_column_per_attack_and_needs_no_name(records):
    layout = LAYOUTS["table7"](table7(records[records["model"] == "plain"]))
    assert layout.heads == ["clean", "pgd10", "pgd10+a3"]
    assert texts(layout) == [["accuracy (%)", "100.00", "66.67", "33.33"]]


# ------------------------------------------------------------------ the paper's values


def papers6(**changes: object) -> dict:
    """Manifest of the paper's MNIST rows, or of one that differs from it."""
    return manifest(**({"images": 10_000, "attacks": {"clean": None, "pgd10": attack()}} | changes))


def test_table6_tells_the_papers_values_of_its_defenses_and_attacks(records):
    table = table6(records, "mnist", MODELS, numbers_of_the_paper())
    assert table["paper"].tolist()[:2] == [99.18, 0.49]
    assert table["paper"].tolist()[3:5] == [99.00, 95.69]
    assert table["paper"].isna().tolist() == [False, False, True] * 2
    other = table6(records, "mnist", {name: {"defense": "trades"} for name in MODELS}, numbers_of_the_paper())
    assert other["paper"].isna().all()
    assert table6(records, "scenes", MODELS, numbers_of_the_paper())["paper"].isna().all()


def test_table7_tells_the_papers_values_of_its_attacks(records):
    named = records.assign(attack=records["attack"].replace({"pgd10": "pgd", "pgd10+a3": "pgd+a3"}))
    table = table7(named[named["model"] == "plain"], numbers_of_the_paper())
    assert table["paper"].tolist()[1:] == [13.6, 10.8]
    assert np.isnan(table["paper"][0])


def test_the_papers_table_6_is_shown_beside_the_papers_setting():
    assert published6(papers6()) is not None
    cifar = {"resnet9": {"network": "resnet9", "defense": "alp"}}
    attacks = {"pgd20": attack(eps=8 / 255, step_size=2 / 255)}
    assert published6(papers6(data="cifar10", models=cifar, attacks=attacks)) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"images": 500},
        {"split": "train"},
        {"transfer": "resnet8"},
        {"data": "scenes"},
        {"attacks": {"pgd10": attack(eps=0.2)}},
        {"attacks": {"pgd10": attack(), "cw10": attack(eps=0.1)}},
        {"models": {"net": {"network": "resnet8", "defense": "none"}}},
        {"models": {**MODELS, "net": {"network": "resnet8", "defense": "none"}}},
    ],
)
def test_the_papers_table_6_is_not_shown_beside_another_setting(change):
    assert published6(papers6(**change)) is None


@pytest.mark.parametrize("change", [{"stop": True}, {"attacks": {"pgd10": attack(restarts=20)}}])
def test_the_papers_table_6_is_not_shown_beside_accuracies_of_another_kind(change):
    assert published6(papers6(**change)) is None


def papers7(**changes: object) -> dict:
    """Manifest of the paper's Table 7, or of one that differs from it."""
    settings = {"eps": 4 / 255, "steps": 3, "step_size": 2 / 255}
    options = {
        "data": "imagenet",
        "split": "val",
        "images": 50_000,
        "models": {"inception_v3": {"network": "inception_v3", "defense": "none"}},
        "attacks": {"clean": None, "pgd": attack(**settings), "pgd+a3": attack(**settings, sigma=10.0)},
    }
    return manifest(**(options | changes))


def test_the_papers_table_7_is_shown_beside_the_papers_setting():
    assert published7(papers7()) is not None


def changed(**changes: object) -> dict:
    attacks = copy.deepcopy(papers7()["options"]["attacks"])
    attacks["pgd+a3"] |= changes
    return {"attacks": attacks}


@pytest.mark.parametrize(
    "change",
    [
        {"images": 500},
        {"transfer": "resnet50"},
        {"models": {"net": {"network": "resnet50", "defense": "none"}}},
        changed(sigma=5.0),
        changed(eps=8 / 255),
        changed(steps=10),
    ],
)
def test_the_papers_table_7_is_not_shown_beside_another_setting(change):
    assert published7(papers7(**change)) is None


@pytest.mark.parametrize(
    "change",
    [
        changed(sigma=0.0),
        {"split": "train"},
        {"stop": True},
        {"attacks": {name: one and one | {"restarts": 5} for name, one in papers7()["options"]["attacks"].items()}},
        {"models": {"mine": {"network": "inception_v3", "defense": "alp"}}},
    ],
    ids=["sigma 0", "train", "stop", "restarts", "defense"],
)
def test_the_papers_table_7_is_not_shown_beside_a_setting_that_differs_elsewhere(change):
    assert published7(papers7(**change)) is None


# ------------------------------------------------------------------ files


def test_a_run_writes_each_table_as_csv_and_latex(finished):
    report = report_run(finished)
    assert list(report.frames) == ["table6", "table6_worst", "table7", "paired"]
    for name, frame in report.frames.items():
        pd.testing.assert_frame_equal(pd.read_csv(finished / f"tables/{name}.csv"), frame, check_dtype=False)
        assert (finished / f"tables/{name}.tex").exists()
    assert report.summary[0] == "8 of 8 records of images and models"


def test_captions_tell_what_the_numbers_depend_on(tmp_path):
    attacks = {"pgd10": attack(restarts=5, eps=8 / 255), "pgd10+a3": attack(eps=8 / 255, sigma=10.0)}
    described = manifest(attacks=attacks, transfer="other", stop=True)
    captions = report_run(write(tmp_path / "run", rows(), described)).captions
    for part in ("mnist test, 4 images", "eps 8/255", "5 random starts", "made on other", "Wilson"):
        assert part in captions["table6"]
    assert "10 steps, sigma 10" in captions["table7"]
    assert "McNemar" in captions["paired"]


def test_table_7_is_left_out_where_no_attack_is_augmented_and_pairs_where_there_is_one_model(tmp_path):
    only = [row | {"attacks": row["attacks"][:2]} for row in rows() if row["model"] == "plain"]
    described = manifest(models={"plain": MODELS["plain"]}, attacks={"clean": None, "pgd10": attack()})
    assert list(report_run(write(tmp_path / "run", only, described)).frames) == ["table6", "table6_worst"]


def test_skipped_images_count_nowhere_and_are_told(tmp_path):
    skipped = [{"image_id": "broken", "skipped": "the file is empty"}]
    both = [*rows()[:4], *skipped, *rows()[4:], *skipped]
    report = report_run(write(tmp_path / "run", both, manifest(images=5)))
    assert report.summary[:2] == [
        "8 of 10 records of images and models",
        "1 images could not be used; skipped.csv tells why",
    ]
    assert set(report.frames["table6"]["n"]) == {4}


def test_an_unfinished_run_has_tables_of_what_is_there(tmp_path):
    run = open_run(tmp_path / "run", manifest(), EVALUATION)
    run.write_part(0, rows()[:5])
    report = report_run(run.folder)
    assert report.frames["table6"]["n"].tolist() == [4, 4, 4, 1, 1, 1]
    assert report.frames["paired"]["n"].tolist() == [1, 1, 1]
    assert report.summary[-1].startswith("unfinished")
    assert json.loads((run.folder / "run.json").read_text())["finished"] is None


def assert_tabular(text: str) -> list[list[str]]:
    """Check LaTeX of a booktabs table, and return the cells of its lines."""
    for once in (r"\begin{table}", r"\end{table}", r"\toprule", r"\midrule", r"\bottomrule", r"\caption{"):
        assert text.count(once) == 1
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
        cells = assert_tabular(as_latex(LAYOUTS[name](frame), caption))
        assert len(cells) == 1 + (3 if name == "paired" else 2)


def test_latex_of_table_6_is_the_papers_layout_with_its_values_below(records):
    table = table6(records, "mnist", MODELS, numbers_of_the_paper())
    assert assert_tabular(as_latex(LAYOUTS["table6"](table), "Table")) == [
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
    assert assert_tabular(as_latex(LAYOUTS["paired"](frame), "Pairs"))[1][-1] != "0.00"


@pytest.mark.parametrize("special", ["\\", "^", "~"])
def test_latex_of_a_name_with_any_special_character_is_escaped(records, special):
    name = f"net{special}1"
    table = table6(records.assign(model=name), "mnist", {name: {"defense": "none"}})
    assert name not in as_latex(LAYOUTS["table6"](table), "Table")
