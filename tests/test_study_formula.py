"""A user's own claim: a formula over the table of images, fitted as statsmodels fits it."""

import numpy as np
import pandas as pd
import pytest
import studies
from common import error_of
from statsmodels.formula import api

from attnlab.study.formula import fit_formula, parse_formula
from attnlab.study.inputs import read_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return studies.write(tmp_path_factory.mktemp("formula") / "run", studies.rows(200, effect=-4))


@pytest.fixture(scope="module")
def images(folder) -> pd.DataFrame:
    return read_runs([folder]).images


def fitted(images, text):
    return fit_formula(images, parse_formula(text, list(images)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("succeed ~ iou_att_gt + margin + box_area", "logistic"),
        ("iou_att_gt ~ succeed * margin + log(box_area)", "linear"),
    ],
)
def test_a_formula_equals_statsmodels_own(images, text, kind):
    model = (api.logit if kind == "logistic" else api.ols)(text.replace("log(", "np.log("), images)
    groups = {"cov_type": "cluster", "cov_kwds": {"groups": images["label"]}, "use_t": True}
    fit = model.fit(**groups, **({"disp": 0} if kind == "logistic" else {}))
    found = fitted(images, text)
    assert set(found["kind"]) == {kind}
    assert found["term"].str.replace("log(", "np.log(").tolist() == list(fit.params.index)
    np.testing.assert_allclose(found["coefficient"], fit.params, rtol=1e-6)
    np.testing.assert_allclose(found["p"], fit.pvalues, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found[["ci_low", "ci_high"]], fit.conf_int(), rtol=1e-5, atol=1e-9)


def test_what_is_the_same_for_all_eps_and_methods_is_fitted_once(tmp_path):
    records = [{**row, "adversarial": row["adversarial"] * 2} for row in studies.rows(60, methods=2)]
    described = studies.manifest(60, ("grad-cam", "saliency"), (4 / 255, 8 / 255))
    images = read_runs([studies.write(tmp_path / "run", records, described)]).images
    assert len(fitted(images, "margin ~ box_area")) == 2
    assert len(fitted(images, "adv_confidence ~ margin")) == 2 * 2
    assert len(fitted(images, "iou_att_gt ~ margin")) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("succeed ~ iou_at_gt", "got 'iou_at_gt' in 'succeed ~ iou_at_gt'; did you mean 'iou_att_gt'?"),
        ("succeed", "expected a formula such as 'succeed ~ iou_att_gt + margin + box_area', got 'succeed'"),
        ("succeed ~ margin ~ box_area", "expected a formula such as "),
        ("succeed ~ log(margin", "expected a formula such as "),
        ("succeed ~ margin +", "got 'succeed ~ margin +' ("),
        ("succeed ~ margin.shape", "expected a formula of columns and log, "),
        ("succeed ~ __import__('os')", "expected a formula of columns and log, "),
        ("succeed ~ open(margin)", "got 'open' in "),
    ],
)
def test_a_formula_that_cannot_be_read_is_one_line(images, text, message):
    assert message in error_of(fitted, images, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("succeed ~ C(label)", "too few images for the control: "),
        ("iou_att_gt ~ C(label)", "too few images: 200, 290 needed for 29 variables"),
        ("succeed ~ margin + I(2 * margin)", "the terms depend on each other"),
        ("succeed ~ adv_prediction + defended", "no image has defended"),
    ],
)
def test_what_cannot_be_fitted_is_said_and_has_no_number(images, text, reason):
    row = fitted(images, text).iloc[0]
    assert row["missing"].startswith(reason)
    assert np.isnan(row["coefficient"])


def test_a_term_that_one_image_decides_and_groups_told_apart_have_no_number(images):
    lonely = images.assign(box_count=[5.0] + [1.0] * (len(images) - 1))
    assert fitted(lonely, "iou_att_gt ~ box_count")["missing"][0] == "one image alone decides a term"
    apart = images.assign(margin=images["succeed"] + images["margin"] / 100)
    assert fitted(apart, "succeed ~ margin")["missing"][0] == "the terms tell the groups apart (separation)"


# ------------------------------------------------------------------ the command


def test_the_command_fits_formulas_and_writes_them(folder, attnlab, tmp_path):
    done = attnlab("study", folder, "--claim", "succeed ~ margin", "--claim", "iou_att_gt ~ box_area", "--out", "out")
    assert done.code == 0
    assert "margin (logistic)" in done.out
    assert "box_area (linear)" in done.out
    written = pd.read_csv("out/formulas.csv")
    assert written["formula"].unique().tolist() == ["succeed ~ margin", "iou_att_gt ~ box_area"]
    assert "Formula 2" in (tmp_path / "out/study.html").read_text()
    assert not (tmp_path / "out/claims.csv").exists()


def test_mistakes_of_the_command_are_one_line(folder, attnlab, tmp_path):
    assert attnlab("study", "nowhere").error == "expected nowhere to be a run, but it has no run.json"
    assert "did you mean 'margin'?" in attnlab("study", folder, "--claim", "succeed ~ margins").error
    assert "--defended to be one of " in attnlab("study", folder, "--defended", "runs/x").error
    assert (
        "expected --smallest between 0 and 1, such as 0.03, got 3" in attnlab("study", folder, "--smallest", "3").error
    )
    (tmp_path / "file").write_text("")
    assert attnlab("study", folder, "--claim", "succeed ~ margin", "--out", "file/x").error.startswith("cannot write ")
    assert attnlab("study").code == 2


def test_a_missing_package_is_named(folder, attnlab, monkeypatch):
    monkeypatch.setattr("attnlab.errors.find_spec", lambda name: None)
    assert attnlab("study", folder).error == "expected the package statsmodels, got none: pip install 'attnlab[study]'"
