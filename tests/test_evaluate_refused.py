"""Evaluations that are refused, and odd ones that are not."""

from pathlib import Path

import pytest
import torch
from common import analyze_images
from twins import ATTACKS_USED, COUNT, EVALUATION, IMAGES, Turning, run_evaluation

from attnlab.attacks import Attack
from attnlab.data import load_dataset
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.report.tables.export import write_tables


@pytest.fixture(scope="module")
def analysis(twins, tmp_path_factory) -> Path:
    """A finished analysis of two images."""
    out = tmp_path_factory.mktemp("analyses") / "run"
    analyze_images(twins["first"], IMAGES, out, positions=range(2))
    return out


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"seed was 3, is 4"),
        ({"stop": True}, r"stop was False, is True"),
        ({"attacks": {"clean": None}}, "attacks fgsm is not asked for"),
        ({"attacks": ATTACKS_USED | {"pgd8": ATTACKS_USED["pgd4"]}}, r"\(attacks pgd8 is new\)"),
        ({"attacks": ATTACKS_USED | {"fgsm": Attack(eps=0.5)}}, r"\(attacks fgsm eps was 0\.0235\d*, is 0\.5\)"),
        ({"resize": "crop"}, r"resize was 'squash', is 'crop'"),
    ],
)
def test_out_of_a_run_with_other_options_is_refused_and_they_are_named(evaluated, twins, change, message):
    with pytest.raises(UserError, match=message + ".*--out"):
        run_evaluation(twins, evaluated, EVALUATION | change)


def test_out_of_a_run_of_other_models_or_images_is_refused(evaluated, twins):
    with pytest.raises(UserError, match="images was 16, is 9"):
        run_evaluation(twins, evaluated, positions=range(9))
    with pytest.raises(UserError, match="model second is not asked for"):
        run_evaluation({"first": twins["first"]}, evaluated)
    with pytest.raises(UserError, match="model first sha256 was"):
        run_evaluation({"first": twins["second"], "second": twins["second"]}, evaluated)


def test_out_of_an_analysis_is_refused(analysis, twins):
    with pytest.raises(UserError, match="kind was 'analyze', is 'evaluate'"):
        run_evaluation(twins, analysis)


def test_an_analysis_in_the_out_of_an_evaluation_is_refused(evaluated, twins):
    with pytest.raises(UserError, match="kind was 'evaluate', is 'analyze'"):
        analyze_images(twins["first"], IMAGES, evaluated, positions=range(COUNT))


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
    evaluation = {"attacks": {"clean": None, "fgsm": Attack(eps=1.5 / 255)}}
    with pytest.raises(UserError, match="not finite for image test-00000"):
        run_evaluation({"nan": classifier}, tmp_path / "r", evaluation)


def test_a_model_of_other_classes_is_refused_before_anything_is_written(tmp_path, twins):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 7)
    )
    network.input_size = (64, 64)
    with pytest.raises(UserError, match="expected a model of 10 classes for scenes, got seven, one of 7"):
        run_evaluation({**twins, "seven": Classifier(network)}, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("channels", "classes"), [(3, 12), (1, 10)])
def test_a_source_of_other_classes_or_channels_is_refused(tmp_path, twins, channels, classes):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 4, 5, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, classes),
    )  # fmt: skip
    network.input_size = (64, 64)
    source = Classifier(network).eval()
    with pytest.raises(UserError, match=r"channels|classes"):
        run_evaluation(twins, tmp_path / "r", {"attacks": {"fgsm": Attack()}}, source=source)


def test_stopping_early_is_refused_where_images_are_made_on_another_model(tmp_path, twins):
    with pytest.raises(UserError, match="expected --stop or --transfer, got both"):
        run_evaluation(twins, tmp_path / "r", EVALUATION | {"stop": True}, source=twins["second"])
    assert not (tmp_path / "r").exists()


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


def test_one_image_and_one_attack_make_a_report(tmp_path, twins):
    run_evaluation({"first": twins["first"]}, tmp_path / "r", {"attacks": {"clean": None}}, positions=[7])
    (row,) = write_tables(tmp_path / "r").frames["table6"].to_dict("records")
    assert (row["attack"], row["n"]) == ("clean", 1)
    assert row["accuracy"] in (0.0, 100.0)


def test_a_model_that_is_always_wrong_has_a_table_7_of_no_images(tmp_path):
    wrong = Classifier(Turning(lambda _, logits: -logits)).eval()
    evaluation = {"attacks": {name: ATTACKS_USED[name] for name in ("clean", "iter-stepll2+a3")}}
    run_evaluation({"first": wrong}, tmp_path / "r", evaluation, positions=range(4))
    table = write_tables(tmp_path / "r").frames["table7"]
    assert table["attack"].tolist() == ["clean", "iter-stepll2+a3"]
    assert table["n"].tolist() == [0, 0]
    assert table["accuracy"].isna().all()


@pytest.mark.parametrize("check", [False, True])
def test_a_run_in_which_no_image_can_be_used_has_a_report(tmp_path, twins, check):
    root = tmp_path / "images"
    root.mkdir()
    (root / "a.png").write_text("no image")
    (root / "boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,1,1,1,5,5\n")
    with pytest.raises(UserError, match="the only image cannot be used: no image that Pillow can read"):
        run_evaluation(
            {"first": twins["first"]}, tmp_path / "r", images=load_dataset("folder", root), positions=[0], check=check
        )
    report = write_tables(tmp_path / "r")
    assert "1 image could not be used" in report.summary[1]
    assert list(report.frames["table6"].columns[:4]) == ["dataset", "model", "defense", "attack"]
