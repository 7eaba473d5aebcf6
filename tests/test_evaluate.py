"""The evaluation run: against attacks made one by one, cut short and gone on with, in any batch size; its command."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from attnlab.attacks import ATTACKS
from attnlab.attacks.objectives import margin
from attnlab.attacks.pgd import Attack, perturb
from attnlab.data import load_data
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.evaluation import Evaluation
from attnlab.pipelines.settings import Settings
from attnlab.records import read_evaluation
from attnlab.report.export import report_run
from attnlab.runs import Run
from attnlab.seeds import seed_of

IMAGES = load_data("scenes", split="test")
COUNT = 16
EPS = 6 / 255
ATTACKS_USED = {
    "clean": None,
    "fgsm": replace(ATTACKS["fgsm"], eps=EPS),
    "pgd2": replace(ATTACKS["pgd"], eps=EPS, steps=2, step_size=2 / 255),
    "pgd4": replace(ATTACKS["pgd"], eps=EPS, steps=4, step_size=2 / 255),
    "cw2": replace(ATTACKS["cw"], eps=EPS, steps=2, step_size=2 / 255),
    "iter-stepll2+a3": replace(ATTACKS["iter-stepll"], eps=EPS, steps=2, step_size=2 / 255, sigma=10.0),
}
EVALUATION = Evaluation(ATTACKS_USED, seed=3)
NAMES = {
    "data": "scenes",
    "split": "test",
    "models": {name: {"name": "resnet8", "network": "resnet8", "defense": "none"} for name in ("first", "second")},
    "weights": "default",
    "transfer": None,
    "saved": False,
}


@pytest.fixture(scope="module")
def models() -> dict[str, Classifier]:
    """ResNet8, and the same with noise on its weights."""
    second = load_model("resnet8")
    with torch.no_grad():
        for number, parameter in enumerate(second.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter += 0.05 * parameter.std(correction=0) * noise
    return {"first": load_model("resnet8").place("cpu"), "second": second.place("cpu")}


def run_evaluation(models: dict[str, Classifier], out: Path, evaluation: Evaluation = EVALUATION, **options) -> Run:
    options = {"positions": range(COUNT), "batch_size": 8, "description": NAMES, "check": False} | options
    return evaluate(models, IMAGES, out, evaluation, **options)


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory) -> Path:
    """A finished evaluation of both models."""
    out = tmp_path_factory.mktemp("evaluations") / "whole"
    run_evaluation(models, out)
    return out


@pytest.fixture(scope="module")
def analysis(models, tmp_path_factory) -> Path:
    """A finished analysis of two images."""
    out = tmp_path_factory.mktemp("analyses") / "run"
    analyze(models["first"], IMAGES, out, Settings(), positions=range(2))
    return out


def assert_same_records(first: pd.DataFrame, second: pd.DataFrame, digits: float = 1e-4) -> None:
    exact = ["model", "image_id", "label", "clean_prediction", "attack", "prediction", "steps_to_success"]
    pd.testing.assert_frame_equal(first[exact], second[exact])
    pd.testing.assert_frame_equal(first[["margin", "loss"]], second[["margin", "loss"]], rtol=digits, atol=digits)


class Turning(torch.nn.Module):
    """A network around ResNet8's that turns its logits around, or breaks them."""

    def __init__(self, turn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.turn, self.input_size = load_model("resnet8").network, turn, (64, 64)

    def forward(self, x):
        return self.turn(x, self.network((x - 0.5) / 0.25))


# ------------------------------------------------------------------ records


def test_every_model_image_and_attack_has_a_record_in_order(whole):
    records = read_evaluation(whole)
    assert list(records.columns) == [
        "model", "image_id", "label", "clean_prediction", "attack", "prediction", "margin", "loss", "steps_to_success"
    ]  # fmt: skip
    expected = [
        (model, f"test-{number:05d}", attack)
        for model in ("first", "second")
        for number in range(COUNT)
        for attack in ATTACKS_USED
    ]
    assert list(records[["model", "image_id", "attack"]].itertuples(index=False, name=None)) == expected
    assert records["label"].tolist() == [
        IMAGES.label_of(number) for _ in range(2) for number in range(COUNT) for _ in ATTACKS_USED
    ]
    fates = set(records["steps_to_success"].dropna())
    assert {0.0, 1.0} < fates
    assert records["steps_to_success"].isna().any()


def test_records_equal_attacks_made_one_image_at_a_time(whole, models, scenes_batch):
    images, labels = scenes_batch
    records = read_evaluation(whole).set_index(["model", "image_id", "attack"])
    for name, classifier in models.items():
        for number in (0, 5, 11, 15):
            image, label = images[[number]], labels[[number]]
            image_id = IMAGES.image_ids[number]
            for attack, setting in ATTACKS_USED.items():
                made = image
                if setting is not None:
                    made = perturb(classifier, image, label, setting, seeds=[seed_of(3, image_id)])
                with torch.no_grad():
                    logits = classifier(made)
                record = records.loc[(name, image_id, attack)]
                assert record["prediction"] == logits.argmax(1)
                assert record["margin"] == pytest.approx(margin(logits, label).item(), abs=1e-2)
                loss = torch.nn.functional.cross_entropy(logits, label).item()
                assert record["loss"] == pytest.approx(loss, abs=1e-2)


def test_clean_is_the_image_itself_and_first_lost_after_0_steps_or_never(whole):
    clean = read_evaluation(whole).query("attack == 'clean'")
    assert (clean["prediction"] == clean["clean_prediction"]).all()
    assert ((clean["steps_to_success"] == 0) == (clean["prediction"] != clean["label"])).all()
    assert ((clean["margin"] < 0) == (clean["prediction"] != clean["label"])).all()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (32, 0)])
def test_batch_size_and_workers_change_no_record(tmp_path, whole, models, batch_size, workers):
    run_evaluation({"first": models["first"]}, tmp_path / "r", batch_size=batch_size, workers=workers)
    expected = read_evaluation(whole).query("model == 'first'")
    assert_same_records(read_evaluation(tmp_path / "r"), expected)


def test_two_models_at_once_equal_each_alone(tmp_path, whole, models):
    alone = []
    for name in models:
        run_evaluation({name: models[name]}, tmp_path / name)
        alone.append(read_evaluation(tmp_path / name))
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), read_evaluation(whole))


def test_attacks_at_once_equal_each_alone(tmp_path, whole, models):
    both = read_evaluation(whole).query("model == 'first'")
    for name in ("pgd2", "iter-stepll2+a3"):
        run_evaluation({"first": models["first"]}, tmp_path / name, Evaluation({name: ATTACKS_USED[name]}, seed=3))
        expected = both[both["attack"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(read_evaluation(tmp_path / name), expected)


def test_another_seed_moves_random_starts_alone(tmp_path, whole, models):
    run_evaluation({"first": models["first"]}, tmp_path / "r", replace(EVALUATION, seed=4))
    ours, before = (records.set_index(["image_id", "attack"])["margin"] for records in (
        read_evaluation(tmp_path / "r"), read_evaluation(whole).query("model == 'first'")
    ))  # fmt: skip
    moved = (ours != before).groupby("attack").any()
    assert moved.to_dict() == {name: name in ("pgd2", "pgd4", "cw2") for name in ATTACKS_USED}


def test_stop_gives_the_worst_points_accuracy_of_the_full_run(tmp_path, whole, models):
    run_evaluation(models, tmp_path / "r", replace(EVALUATION, stop=True))
    left, full = read_evaluation(tmp_path / "r"), read_evaluation(whole)
    assert ((left["prediction"] != left["label"]) == full["steps_to_success"].notna()).all()
    pd.testing.assert_series_equal(left["steps_to_success"], full["steps_to_success"])


def test_transfer_records_the_victims_answers_to_the_sources_images(tmp_path, models, scenes_batch):
    images, labels = scenes_batch
    evaluation = Evaluation({"pgd2": ATTACKS_USED["pgd2"]}, seed=3)
    run = run_evaluation({"first": models["first"]}, tmp_path / "r", evaluation, source=models["second"])
    seeds = [seed_of(3, image_id) for image_id in IMAGES.image_ids[:COUNT]]
    made = perturb(models["second"], images, labels, ATTACKS_USED["pgd2"], seeds=seeds)
    with torch.no_grad():
        expected = models["first"](made).argmax(1)
    assert read_evaluation(tmp_path / "r")["prediction"].tolist() == expected.tolist()
    assert run.manifest["model"]["transfer"]["sha256"] == models["second"].sha256


# ------------------------------------------------------------------ cut short


@pytest.mark.parametrize("calls", [2, 3, 6, 8])
def test_a_run_that_is_interrupted_and_gone_on_with_equals_an_uninterrupted_one(
    tmp_path, whole, models, monkeypatch, calls
):
    """In the first model and in the second, at the end of a part and amid one."""
    monkeypatch.setattr("attnlab.pipelines.parts.PART", 12)
    seen = []

    def interrupt(count: int) -> None:
        seen.append(count)
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(models, tmp_path / "r", batch_size=4, progress=interrupt)
    done, seen = sum(seen), []
    assert Run(tmp_path / "r").manifest["finished"] is None
    run_evaluation(models, tmp_path / "r", batch_size=4, progress=seen.append)
    assert seen[0] == done, "what was done before is counted as done"
    assert sum(seen) == 2 * COUNT
    assert_same_records(read_evaluation(tmp_path / "r"), read_evaluation(whole))
    assert list((tmp_path / "r/records").glob("*.unfinished")) == []
    assert Run(tmp_path / "r").manifest["finished"] is not None


def test_a_finished_run_is_not_computed_again(tmp_path, models):
    evaluation = Evaluation({"clean": None})
    run_evaluation(models, tmp_path / "r", evaluation)
    passes, seen = [], []
    handle = models["first"].network.register_forward_hook(lambda *_: passes.append(1))
    run_evaluation(models, tmp_path / "r", evaluation, progress=seen.append)
    handle.remove()
    assert passes == []
    assert seen == [2 * COUNT]


def test_an_interrupted_run_is_not_gone_on_with_in_another_order_of_models(tmp_path, models, monkeypatch):
    monkeypatch.setattr("attnlab.pipelines.parts.PART", 8)
    evaluation, seen = Evaluation({"clean": None}), []

    def interrupt(count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(models, tmp_path / "r", evaluation, progress=interrupt)
    swapped = dict(reversed(models.items()))
    try:
        run_evaluation(swapped, tmp_path / "r", evaluation)
    except UserError:
        return
    assert read_evaluation(tmp_path / "r")["model"].value_counts().to_dict() == {"first": COUNT, "second": COUNT}


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 4}, r"seed was 3, is 4"),
        ({"stop": True}, r"stop was False, is True"),
        ({"attacks": {"clean": None}}, r"attacks was .*, is \{'clean': None\}"),
        ({"geometry": "crop"}, r"geometry was 'squash', is 'crop'"),
    ],
)
def test_out_of_a_run_with_other_options_is_refused_and_they_are_named(whole, models, change, told):
    with pytest.raises(UserError, match=told + ".*--out"):
        run_evaluation(models, whole, replace(EVALUATION, **change))


def test_out_of_a_run_of_other_models_or_images_is_refused(whole, models):
    with pytest.raises(UserError, match="images was 16, is 9"):
        run_evaluation(models, whole, positions=range(9))
    with pytest.raises(UserError, match="model second was"):
        run_evaluation({"first": models["first"]}, whole)
    with pytest.raises(UserError, match="model first was"):
        run_evaluation({"first": models["second"], "second": models["second"]}, whole)


def test_out_of_an_analysis_is_refused(analysis, models):
    with pytest.raises(UserError, match="kind was 'analyze', is 'evaluate'"):
        run_evaluation(models, analysis)


def test_an_analysis_in_the_out_of_an_evaluation_is_refused(whole, models):
    with pytest.raises(UserError, match="kind was 'evaluate', is 'analyze'"):
        analyze(models["first"], IMAGES, whole, Settings(), positions=range(COUNT))


def test_nan_logits_stop_the_run_and_name_the_image(tmp_path):
    classifier = load_model("resnet8")
    classifier.network.classifier.weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match="not finite for image test-00000"):
        run_evaluation({"nan": classifier}, tmp_path / "r")


def test_logits_that_are_nan_under_attack_alone_stop_the_run_and_name_the_image(tmp_path):
    def break_adversarial(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        grey = x * 255  # whole levels where the image is clean
        moved = ((grey - grey.round()).abs().flatten(1).amax(1) > 0.1)[:, None]
        return torch.where(moved, torch.nan, logits)

    classifier = Classifier(Turning(break_adversarial)).eval()
    evaluation = Evaluation({"clean": None, "fgsm": Attack(eps=1.5 / 255)})
    with pytest.raises(UserError, match="not finite for image test-00000"):
        run_evaluation({"nan": classifier}, tmp_path / "r", evaluation)


def test_a_model_of_other_classes_is_refused_before_anything_is_written(tmp_path, models):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 7)
    )
    network.input_size = (64, 64)
    with pytest.raises(UserError, match="expected a model of 10 classes for scenes, got seven, one of 7"):
        run_evaluation({**models, "seven": Classifier(network)}, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("channels", "classes"), [(3, 12), (1, 10)])
def test_a_source_of_other_classes_or_channels_is_refused(tmp_path, models, channels, classes):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 4, 5, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, classes),
    )  # fmt: skip
    network.input_size = (64, 64)
    source = Classifier(network).eval()
    with pytest.raises(UserError, match=r"channels|classes"):
        run_evaluation(models, tmp_path / "r", Evaluation({"fgsm": Attack()}), source=source)


def test_models_are_given_back_as_they_were(tmp_path):
    classifier = load_model("resnet8").train()
    frozen = next(module for module in classifier.modules() if isinstance(module, torch.nn.BatchNorm2d))
    frozen.eval()
    before = [module.training for module in classifier.modules()]
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    run_evaluation({"first": classifier}, tmp_path / "r", positions=range(4))
    assert [module.training for module in classifier.modules()] == before
    assert not frozen.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(weights[name], value) for name, value in classifier.state_dict().items())


# ------------------------------------------------------------------ odd runs and their reports


def test_one_image_and_one_attack_make_a_report(tmp_path, models):
    run_evaluation({"first": models["first"]}, tmp_path / "r", Evaluation({"clean": None}), positions=[7])
    (row,) = report_run(tmp_path / "r").frames["table6"].to_dict("records")
    assert (row["attack"], row["n"]) == ("clean", 1)
    assert row["accuracy"] in (0.0, 100.0)


def test_a_model_that_is_always_wrong_has_a_table_7_of_no_images(tmp_path):
    wrong = Classifier(Turning(lambda _, logits: -logits)).eval()
    names = NAMES | {"models": {"first": NAMES["models"]["first"]}}
    evaluation = Evaluation({name: ATTACKS_USED[name] for name in ("clean", "iter-stepll2+a3")})
    run_evaluation({"first": wrong}, tmp_path / "r", evaluation, positions=range(4), description=names)
    table = report_run(tmp_path / "r").frames["table7"]
    assert table["attack"].tolist() == ["clean", "iter-stepll2+a3"]
    assert table["n"].tolist() == [0, 0]
    assert table["accuracy"].isna().all()


@pytest.mark.parametrize("check", [False, True])
def test_a_run_in_which_no_image_can_be_used_has_a_report(tmp_path, models, check):
    root = tmp_path / "images"
    root.mkdir()
    (root / "a.png").write_text("no image")
    (root / "boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,1,1,1,5,5\n")
    names = NAMES | {"data": "folder", "models": {"first": NAMES["models"]["first"]}}
    evaluate(
        {"first": models["first"]},
        load_data("folder", root),
        tmp_path / "r",
        EVALUATION,
        description=names,
        check=check,
    )
    report = report_run(tmp_path / "r")
    assert "1 images could not be used" in report.summary[1]
    assert list(report.frames["table6"].columns[:4]) == ["dataset", "model", "defense", "attack"]
