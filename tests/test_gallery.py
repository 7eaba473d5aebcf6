"""Looks of models at images, which images the figures of checkpoints show, and `attnlab figures` of checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.errors import UserError
from attnlab.looks import spread
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.pipelines.gallery import Gallery, Outcome
from attnlab.pipelines.gallery_job import open_gallery, titles_of
from attnlab.pipelines.look import looks
from attnlab.seeds import seed_of


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
def gallery(checkpoints) -> Gallery:
    return open_gallery(checkpoints, limit=40, attack="stepll", eps="8/255", device="cpu")


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def test_a_look_is_what_the_model_makes_of_the_image(resnet8: Classifier, scenes_batch):
    images, labels = scenes_batch
    probabilities = resnet8(images).softmax(1).detach()
    for place, look in enumerate(looks(resnet8, images, labels)):
        assert look.prediction == int(probabilities[place].argmax())
        assert look.top == pytest.approx(float(probabilities[place].max()), abs=1e-5)
        assert look.confidence == pytest.approx(float(probabilities[place, labels[place]]), abs=1e-5)
        np.testing.assert_array_equal(look.pixels, images[place].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(look.map, grad_cam(resnet8, images, labels)[-1].numpy(), atol=1e-5)


def test_rounds_are_the_points_of_the_attack_and_a3_goes_elsewhere(gallery, resnet8):
    for plain, augmented in gallery.rounds(2):
        assert len(plain.adversarial) == len(augmented.adversarial) == 5
        image, label = as_tensor(plain.clean[0].pixels), torch.tensor([plain.label])
        for attack, series in ((gallery.stepll, plain), (gallery.augmented, augmented)):
            last = perturb(resnet8, image, label, attack, seeds=[seed_of(0, series.image_id)])
            np.testing.assert_allclose(series.adversarial[-1].pixels, last[0].permute(1, 2, 0).numpy(), atol=1e-6)
            first = perturb(resnet8, image, label, replace(attack, steps=1, step_size=attack.step_length))
            np.testing.assert_allclose(series.adversarial[0].pixels, first[0].permute(1, 2, 0).numpy(), atol=1e-6)
        assert plain.clean[0].prediction == plain.label
        assert (plain.adversarial[-1].pixels != augmented.adversarial[-1].pixels).any()
    assert gallery.augmented.sigma == 10


def test_compared_images_are_typical_ones_that_all_models_classify_correctly(gallery):
    found = gallery.compared()
    assert [len(one.clean) for one in found] == [len(one.adversarial) for one in found] == [3, 3]
    for one in found:
        assert [look.prediction for look in one.clean] == [one.label] * 3
    correct = [one for one in gallery._all if one.clean == [one.label] * 3]
    positions = [correct[place].position for place in spread([one.confidence for one in correct], 2)]
    assert sorted(one.image_id for one in found) == [gallery.images.image_ids[place] for place in sorted(positions)]


def test_defence_holds_or_fails_on_images_that_mislead_the_first_model(gallery):
    held, lost = gallery.defended(1)
    for images, holds in ((held, True), (lost, False)):
        assert 0 < len(images) <= 4
        for one in images:
            assert [look.prediction == one.label for look in one.clean] == [True, True]
            assert [look.prediction == one.label for look in one.adversarial] == [False, holds]


def test_each_model_is_attacked_itself(gallery):
    one = gallery.compared()[0]
    for look, classifier in zip(one.adversarial, gallery.classifiers.values(), strict=True):
        image, label = as_tensor(one.clean[0].pixels), torch.tensor([one.label])
        theirs = perturb(classifier, image, label, gallery.attack)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(look.pixels, theirs, atol=1e-6)


def test_named_images_are_shown_whatever_the_rules_say(checkpoints):
    named = ["test-00005", "test-00002"]
    gallery = open_gallery(checkpoints[:1], named=named, attack="stepll", device="cpu")
    assert [plain.image_id for plain, _ in gallery.rounds(1)] == ["test-00002", "test-00005"]


def test_without_a_misled_image_rounds_show_a_correct_one(checkpoints, monkeypatch):
    gallery = open_gallery(checkpoints[:1], limit=3, device="cpu")
    held = [Outcome(place, 1, [1], [1], confidence) for place, confidence in ((0, 0.9), (1, 0.2), (2, 0.5))]
    monkeypatch.setitem(gallery.__dict__, "_under_stepll", held)
    assert [plain.image_id for plain, _ in gallery.rounds(1)] == ["test-00002"]


def test_snapshots_are_taken_evenly_with_the_first_and_the_last(checkpoints, resnet8, tmp_path):
    for epoch in range(1, 13):
        save_checkpoint(resnet8, tmp_path / "run/epochs" / f"{epoch:03d}", "resnet8")
    save_checkpoint(resnet8, tmp_path / "run", "resnet8")
    epochs, images = open_gallery([str(tmp_path / "run")], limit=10, attack="stepll", device="cpu").epochs()
    assert epochs == [1, 3, 5, 8, 10, 12]
    assert [len(one.clean) for one in images] == [6, 6]
    assert all(one.clean[-1].prediction == one.label for one in images)
    assert open_gallery(checkpoints[:1], limit=1, device="cpu").epochs() == ([], [])


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
        (["--only", "figure7"], "expected --only for raw to be one of figure2, figure12, figure6, got 'figure7'"),
        (["--images", "nobody"], "scenes test has no image 'nobody'; its names are like 'test-00000'"),
        (["--attack", "square"], "expected an attack whose maps can be compared, of fgsm, stepll"),
        (["--data", "mnist"], "data set 'mnist' needs --root DIR"),
        (["runs/nothing"], "expected an existing folder, got 'runs/nothing'"),
        (["."], "expected . to be a checkpoint, but it has no model.json"),
        (["lenet"], "lenet"),
    ],
)
def test_bad_input_is_one_line(attnlab, checkpoints, words, message):
    assert message in attnlab("figures", checkpoints[0], *words).error
