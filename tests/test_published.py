"""The paper's values of Tables 6 and 7: shown beside its own setting alone."""

import copy

import numpy as np
import pandas as pd
import pytest
from evaluations import MODELS, attack, manifest, rows, write

from attnlab.records import read_evaluation
from attnlab.report.tables.accuracy import table6, table7
from attnlab.report.tables.published import numbers_of_the_paper, published6, published7


@pytest.fixture
def records(tmp_path) -> pd.DataFrame:
    return read_evaluation(write(tmp_path / "run", rows(), manifest()))


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
