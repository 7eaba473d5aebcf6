"""Targeted attacks: what a target may be, where they end, and what records and tables say of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from common import error_of
from evaluations import MODELS
from twins import COUNT, IMAGES, run_evaluation

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.clean_pass import targets_of
from attnlab.attacks.objectives import KAPPA, margin
from attnlab.attacks.parse import parse_attack
from attnlab.attacks.pgd import perturb
from attnlab.attacks.targets import check_targetable, parse_target, shared_target
from attnlab.attacks.trajectory import attack_results
from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.interactive import attack as attack_tensors
from attnlab.manifests import read_manifest
from attnlab.pipelines.analyze import analyze
from attnlab.records import read_checks, read_evaluation, read_records
from attnlab.report.page.images import group_of
from attnlab.report.tables.accuracy import targeted
from attnlab.report.tables.export import make_tables
from attnlab.report.tables.iou import i_att
from attnlab.runs import Run

EPS, STEP = 8 / 255, 2 / 255
PGD = Attack(eps=EPS, steps=5, step_size=STEP)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(6, 3, 19, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return images, torch.tensor([0, 1, 2, 3, 0, 1])


def logits_of(classifier, images):
    with torch.no_grad():
        return classifier(images)


def by_hand(classifier, images, targets, descended):
    """PGD to a target in ten lines: steps down what the target is missed by."""
    point = images.clone()
    for _ in range(5):
        point.requires_grad_()
        missed = descended(classifier(point), targets).sum()
        (gradient,) = torch.autograd.grad(missed, point)
        moved = point.detach() - STEP * gradient.sign()
        point = torch.minimum(torch.maximum(moved, images - EPS), images + EPS).clamp(0, 1)
    return point


def lead_over(logits, targets):
    """max(max_{j != t} z_j - z_t, -kappa), as Carlini and Wagner write it."""
    others = torch.stack(
        [row[torch.arange(len(row)) != target].max() for row, target in zip(logits, targets, strict=True)]
    )
    return (others - logits[torch.arange(len(logits)), targets]).clamp(min=-KAPPA)


# ------------------------------------------------------------------ against independent references


@pytest.mark.parametrize(
    ("objective", "descended"),
    [("cross-entropy", lambda logits, targets: F.cross_entropy(logits, targets, reduction="none")),
     ("margin", lead_over)],
)  # fmt: skip
def test_a_targeted_attack_equals_ten_lines_of_torch(small, batch, objective, descended):
    images, labels = batch
    ours = perturb(small, images, labels, replace(PGD, objective=objective, target=2))
    expected = by_hand(small, images, torch.full_like(labels, 2), descended)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert not torch.equal(ours, perturb(small, images, labels, replace(PGD, objective=objective)))


@pytest.mark.parametrize("sigma", [None, 10.0])
def test_towards_the_least_likely_class_is_iter_stepll(small, batch, sigma):
    stepll = replace(ATTACKS["iter-stepll"], eps=EPS, steps=5, step_size=STEP, sigma=sigma)
    ours = perturb(small, *batch, replace(PGD, target="least-likely", sigma=sigma))
    assert torch.equal(ours, perturb(small, *batch, stepll))


def test_targets_are_ranked_over_all_classes_on_the_clean_image(small, batch):
    images, labels = batch
    order = logits_of(small, images).numpy().argsort(1)[:, ::-1]
    for target, place in (("likely:2", 1), ("likely:3", 2), ("least-likely", -1)):
        found = targets_of(replace(PGD, target=target), logits_of(small, images), labels)
        assert found.tolist() == order[:, place].tolist()
    fixed = targets_of(replace(PGD, target=3), logits_of(small, images), labels)
    assert fixed.tolist() == [3] * 6
    with pytest.raises(ValueError, match="at most likely:5, got likely:9"):
        targets_of(replace(PGD, target="likely:9"), logits_of(small, images), labels)


# ------------------------------------------------------------------ invariants


@pytest.mark.parametrize("name", ["pgd", "cw", "mi-fgsm", "ni-fgsm"])
def test_the_loss_to_the_target_falls_and_the_ball_is_kept(resnet8, scenes_batch, name):
    images, labels = scenes_batch
    attack = replace(ATTACKS[name], eps=EPS, steps=8, step_size=STEP, target="likely:3")
    targets = targets_of(attack, logits_of(resnet8, images), labels)
    moved = perturb(resnet8, images, labels, attack, seeds=range(16))
    before, after = (F.cross_entropy(logits_of(resnet8, x), targets, reduction="none") for x in (images, moved))
    assert (after < before).all()
    assert (moved - images).abs().max() <= EPS + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_of_several_starts_the_one_nearest_to_the_target_is_kept(small, batch):
    images, labels = batch
    attack = replace(PGD, random_start=True, steps=2, target=2)
    targets = torch.full_like(labels, 2)
    best = perturb(small, images, labels, replace(attack, restarts=3), seeds=range(6))
    one = attack_results(small, images, labels, attack, [2], logits_of(small, images), range(6))[2]
    three = attack_results(small, images, labels, replace(attack, restarts=3), [2], logits_of(small, images), range(6))[
        2
    ]
    behind = -margin(logits_of(small, best), targets)
    assert (behind <= one.leads + 1e-9).all()
    assert (behind < one.leads - 1e-9).any()
    won = three.predictions == targets  # a start that has reached its target is kept, and no other one is tried
    torch.testing.assert_close(three.leads[~won], behind[~won])


def test_an_image_leaves_the_attack_at_its_target_and_not_at_another_class(resnet8, scenes_batch):
    images, labels = scenes_batch
    attack = Attack(eps=EPS, steps=6, step_size=STEP, target=3)
    clean = logits_of(resnet8, images)
    labels = torch.where(clean.argmax(1) == 8, 9, labels)  # wrong from the start, which is no success
    stopped = attack_results(resnet8, images, labels, attack, [6], clean, range(16), stop=True)[6]
    whole = attack_results(resnet8, images, labels, attack, [6], clean, range(16))[6]
    assert torch.equal(stopped.steps, whole.steps)
    assert ((stopped.predictions == 3) == (stopped.steps >= 0)).all()
    assert (stopped.steps[clean.argmax(1) == 8] != 0).all()
    assert 3 < (stopped.steps > 0).sum() < 16
    for one in (1, 4):  # neither company nor batch
        alone = attack_results(resnet8, images[[one]], labels[[one]], attack, [6], clean[[one]], [one])[6]
        assert (alone.steps, alone.predictions) == (whole.steps[[one]], whole.predictions[[one]])


# ------------------------------------------------------------------ what a user writes


NAMED = ("zebra", "n01440764 tench, Tinca tinca", "7", "crane", "crane", "Eight")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("zebra", 0), ("Tench", 1), ("1", 1), (1, 1), ("index:2", 2), ("name:7", 2), ("eight", 5),
     ("likely:2", "likely:2"), (" least-likely ", "least-likely")],
)  # fmt: skip
def test_a_target_is_a_class_or_a_rank(written, expected):
    assert parse_target(written, NAMED, 9) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("7", "got 7, which is the index of one and the name of class 2 ('7'); write index:7 or name:7"),
        ("crane", "got 'crane', which may be index:3 ('crane') or index:4 ('crane')"),
        ("zebre", "got 'zebre'; did you mean 'zebra'?"),
        ("9", "expected --attack-target to be a class from 0 to 8, got 9"),
        ("index:-1", "from 0 to 8, got -1"),
        ("likely:1", "likely:1 is the clean image's prediction"),
        ("likely:10", "at most likely:9, the least likely class, got likely:10"),
        ("likely:two", "got 'likely:two'"),
        ("", "got ''"),
    ],
)
def test_what_is_no_class_or_may_be_two_is_refused(written, message):
    assert message in error_of(parse_target, written, NAMED, 9)


def test_names_need_names_and_models_must_agree_on_them():
    assert "neither data nor model name classes" in error_of(parse_target, "zebra", (), 3)
    assert shared_target("b", {"first": (["a", "b"], 2), "second": (["c", "b"], 2)}) == 1
    known = {"first": (["a", "b"], 2), "second": (["b", "a"], 2)}
    assert "got 1 of first, 0 of second; evaluate them apart" in error_of(shared_target, "b", known)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("autoattack", "run as published"), ("apgd-t", "run as published"), ("stepll", "aims at the least likely class"),
     ("iter-stepll3+a3", "aims at the least likely class"), ("explain5", "is on maps")],
)  # fmt: skip
def test_attacks_that_aim_otherwise_refuse_a_target(name, reason):
    message = error_of(lambda: EvaluateConfig.of(attacks=f"clean,pgd5+a3,{name}", attack_target="3"))
    assert message.startswith("expected --attack-target with attacks of fgsm, pgd, cw, mi-fgsm, ni-fgsm, di-fgsm")
    assert f"got {name}, which" in message
    assert reason in message
    check_targetable(["clean", "pgd5+a3", "cw", "mi-fgsm7", "fog"])
    for alone in ("clean", "fog", "clean,fog"):
        assert error_of(lambda alone=alone: EvaluateConfig.of(attacks=alone, attack_target="3")).endswith(
            f"got {alone.replace(',', ', ')}"
        )


def test_an_attack_from_python_refuses_a_target_that_it_cannot_have():
    for wrong in (
        {"target": -1},
        {"target": "likely:1"},
        {"target": "zebra"},
        {"objective": "least-likely", "target": 1},
    ):
        error_of(lambda wrong=wrong: Attack(**wrong))
    with pytest.raises(ValueError, match="a target with the objective cross-entropy, margin, got move-map"):
        replace(parse_attack("explain5"), target=1)


def test_tensors_are_attacked_towards_a_class(resnet8, scenes_batch):
    images, labels = (part[:4] for part in scenes_batch)
    ours = attack_tensors(resnet8, images, labels, "pgd5", eps=EPS, target=3)
    expected = perturb(resnet8, images, labels, replace(parse_attack("pgd5"), eps=EPS, target=3))
    assert torch.equal(ours, expected)
    with pytest.raises(ValueError, match="run as published"):
        attack_tensors(resnet8, images, labels, "square", target=3)


# ------------------------------------------------------------------ runs


AIMED = {"clean": None, "pgd3": Attack(eps=EPS, steps=3, step_size=STEP, target=3)}


@pytest.fixture(scope="module")
def run(twins, tmp_path_factory):
    out = tmp_path_factory.mktemp("targeted") / "run"
    run_evaluation({"first": twins["first"]}, out, {"attacks": AIMED, "seed": 3, "check": True})
    return out


def test_records_say_the_target_and_leave_out_images_that_are_of_it(run, twins, scenes_batch):
    images, labels = scenes_batch
    predictions = logits_of(twins["first"], images).argmax(1)
    used = ((labels != 3) & (predictions != 3)).numpy()
    records = read_evaluation(run)
    attacked = records[records["attack"] == "pgd3"].set_index("image_id")
    assert attacked.index.tolist() == [name for name, kept in zip(IMAGES.image_ids[:COUNT], used, strict=True) if kept]
    assert 0 < (~used).sum() < COUNT
    assert (attacked["target"] == 3).all()
    assert records.loc[records["attack"] == "clean", "target"].isna().all()
    found = perturb(twins["first"], images, labels, AIMED["pgd3"])
    np.testing.assert_array_equal(attacked["prediction"], logits_of(twins["first"], found).argmax(1)[used])
    skipped = pd.read_csv(run / "skipped.csv").set_index("image_id")["reason"]
    assert len(skipped) == (~used).sum()
    assert skipped.str.contains("the attack's target, class 3, is its label").sum() == (labels == 3).sum()
    assert read_checks(run) == []
    assert read_manifest(run)["options"]["attacks"]["pgd3"]["target"] == 3
    with pytest.raises(ValueError, match="attacks pgd3 target was 3, is 4"):
        run_evaluation(
            {"first": twins["first"]}, run, {"attacks": AIMED | {"pgd3": replace(AIMED["pgd3"], target=4)}, "seed": 3}
        )


def test_the_tables_of_a_targeted_run(run):
    report = make_tables(Run(run))
    assert list(report.frames) == ["table6", "targeted"]
    assert "towards class 3;" in report.captions["targeted"]
    assert "95 %, Wilson" in report.captions["targeted"]
    records = read_evaluation(run).query("attack == 'pgd3' and clean_prediction == label")
    row = report.frames["targeted"].iloc[0]
    assert (row["target"], row["n"]) == ("class 3", len(records))
    assert row["success"] == pytest.approx(100 * (records["prediction"] == 3).mean())


def test_an_exported_table_has_the_target(run, attnlab, tmp_path):
    attnlab("export", "csv", run, "--out", tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out/records.csv")
    assert (rows.loc[rows["attack"] == "pgd3", "target"] == 3).all()
    assert rows.loc[rows["attack"] == "clean", "target"].isna().all()


def test_the_table_of_targeted_attacks_by_hand():
    rows = [
        ("plain", "pgd5", 0, 0, 3, 3, 2),  # reached
        ("plain", "pgd5", 1, 1, 0, 3, 1),  # reached on the way, and left again
        ("plain", "pgd5", 2, 2, 0, 3, np.nan),  # another class
        ("plain", "pgd5", 1, 1, 1, 3, np.nan),  # held
        ("plain", "pgd5", 1, 0, 3, 3, 1),  # wrong from the start
        ("plain", "clean", 1, 1, 1, np.nan, np.nan),
    ]
    names = ["model", "attack", "label", "clean_prediction", "prediction", "target", "steps_to_success"]
    row = targeted(pd.DataFrame(rows, columns=names), MODELS, {"pgd5": "class 3"}).iloc[0]
    assert (row["n"], row["success"], row["any_point"]) == (4, 25, 50)


def test_the_groups_of_an_analysis_are_by_the_target(resnet8, tmp_path):
    options = {"attack": "pgd4", "attack_target": "index:3", "eps": "8/255", "seed": 1, "model": "resnet8"}
    config = AnalyzeConfig.of(**options, out=tmp_path / "run", batch_size=8, workers=0, split="test")
    finished = analyze(config, resnet8, IMAGES, positions=range(COUNT))
    records = read_records(tmp_path / "run")
    assert (records["target"] == 3).all()
    assert not ((records["label"] == 3) | (records["prediction"] == 3)).any()
    groups = i_att(records)["group"]
    reached = i_att(records)["adv_prediction"] == 3
    assert groups.tolist() == np.where(reached, "succeed", "fail").tolist()
    assert 0 < reached.sum() < len(groups)
    caption = make_tables(finished).captions["table3"]
    assert "I_succeed: the attack makes the prediction its target; I_fail: it does not" in caption
    assert "towards class 3" in caption
    assert json.loads((tmp_path / "run/run.json").read_text())["options"]["attack"]["target"] == 3


def test_the_page_puts_an_image_by_its_target_too():
    record = {"prediction": 0, "label": 0, "box_share": 1.0}
    shown = [group_of(record, {"prediction": made, "target": 2}, True) for made in (2, 1, 0)]
    assert shown == ["succeed", "fail", "fail"]
    assert group_of(record, {"prediction": 1, "target": None}, True) == "succeed"


def test_a_transfer_aims_by_the_source_and_succeeds_on_the_victim(twins, tmp_path, scenes_batch):
    images, _labels = scenes_batch
    aimed = replace(AIMED["pgd3"], target="likely:2")
    first, second = twins.values()
    run_evaluation({"first": first}, tmp_path / "r", {"attacks": {"pgd3": aimed}, "seed": 3}, source=second)
    records = read_evaluation(tmp_path / "r").set_index("image_id")
    targets = dict(zip(IMAGES.image_ids, logits_of(second, images).topk(2).indices[:, 1].tolist(), strict=False))
    assert records["target"].to_dict() == {name: targets[name] for name in records.index}
    assert (records["target"] != records["clean_prediction"]).all()
    assert (records["target"] != records["label"]).all()
    reached = records["prediction"] == records["target"]
    assert (records.loc[reached, "steps_to_success"] == 3).all()
    assert records.loc[~reached, "steps_to_success"].isna().all()
