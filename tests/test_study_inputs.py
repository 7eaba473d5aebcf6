"""What a study is given: runs that share images, that are one, and that cannot be compared."""

import html

import numpy as np
import pandas as pd
import pytest
import studies
from common import error_of

from attnlab.study.adjudicate import adjudicate
from attnlab.study.comparisons import comparisons
from attnlab.study.inputs import read_runs
from attnlab.study.tables import of_claim
from attnlab.study.write import study


def test_runs_of_different_images_are_compared_on_those_they_share(tmp_path):
    records = studies.rows(60)
    folders = [studies.write(tmp_path / "a", records), studies.write(tmp_path / "b", records[20:])]
    inputs = read_runs(folders)
    assert inputs.images.groupby("run").size().tolist() == [40, 40]
    assert (
        f"runs of different images ({folders[0]} 60, {folders[1]} 40): the 40 that all have are compared"
        in inputs.notes
    )


def with_maps(records: list[dict], which: slice, **other: object) -> list[dict]:
    """The same images, with some of their maps."""
    attacked = [{**row["adversarial"][0], "maps": row["adversarial"][0]["maps"][which], **other} for row in records]
    return [
        {**row, "maps": row["maps"][which], "adversarial": [one]} for row, one in zip(records, attacked, strict=True)
    ]


def test_runs_that_differ_in_their_methods_alone_are_one_and_corrected_together(tmp_path):
    methods, records = ("grad-cam", "saliency", "layer-cam"), studies.rows(80, methods=3)
    whole = studies.write(tmp_path / "whole", records, studies.manifest(80, methods))
    first = studies.write(tmp_path / "first", with_maps(records, slice(2)), studies.manifest(80, methods[:2]))
    second = studies.write(tmp_path / "second", with_maps(records, slice(1, 3)), studies.manifest(80, methods[1:]))
    inputs, expected = read_runs([first, second]), read_runs([whole])
    assert f"{first} and {second} differ in their methods alone: they are studied as one run" in inputs.notes
    assert inputs.images.groupby("method").size().to_dict() == dict.fromkeys(methods, 80)
    assert set(inputs.images["model"]) == {"net"}
    table, alone = adjudicate(comparisons(inputs)), adjudicate(comparisons(expected))
    of_claim = table[table["claim"] == "1"]
    assert of_claim["tests"].tolist() == [3, 3, 3]
    pd.testing.assert_frame_equal(table, alone)


@pytest.mark.parametrize("other", ["attack", "layer", "outcomes"])
def test_runs_that_differ_in_more_than_methods_stay_apart(tmp_path, other):
    records = studies.rows(80, methods=2)
    second = studies.manifest(80, ("saliency",))
    if other == "attack":
        second["options"]["attack"] = {**studies.ATTACK, "steps": 2}
    if other == "layer":
        second["model"]["layer"] = "first"
    moved = {"confidence": 0.25} if other == "outcomes" else {}
    folders = [
        studies.write(tmp_path / "first", with_maps(records, slice(1)), studies.manifest(80)),
        studies.write(tmp_path / "second", with_maps(records, slice(1, 2), **moved), second),
    ]
    inputs = read_runs(folders)
    assert set(inputs.images["model"]) == {"net (first)", "net (second)"}
    assert not any("methods alone" in note for note in inputs.notes)
    assert set(adjudicate(comparisons(inputs, ["1"]))["tests"]) == {1}


def test_runs_that_share_few_images_or_disagree_on_a_label_are_refused(tmp_path):
    records = studies.rows(60)
    folders = [studies.write(tmp_path / "a", records), studies.write(tmp_path / "b", records[40:])]
    assert error_of(read_runs, folders).startswith("expected runs that share at least 30 images, got 20 (images: ")
    other = [{**row, "label": (row["label"] + 1) % 30} for row in records]
    folders[1] = studies.write(tmp_path / "c", other)
    assert "expected one label for each image, got " in error_of(read_runs, folders)
    assert error_of(read_runs, folders[:1] * 2) == f"expected each run once, got {folders[0]} twice"


def test_an_older_run_has_no_margin_and_its_log_odds_stand_for_it(tmp_path):
    run = studies.write(tmp_path / "old", [{**row, "margin": None} for row in studies.rows(400)])
    inputs = read_runs([run])
    assert f"{run}: margin not recorded for 400 images (made by an older attnlab)" in inputs.notes[0]
    row = adjudicate(comparisons(inputs, ["1"])).iloc[0]
    assert row["controls"].startswith("log_odds, box_area")
    assert row["margin"] == "log-odds of the label"


def test_an_attack_that_never_fails_is_said(tmp_path):
    records = studies.rows(40)
    for row in records:
        row["adversarial"][0]["prediction"] = (row["label"] + 1) % 30
    row = adjudicate(comparisons(read_runs([studies.write(tmp_path / "all", records)]), ["1"])).iloc[0]
    assert row["sentence"] == "cannot be told at this n: 0 images of fail, 40 of succeed"
    assert np.isnan(row["difference"])


def test_a_study_writes_its_files(tmp_path):
    made = study([studies.write(tmp_path / "run", studies.rows(60))])
    names = made.write(tmp_path / "out")
    assert {"images.csv", "claims.csv", "summary.md", "study.html", "claim1.png", "claim1.pdf", "claim1.tex"} <= {
        *names
    }
    assert all((tmp_path / "out" / name).stat().st_size for name in names)
    read = pd.read_csv(tmp_path / "out/claims.csv", keep_default_na=False)
    assert read["verdict"].tolist() == made.claims["verdict"].tolist()
    assert len(pd.read_csv(tmp_path / "out/images.csv")) == 60
    page = (tmp_path / "out/study.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == len(made.names) == 4
    assert made.claims["sentence"][0] in html.unescape(page)
    assert "http" not in page.replace("http-equiv", "")
    assert (tmp_path / "out/summary.md").read_text().count("## Claim") == 4
    assert "matched" in of_claim(made.claims, "1").heads
    assert "gone with margin" not in of_claim(made.claims, "2-confidence").heads  # which is not controlled for


def test_the_command_that_repeats_a_study_has_all_its_options(tmp_path):
    run = studies.write(tmp_path / "run", studies.rows(60))
    made = study([run], called=["a"], cells=3, smallest=0.1, defended=["a"])
    assert made.command == "attnlab study a --defended a --cells 3 --smallest 0.1"
    assert study([run], called=["a"]).command == "attnlab study a"


def test_runs_without_boxes_or_whose_attack_holds_predictions_say_what_cannot_be_looked_at(tmp_path):
    described = studies.manifest(40)
    described["data"]["has_boxes"] = False
    described["options"]["attack"] = {**studies.ATTACK, "objective": "move-map", "distance": "cosine"}
    read = read_runs([studies.write(tmp_path / "r", studies.rows(40), described)], called=["r"])
    assert read.notes == [
        "r: its attack holds predictions, so no claim about its success is looked at",
        "r has no boxes: claims 1 and 2 cannot be looked at",
    ]
    assert read.images["succeed"].isna().all()
