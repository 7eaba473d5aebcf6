"""Attacks on maps in evaluations and analyses: records, the table of gaze, checks, and what a user reads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from evaluations import MODELS, attack, manifest, write
from torch import nn
from twins import EPS, IMAGES, run_evaluation

from attnlab.attacks import ATTACKS, DISTANCES
from attnlab.attacks.gaze import compared
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.attention.map_metrics import topk_intersection
from attnlab.models import Classifier
from attnlab.records import read_checks, read_evaluation, read_records
from attnlab.report.tables import TABLES
from attnlab.report.tables.accuracy import gaze
from attnlab.report.tables.export import write_tables
from attnlab.report.tables.sources import evaluation
from attnlab.runs import Run
from attnlab.seeding import seed_of
from attnlab.words import counted

ON_MAPS = {
    name: replace(ATTACKS[stem], eps=EPS, steps=steps, step_size=2 / 255)
    for name, stem, steps in (("explain2", "explain", 2), ("explain4", "explain", 4), ("keep-map4", "keep-map", 4))
}


@pytest.fixture(scope="module")
def run(twins, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gaze") / "run"
    options = {"attacks": {"clean": None, **ON_MAPS}, "seed": 3, "check": True}
    run_evaluation({"first": twins["first"]}, out, options, positions=range(8))
    return out


def test_records_equal_attacks_made_one_image_at_a_time(run, twins, scenes_batch):
    records = read_evaluation(run).set_index(["image_id", "attack"])
    classifier, (images, labels) = twins["first"], scenes_batch
    clean = records.xs("clean", level="attack")
    assert (clean["distance"].isna().all(), clean["shared_cells"].isna().all()) == (True, True)
    for number in (0, 5):
        image, image_id = images[[number]], IMAGES.image_ids[number]
        with torch.no_grad():
            predicted = classifier(image).argmax(1)
        before = grad_cam(classifier, image, predicted)
        for name, setting in ON_MAPS.items():
            made = perturb(classifier, image, labels[[number]], setting, seeds=[seed_of(3, image_id)])
            after = grad_cam(classifier, made, predicted)
            record = records.loc[(image_id, name)]
            expected = DISTANCES[setting.distance](before, after).item()
            assert record["distance"] == pytest.approx(expected, abs=1e-2)
            moved = np.array(record["shared_cells"]) - topk_intersection(before, after)[0].numpy()
            assert abs(moved).max() <= 2, "the batch moves last digits"
            with torch.no_grad():
                assert record["prediction"] == classifier(made).argmax(1)
        assert records.loc[(image_id, "explain4")]["prediction"] == predicted
        assert records.loc[(image_id, "explain4"), "distance"] >= records.loc[(image_id, "explain2"), "distance"]


def test_a_clean_map_that_shows_nothing_counts_for_no_attack_and_an_attacked_one_for_no_distance():
    clean = torch.tensor([[[1.0, -1.0]], [[-1.0, -2.0]], [[3.0, 1.0]], [[0.0, 0.0]]])
    maps = torch.tensor([[[-1.0, 1.0]], [[1.0, 0.0]], [[-1.0, -2.0]], [[1.0, 0.0]]])
    distances, shared = compared(clean, maps, replace(ATTACKS["explain"], distance="l2"))
    assert distances.tolist() == pytest.approx([2**0.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert shared.tolist() == [[0, 2], [-1, -1], [1, 2], [-1, -1]]
    distances, shared = compared(clean, maps, replace(ATTACKS["explain"], distance="cosine"))
    assert distances.tolist() == pytest.approx([2, 1 + 1 / 5**0.5, 1 + 5 / 50**0.5, np.nan], nan_ok=True)
    assert shared[:, 0].tolist() == [0, 1, 1, -1]


class Dark(nn.Module):
    """A network whose maps are below 0 everywhere: of no class is a weight positive."""

    input_size = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 3, 1, bias=False)
        self.last = nn.Linear(3, 10)
        nn.init.eye_(self.cells.weight[..., 0, 0])
        nn.init.constant_(self.last.weight, -5)
        nn.init.constant_(self.last.weight[0], -1)

    def forward(self, x):
        return self.last(self.cells(x).relu().mean((2, 3)))


def test_a_network_whose_maps_show_nothing_does_not_seem_to_hold_its_gaze(tmp_path):
    classifier = Classifier(Dark())
    options = {"attacks": {"explain2": ON_MAPS["explain2"]}, "check": True}
    run_evaluation({"dark": classifier}, tmp_path / "r", options, positions=range(40))
    records = read_evaluation(tmp_path / "r")
    assert (records["distance"].isna().all(), records["shared_cells"].isna().all()) == (True, True)
    table = write_tables(tmp_path / "r").frames["gaze"]
    assert (table["of"] > 0).all()
    assert (table["n"] == 0).all()
    assert "nothing in the clean maps is positive" in str(read_checks(tmp_path / "r"))


def test_another_batch_size_changes_little(run, twins, tmp_path):
    options = {"attacks": {"clean": None, **ON_MAPS}, "seed": 3}
    run_evaluation({"first": twins["first"]}, tmp_path / "r", options, positions=range(8), batch_size=3)
    ours, theirs = (
        read_evaluation(folder).query("attack == 'explain4'")["distance"] for folder in (tmp_path / "r", run)
    )
    assert theirs.median() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


def test_a_transfer_holds_the_sources_prediction_and_measures_the_victims_map(twins, tmp_path, scenes_batch):
    options = {"attacks": {"explain2": ON_MAPS["explain2"]}, "seed": 3}
    first, second = twins.values()
    run_evaluation({"first": first}, tmp_path / "r", options, source=second, positions=range(4), batch_size=4)
    images, labels = (part[:4] for part in scenes_batch)
    seeds = [seed_of(3, image_id) for image_id in IMAGES.image_ids[:4]]
    made = perturb(second, images, labels, ON_MAPS["explain2"], seeds=seeds)
    with torch.no_grad():
        predicted = first(images).argmax(1)
    expected = DISTANCES["top-k"](grad_cam(first, images, predicted), grad_cam(first, made, predicted))
    np.testing.assert_allclose(read_evaluation(tmp_path / "r")["distance"], expected, atol=1e-4)


def test_the_checks_of_a_run_with_attacks_on_maps_find_nothing(run):
    assert read_checks(run) == []


# ------------------------------------------------------------------ the table


def outcome(name: str, prediction: int, shared: list[int] | None, distance: float | None) -> dict:
    shown = {"attack": name, "prediction": prediction, "margin": 1.0, "loss": 0.5, "steps_to_success": None}
    return shown | {"distance": distance, "shared_cells": shared}


def made_by_hand(folder: Path) -> Path:
    """Five images of six cells: right and kept, kept, changed, without a map, and wrong from the start."""
    images = [
        ("a", 0, 0, (0, [0, 1, 1, 2, 4, 6], 0.5), (1, [1, 2, 3, 4, 5, 6], 0.1)),
        ("b", 1, 1, (1, [1, 2, 3, 4, 5, 6], 0.0), (1, [1, 2, 3, 4, 5, 6], 0.0)),
        ("c", 0, 0, (1, [0, 0, 0, 0, 4, 6], 0.9), (1, [1, 2, 3, 4, 3, 6], 0.3)),
        ("d", 1, 1, (1, None, 0.0), (1, None, 0.0)),
        ("e", 0, 1, (1, [0, 0, 0, 0, 4, 6], 0.9), (0, [0, 0, 0, 0, 4, 6], 0.9)),
    ]
    rows = [
        {"image_id": image, "model": "plain", "label": label, "prediction": clean, "margin": 1.0, "loss": 0.5}
        | {"attacks": [outcome("explain5", *explain), outcome("keep-map5", *held), outcome("pgd5", 0, None, None)]}
        for image, label, clean, explain, held in images
    ]
    on_maps = {"distance": "top-k", "method": "grad-cam", "keep": 0.5, "softplus": None}
    attacks = {
        "explain5": attack(objective="move-map", **on_maps),
        "keep-map5": attack(objective="keep-map", **on_maps | {"distance": "l2", "softplus": 10.0}),
        "pgd5": attack(),
    }
    return write(folder, rows, manifest(models={"plain": MODELS["plain"]}, attacks=attacks, images=5))


def test_the_table_of_gaze_by_hand(tmp_path):
    frame = evaluation(Run(made_by_hand(tmp_path / "run"))).given
    table = gaze(frame["records"], MODELS, frame["map_attacks"])
    assert list(table) == [column.name for column in TABLES["gaze"].columns]
    cells = table.set_index(["attack", "measure"])
    kept, changed = cells.loc[("explain5", "IoU of 5 cells")], cells.loc[("keep-map5", "IoU of 5 cells")]
    assert (kept["prediction"], kept["of"], kept["n"]) == ("kept", 4, 2)
    assert kept["mean"] == pytest.approx((4 / 6 + 5 / 5) / 2)
    assert (changed["prediction"], changed["of"], changed["n"]) == ("changed", 4, 2)
    assert changed["mean"] == pytest.approx((5 / 5 + 3 / 7) / 2)
    distances = cells.loc[("explain5", "top-k distance")], cells.loc[("keep-map5", "l2 distance")]
    assert [row["n"] for row in distances] == [3, 2]
    assert [row["mean"] for row in distances] == [pytest.approx(0.5 / 3), pytest.approx(0.2)]
    assert len(table) == 4, "maps of six cells say nothing of 10 and more, and pgd5 moves none"


def test_the_caption_says_what_is_moved_and_held(tmp_path):
    report = write_tables(made_by_hand(tmp_path / "run"))
    caption = report.captions["gaze"]
    for part in (
        "moves grad-cam maps of the clean prediction, top-k distance, prediction held with a margin of 0.5",
        "holds grad-cam maps of the clean prediction, l2 distance, gradients by softplus of 10",
        "intervals: 95 %, bootstrap",
    ):
        assert part in caption
    assert "Wilson" in report.captions["table6"]
    assert (tmp_path / "run/tables/gaze.tex").exists()


def test_records_of_before_are_read_and_have_no_table_of_gaze(evaluated):
    assert "gaze" not in write_tables(evaluated).frames
    assert read_evaluation(Path(__file__).parent / "golden/evaluation")["distance"].isna().all()


# ------------------------------------------------------------------ the command


def test_a_user_evaluates_by_name_and_reads_the_table(attnlab):
    words = ["evaluate", "--attacks", "clean,explain3", "--limit", 6, "--workers", 0, "--no-check", "--out", "out"]
    printed = attnlab(*words, "--keep-prediction", "0.5", "--explain-distance", "cosine")
    assert printed.code == 0
    assert "IoU of 10 cells" in printed.out
    options = json.loads(Path("out/run.json").read_text())["options"]["attacks"]["explain3"]
    assert (options["keep"], options["distance"], options["steps"]) == (0.5, "cosine", 3)
    table = pd.read_csv("out/tables/gaze.csv")
    assert table["measure"].tolist()[-1] == "cosine distance"
    error = attnlab(*words, "--keep-prediction", "1").error
    assert "(attacks explain3 distance was 'cosine', is 'top-k'; attacks explain3 keep was 0.5, is 1.0)" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attacks", "explain5", "--keep-prediction", "-1"], "expected --keep-prediction of at least 0, got -1"),
        (["--attacks", "pgd5", "--keep-prediction", "1"], "expected --keep-prediction with an attack on maps (explain"),
        (
            ["--attacks", "explain5", "--explain-method", "lime"],
            "expected --explain-method to have maps with a gradient",
        ),
        (["--attacks", "explain5", "--explain-distance", "l3"], "expected --explain-distance to be one of top-k, l2,"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(attnlab, words, message):
    assert attnlab("evaluate", *words, "--limit", 4, "--out", "out").error.startswith(message)


def test_an_analysis_under_an_attack_on_maps_names_the_group_that_kept_its_prediction(attnlab):
    words = ["analyze", "--split", "test", "--limit", 12, "--workers", 0, "--out", "out"]
    words += ["--method", "layer-cam,grad-cam", "--measures", "entropy", "--attack", "explain4", "--step-size", "4/255"]
    printed = attnlab(*words)
    assert printed.code == 0
    table = pd.read_csv("out/tables/table3.csv").query("method == 'layer-cam' and cells == 5").set_index("group")
    assert list(table.index) == ["lost", "kept"]
    assert (table.loc["lost", "n"], table.loc["kept", "n"] > 8) == (0, True)
    assert table.loc["kept", "iou_ori_adv"] < 0.8
    latex = Path("out/tables/table3.tex").read_text()
    assert r"\mathcal{I}_{kept}$: it leaves the prediction as it is" in latex
    assert "succeed" not in latex
    assert json.loads(Path("out/run.json").read_text())["options"]["attack"]["method"] == "layer-cam"
    assert "moves layer-cam maps of the clean prediction" in " ".join(printed.out.split())
    assert attnlab("tables", "out", "--controls").code == 0
    controls = pd.read_csv("out/tables/controls.csv")
    assert {"n_lost", "lost", "n_kept", "kept"} < set(controls)
    assert r"\mathcal{I}_{kept}" in Path("out/tables/measures.tex").read_text()
    assert attnlab("report", "out", "--no-images").code == 0
    page = Path("out/report.html").read_text()
    assert 'class="fail">prediction kept</th>' in page
    assert '<span class="key succeed">prediction lost</span>: the attack changes the prediction' in page
    assert ">fail<" not in page
    assert ">succeed<" not in page
    assert attnlab("figures", "out", "--only", "figure1").code == 0
    caption = Path("out/figures/figure1-layer-cam.txt").read_text()
    assert "Visual attention of the image whose prediction the attack keeps: the original image" in caption
    assert attnlab("export", "csv", "out", "--out", "exported").code == 0
    assert set(pd.read_csv("exported/records.csv")["group"]) <= {"kept", "misclassified"}
    refused = attnlab("figures", "out", "--only", "success-against-iou").error
    assert "the attack is to leave predictions as they are" in refused


#: resnet8 with evidence against class 6 alone, which it always predicts: none of its maps has a positive value
AGAINST = """
from attnlab.models import load_model

def build():
    network = load_model("resnet8").network
    network.classifier.weight.data[6] = -network.classifier.weight.data[6].abs()
    network.classifier.bias.data[6] = 1000
    return network
"""


def test_an_analysis_says_of_how_many_images_the_map_has_nothing_to_move(attnlab, tmp_path):
    (tmp_path / "against.py").write_text(AGAINST)
    words = ["analyze", "--model", f"{tmp_path}/against.py:build", "--limit", 20]
    line = "nothing to move: the clean grad-cam map of {} has no positive value"
    said = {
        name: " ".join(attnlab(*words, "--attack", "explain2", *options, "--out", tmp_path / name).out.split())
        for name, options in {"top-k": (), "cosine": ("--explain-distance", "cosine")}.items()
    }
    records = read_records(tmp_path / "top-k")
    correct = records[records["prediction"] == records["label"]]
    assert set(correct["label"]) == {6}
    assert all(max(values) <= 0 for values in correct["map"])
    assert line.format(counted(len(correct), "image")) in said["top-k"]
    assert all((np.array(shared) == np.arange(1, 65)).all() for shared in correct["shared_cells"])
    assert "nothing to move" not in said["cosine"]
