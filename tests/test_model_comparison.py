"""Views of models on images, which images the figures of checkpoints show, and `attnlab figures` of checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from common import error_of

from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.config import FiguresConfig
from attnlab.data.base import Unusable
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.pipelines.comparison_examples import examples
from attnlab.pipelines.map_views import map_views
from attnlab.pipelines.model_comparison import Answers, ModelComparison, open_comparison, titles_of
from attnlab.seeding import seed_of
from attnlab.views import Examples, LeftOut, MapSeries, quantile_examples


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, resnet8) -> list[str]:
    """The built-in model as undefended; as defended ones the same model with other last layers."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(resnet8, folder / "first", "resnet8", "none")
    for number, defense in enumerate(["madry", "stepll"], 1):
        other = load_model("resnet8")
        torch.manual_seed(number)
        with torch.no_grad():
            weight = other.head_weight()
            weight += 0.3 * weight.std() * torch.randn_like(weight)
        save_checkpoint(other, folder / defense, "resnet8", defense)
    return [str(folder / name) for name in ("first", "madry", "stepll")]


@pytest.fixture(scope="module")
def models(checkpoints) -> ModelComparison:
    return open_comparison(checkpoints, FiguresConfig.of(limit=40, attack="stepll", eps="8/255", device="cpu"))


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def shown(models: ModelComparison, choice: str, count: int = 2, part: str = "") -> Examples:
    (made,) = examples(models, [(choice, count)])
    assert not isinstance(made, LeftOut), made
    return made[part]


def images_of(shown: Examples) -> list[MapSeries]:
    """Those of the only group."""
    ((_, images),) = shown.groups
    return list(images)


def test_a_view_is_what_the_model_makes_of_the_image(resnet8: Classifier, scenes_batch):
    images, labels = scenes_batch
    probabilities = resnet8(images).softmax(1).detach()
    for place, view in enumerate(map_views(resnet8, images, labels)):
        assert view.prediction == int(probabilities[place].argmax())
        assert view.top == pytest.approx(float(probabilities[place].max()), abs=1e-5)
        assert view.confidence == pytest.approx(float(probabilities[place, labels[place]]), abs=1e-5)
        np.testing.assert_array_equal(view.pixels, images[place].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(view.map, grad_cam(resnet8, images, labels)[-1].numpy(), atol=1e-5)


def test_steps_are_the_points_of_the_attack_and_a3_goes_elsewhere(models, resnet8):
    both = shown(models, "steps with A3")
    assert [name for name, _ in both.groups] == ["StepLL", "StepLL + A3"]
    augmented = replace(models.stepll, sigma=10.0)
    for series_of_both in zip(*(images for _, images in both.groups), strict=True):
        for attack, series in zip((models.stepll, augmented), series_of_both, strict=True):
            assert len(series.adversarial) == 5
            image, label = as_tensor(series.clean[0].pixels), torch.tensor([series.label])
            last = perturb(resnet8, image, label, attack, seeds=[seed_of(0, series.image_id)])
            np.testing.assert_allclose(series.adversarial[-1].pixels, last[0].permute(1, 2, 0).numpy(), atol=1e-6)
            first = perturb(resnet8, image, label, replace(attack, steps=1, step_size=attack.step_length))
            np.testing.assert_allclose(series.adversarial[0].pixels, first[0].permute(1, 2, 0).numpy(), atol=1e-6)
            assert series.clean[0].prediction == series.label
        plain, other = series_of_both
        assert (plain.adversarial[-1].pixels != other.adversarial[-1].pixels).any()
    alone = images_of(shown(models, "steps"))
    assert [one.image_id for one in alone] == [one.image_id for one in both.groups[0][1]]
    np.testing.assert_array_equal(alone[0].adversarial[-1].pixels, both.groups[0][1][0].adversarial[-1].pixels)


def test_compared_images_are_typical_ones_that_all_models_classify_correctly(models):
    found = shown(models, "compared")
    assert list(found.columns) == ["raw", "madry", "stepll"]
    assert [(len(one.clean), len(one.adversarial)) for one in images_of(found)] == [(3, 3)] * 2
    for one in images_of(found):
        assert [view.prediction for view in one.clean] == [one.label] * 3
    answers = models.answers
    correct = np.flatnonzero(answers.clean.all(0))
    positions = answers.positions[correct[quantile_examples(answers.confidence[correct], 2)]]
    assert [one.image_id for one in images_of(found)] == [models.images.image_ids[place] for place in positions]


def test_answers_are_those_of_each_model_to_its_own_images(models):
    rows = models.ask(list(models.classifiers.values()), models.attack)
    assert rows.positions.tolist() == list(range(40))
    batch = next(models.batches(list(range(40))))
    images, labels = batch.tensors("cpu")
    for number, classifier in enumerate(models.classifiers.values()):
        attacked = perturb(classifier, images, labels, models.attack)
        for kind, pixels in (("clean", images), ("adversarial", attacked)):
            right = (classifier(pixels).argmax(1) == labels).tolist()
            assert getattr(rows, kind)[number, : len(right)].tolist() == right
    probabilities = models.first(images).softmax(1).gather(1, labels[:, None])[:, 0].detach()
    np.testing.assert_allclose(rows.confidence[: len(labels)], probabilities.numpy(), atol=1e-5)


def test_defence_holds_or_fails_on_images_that_mislead_the_first_model(models):
    found = shown(models, "defended", 4, "madry")
    assert (found.subject, list(found.columns)) == ("madry", ["raw", "madry"])
    for (_, images), holds in zip(found.groups, (True, False), strict=True):
        assert 0 < len(images) <= 4
        for one in images:
            assert [view.prediction == one.label for view in one.clean] == [True, True]
            assert [view.prediction == one.label for view in one.adversarial] == [False, holds]
    assert shown(models, "defended by stepll", 4, "stepll").subject == "stepll"


def test_each_model_is_attacked_itself(models):
    one = images_of(shown(models, "compared"))[0]
    for view, classifier in zip(one.adversarial, models.classifiers.values(), strict=True):
        image, label = as_tensor(one.clean[0].pixels), torch.tensor([one.label])
        theirs = perturb(classifier, image, label, models.attack)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(view.pixels, theirs, atol=1e-6)


def test_the_same_choice_is_made_once(models):
    first, second, third = examples(models, [("compared", 2), ("compared", 2), ("compared", 1)])
    assert first is second
    assert third is not first


def test_named_images_are_shown_whatever_the_rules_say(checkpoints):
    named = ["test-00005", "test-00002"]
    models = open_comparison(checkpoints[:1], FiguresConfig.of(images=named, attack="stepll", device="cpu"))
    found = shown(models, "steps", 1)
    assert [one.image_id for one in images_of(found)] == ["test-00002", "test-00005"]
    assert found.rule == "Images as named"


@pytest.mark.parametrize(("held", "name"), [([1, 1, 0], "test-00000"), ([1, 1, 1], "test-00002")])
def test_without_a_misled_image_steps_show_a_correct_one_and_say_so(checkpoints, monkeypatch, held, name):
    models = open_comparison(checkpoints[:1], FiguresConfig.of(limit=3, device="cpu"))
    rows = [True] * 3, [bool(one) for one in held]
    answers = Answers(np.array([1, 2, 0]), *(np.array([row]) for row in rows), np.array([0.9, 0.5, 0.2]))
    monkeypatch.setitem(models.__dict__, "step_answers", answers)
    found = shown(models, "steps", 1)
    assert [one.image_id for one in images_of(found)] == [name]
    which = "the model classifies correctly" if all(held) else "the attack leads astray"
    assert found.rule == f"Images: of typical confidence among those that {which}"


def test_snapshots_are_taken_evenly_with_the_first_and_the_last(checkpoints, resnet8, tmp_path):
    for epoch in range(1, 13):
        save_checkpoint(resnet8, tmp_path / "run/epochs" / f"{epoch:03d}", "resnet8")
    save_checkpoint(resnet8, tmp_path / "run", "resnet8")
    models = open_comparison([str(tmp_path / "run")], FiguresConfig.of(limit=10, attack="stepll", device="cpu"))
    found = shown(models, "snapshots")
    assert list(found.columns) == [f"epoch {epoch}" for epoch in (1, 3, 5, 8, 10, 12)]
    assert [len(one.clean) for one in images_of(found)] == [6, 6]
    assert all(one.clean[-1].prediction == one.label for one in images_of(found))
    (none,) = examples(open_comparison(checkpoints[:1], FiguresConfig.of(limit=1, device="cpu")), [("snapshots", 2)])
    assert str(none) == "the checkpoint has no snapshots; `attnlab train --snapshots` leaves them"


def test_models_are_called_by_what_they_were_trained_with(checkpoints, resnet8, tmp_path):
    assert titles_of(checkpoints) == ["raw", "madry", "stepll"]
    for name, alpha, beta in (("one", 0.1, 0), ("two", 0, 0.1), ("three", 0.1, 0.1)):
        save_checkpoint(resnet8, tmp_path / name, "resnet8", "aad")
        options = {"options": {"defense's alpha": alpha, "defense's beta": beta}}
        (tmp_path / name / "training.json").write_text(json.dumps(options))
    names = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert titles_of(names) == ["rectification only", "preservation only", "aad"]
    save_checkpoint(resnet8, tmp_path / "four", "resnet8", "aad")
    assert titles_of([names[2], str(tmp_path / "four")]) == ["three", "four"]
    with pytest.raises(UserError, match="expected each checkpoint once"):
        titles_of([names[0], names[0]])


# ------------------------------------------------------------------ the command


def test_one_checkpoint_gives_rounds_and_tells_that_it_has_no_snapshots(attnlab, checkpoints):
    done = attnlab("figures", checkpoints[0], "--limit", 12, "--out", "here")
    assert done.code == 0, done.err
    assert {path.name for path in Path("here").iterdir()} == {
        f"{name}.{kind}" for name in ("figure2", "figure12") for kind in ("png", "pdf", "txt")
    }
    assert "figure6 is left out: the checkpoint has no snapshots; `attnlab train --snapshots` leaves them" in done.out
    assert "steps of 2/255" in Path("here/figure12.txt").read_text()


def test_several_checkpoints_give_the_comparisons(attnlab, checkpoints):
    done = attnlab("figures", *checkpoints, "--limit", 30, "--attack", "stepll", "--eps", "8/255", "--out", "here")
    assert done.code == 0, done.err
    assert {path.stem for path in Path("here").iterdir()} == {
        "figure7",
        "figure9",
        "figure10-madry",
        "figure11-stepll",
    }
    assert "adversarial training (stepll)" in Path("here/figure11-stepll.txt").read_text()
    assert "scenes test, stepll, ε = 8/255" in Path("here/figure7.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "figure7"], "/first to be one of figure2, figure12, figure6, got 'figure7'"),
        (["--images", "nobody"], "scenes test has no image 'nobody'; its names are like 'test-00000'"),
        (["--attack", "square"], "expected an attack whose maps can be compared, of fgsm, stepll"),
        (
            ["--attack", "fog@3"],
            "expected --attack to name one attack by gradients, such as pgd or stepll, got",
        ),
        (["--data", "mnist"], "data set 'mnist' needs --root DIR"),
        (["runs/nothing"], "expected an existing folder, got 'runs/nothing'"),
        (["."], "expected . to be a checkpoint, but it has no model.json"),
        (["lenet"], "lenet"),
    ],
)
def test_bad_input_is_one_line(attnlab, checkpoints, words, message):
    assert message in attnlab("figures", checkpoints[0], *words).error


OTHERS = """
from torch import nn

def small():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    network.input_size = (12, 16)
    return network

def flat():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10))
    network.input_size = (64, 64)
    return network
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small", "expected models of one input size, got (64, 64) and (12, 16) of "),
        ("flat", "expected models with a spatial feature map, got "),
    ],
)
def test_models_whose_maps_cannot_lie_side_by_side_are_refused(checkpoints, tmp_path, name, message):
    (tmp_path / "others.py").write_text(OTHERS)
    models, config = [checkpoints[0], f"{tmp_path / 'others.py'}:{name}"], FiguresConfig.of(limit=4, device="cpu")
    assert error_of(open_comparison, models, config).startswith(message)


def test_without_an_image_for_its_rule_a_figure_is_left_out(checkpoints, monkeypatch):
    models = open_comparison(checkpoints[:2], FiguresConfig.of(limit=4, attack="stepll", device="cpu"))
    wrong = np.zeros((2, 4), bool)
    nothing = Answers(np.arange(4), wrong, wrong, np.full(4, 0.5))
    for name in ("answers", "step_answers"):
        monkeypatch.setitem(models.__dict__, name, nothing)
    left = examples(models, [("steps", 2), ("compared", 2), ("defended", 2)])
    assert [str(one) for one in left] == [
        "no image is classified correctly",
        "there is no image that all models classify correctly",
        "no attack misleads the first model",
    ]


def test_an_image_that_cannot_be_used_is_named_and_the_others_are_compared(checkpoints, monkeypatch):
    models = open_comparison(checkpoints[:1], FiguresConfig.of(limit=4, attack="stepll", device="cpu"))
    read = type(models.images).read

    def damaged(images, index):
        if index == 2:
            raise Unusable("cannot be decoded")
        return read(images, index)

    monkeypatch.setattr(type(models.images), "read", damaged)
    with pytest.warns(UserWarning, match="image test-00002 cannot be used and is left out: cannot be decoded"):
        (batch,) = models.batches([1, 2, 3])
    assert batch.positions == [1, 3]
    with pytest.warns(UserWarning, match="test-00002"):
        assert list(models.batches([2])) == []
