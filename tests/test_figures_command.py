"""`attnlab figures`: what it draws of each kind of folder, and what it says where it cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import analyze_images

from attnlab.data import load_dataset
from attnlab.records import read_records
from attnlab.report.figures import FIGURES
from attnlab.report.tables.iou import i_att


def files(folder: Path | str) -> set[str]:
    """Names of figures that are there as PNG, PDF and caption."""
    found = [{path.stem for path in Path(folder).glob(f"*.{kind}")} for kind in ("png", "pdf", "txt")]
    assert found[0] == found[1] == found[2]
    return found[0]


def of_analysis(*, images: bool) -> set[str]:
    """Names of the figures of an analysis at 4/255 and 16/255 without LIME; those that show images, or not."""
    specs = {name: spec for name, spec in FIGURES.items() if spec.of == "analyze" and "LIME" not in spec.choice}
    return {
        name + ending
        for name, spec in specs.items()
        for ending in (("-eps-4-255", "-eps-16-255") if spec.each_eps else ("",))
        if images or not spec.choice
    }


@pytest.fixture
def mine(run, tmp_path) -> Path:
    """A copy of the run of 200 scenes at two budgets, to write into and to spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def changed(folder: Path, **values: object) -> None:
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(manifest | values))


def test_an_analysis_is_drawn_into_its_own_folder(attnlab, mine):
    done = attnlab("figures", mine)
    assert done.code == 0, done.err
    names = files(mine / "figures")
    assert names == of_analysis(images=True)
    assert names >= {"figure1-eps-4-255", "iou-distributions-eps-16-255", "figure13", "success-against-iou"}
    assert "figure3 is left out: the run has no maps of lime; analyze with --method lime makes them" in done.out
    assert f"{mine}/figures: figure1-eps-4-255, figure1-eps-16-255, figure13" in done.out
    caption = (mine / "figures/figure1-eps-4-255.txt").read_text()
    assert "resnet8, scenes val, stepll, ε = 4/255" in caption
    assert "of each group the one whose IoU with the ground truth is the group's median" in caption


def test_figure_1_shows_the_images_of_the_rule_or_those_that_are_named(attnlab, mine, monkeypatch):
    from attnlab.report.figures import analyzed_images

    shown = []
    draw = analyzed_images.figure1
    monkeypatch.setattr(analyzed_images, "figure1", lambda images, **k: shown.append(images) or draw(images, **k))
    assert attnlab("figures", mine, "--only", "figure1").code == 0
    records = i_att(read_records(mine))
    for images, eps in zip(shown, (4 / 255, 16 / 255), strict=True):
        assert [group for group, _ in images.groups] == ["succeed", "fail"]
        for group, (one,) in images.groups:
            rows = records[(records["eps"] == eps) & (records["group"] == group)]
            assert one.clean[0].iou == rows["iou_att_gt"].quantile(0.5, interpolation="lower")
            (record,) = rows[rows["image_id"] == one.image_id].to_dict("records")
            assert one.adversarial[0].iou == record["adv_iou_att_gt"]
            np.testing.assert_array_equal(one.adversarial[0].map.ravel(), record["adv_map"])
            assert np.abs(one.adversarial[0].pixels - one.clean[0].pixels).max() == pytest.approx(eps, abs=1e-6)
    done = attnlab("figures", mine, "--only", "figure1", "--images", "val-00007,val-00003")
    assert done.code == 0
    assert [one.image_id for _, (one,) in shown[-1].groups] == ["val-00007", "val-00003"]
    assert "Images: as named." in (mine / "figures/figure1-eps-16-255.txt").read_text()


def test_lime_alone_gives_figure_3_and_tells_what_it_lacks(attnlab):
    words = ["--limit", 8, "--method", "lime", "--lime-samples", 20, "--lime-superpixels", "grid", "--no-lime-floor"]
    assert attnlab("analyze", *words, "--out", "run").code == 0
    done = attnlab("figures", "run")
    assert done.code == 0, done.err
    assert files("run/figures") == {"figure3"}
    assert "figure1 is left out: the run has no maps of grad-cam; analyze with --method grad-cam makes them" in done.out
    message = attnlab("figures", "run", "--only", "figure13").error
    assert message == (
        "figure13 cannot be drawn of run: the run has no maps of grad-cam; analyze with --method grad-cam makes them"
    )
    assert "run has no maps" in attnlab("figures", "run", "--overlays").error


def test_a_group_without_images_is_left_out_and_said_so(attnlab, resnet8, tmp_path):
    # an eps of 0 changes no prediction
    options = {"split": "val", "model": "resnet8", "memory_format": "channels-last", "eps": "0"}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **options, positions=range(20))
    done = attnlab("figures", "run", "--only", "figure1,iou-distributions")
    assert done.code == 0
    assert "figure1: there is no image for the row succeed, which is left out" in done.out
    assert files("run/figures") == {"figure1", "iou-distributions"}


def test_an_unfinished_run_is_drawn_and_marked(attnlab, mine):
    (mine / "records/part-00001.parquet").unlink()
    changed(mine, finished=None)
    done = attnlab("figures", mine, "--only", "success-against-iou", "--out", "elsewhere")
    assert done.code == 0
    assert "unfinished: 160 of 200 images" in done.out
    assert "Unfinished: 160 of 200 images." in Path("elsewhere/success-against-iou.txt").read_text()
    assert not (mine / "figures").exists()


def test_without_the_data_or_the_model_the_curves_are_drawn(attnlab, mine):
    options = json.loads((mine / "run.json").read_text())["options"]
    changed(mine, options=options | {"weights": "none"})
    done = attnlab("figures", mine)
    assert done.code == 0
    assert "figure1 is left out: " in done.out
    assert "model sha256 was" in done.out
    names = files(mine / "figures")
    assert names == of_analysis(images=False)
    assert names >= {"iou-distributions-eps-4-255", "success-against-iou", "iou-against-eps"}


def test_an_evaluation_gives_accuracy_against_steps(attnlab):
    attnlab("evaluate", "--limit", 10, "--attacks", "clean,pgd1,pgd2", "--no-check", "--out", "run")
    done = attnlab("figures", "run")
    assert done.code == 0
    assert files("run/figures") == {"accuracy-against-steps"}
    attnlab("evaluate", "--limit", 5, "--attacks", "fgsm", "--no-check", "--out", "single")
    assert "it needs an attack with several numbers of steps" in attnlab("figures", "single").error


def test_a_sweep_gives_figure_8(attnlab, tmp_path):
    columns = ["alpha", "beta", "epoch", "n", "clean", "robust"]
    rows = [(alpha, beta, 1, 50, 90.0, 40.0 + beta) for alpha in (0, 0.1) for beta in (0, 0.1)]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "sweep.csv", index=False)
    assert attnlab("figures", tmp_path).code == 0
    assert files(tmp_path / "figures") == {"figure8", "sweep"}
    pd.DataFrame(rows[:2], columns=columns).to_csv(tmp_path / "sweep.csv", index=False)
    message = attnlab("figures", tmp_path, "--only", "sweep").error
    assert "it needs several --alphas and several --betas" in message


@pytest.mark.parametrize(
    "content", ["", "alpha,beta,n,clean\n0,0,50,90\n", "alpha,beta,n,clean,robust\n0,0,50,90,much\n"]
)
def test_a_damaged_table_of_a_sweep_is_one_line(attnlab, tmp_path, content):
    (tmp_path / "sweep.csv").write_text(content)
    done = attnlab("figures", tmp_path)
    assert done.code == 1
    assert f"{tmp_path / 'sweep.csv'} is damaged" in done.error


def test_overlays_are_written_beside(attnlab, mine):
    words = ["--only", "iou-against-eps", "--overlays", "--images", "val-00001,val-00002"]
    done = attnlab("figures", mine, *words)
    assert done.code == 0
    assert f"{mine}/figures/overlays: 6 pictures" in done.out
    assert len(list((mine / "figures/overlays").glob("*.png"))) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "figure7"], "expected --only for RUN to be one of figure1, figure3, figure13, iou-distributions"),
        (["--only", "figure11"], "did you mean 'figure1'?"),
        (["--images", "nobody"], "RUN has no record of image 'nobody'"),
        (["--out", "RUN/run.json"], "cannot write to RUN/run.json (File exists); choose another folder with --out"),
    ],
)
def test_bad_input_is_one_line(attnlab, mine, words, message):
    text = attnlab("figures", mine, *(word.replace("RUN", str(mine)) for word in words)).error
    assert message.replace("RUN", str(mine)) in text


def test_a_newer_schema_and_folders_of_something_else_are_told(attnlab, mine, tmp_path):
    changed(mine, schema=99, attnlab="9.0")
    assert "was written by a newer attnlab (9.0); update attnlab" in attnlab("figures", mine).error
    (tmp_path / "empty").mkdir()
    assert "but it has no run.json, sweep.csv or model.json" in attnlab("figures", tmp_path / "empty").error
    assert "expected an existing folder, got 'runs/nothing'" in attnlab("figures", "runs/nothing").error
