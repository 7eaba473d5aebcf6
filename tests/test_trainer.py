"""The training loop: against plain loops, its log, its validation, its checkpoints."""

import gc
import signal
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from trainings import PLAN, STEPS, assert_same_weights, noise, training, weights_of

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import WEIGHTS, trained_as
from attnlab.seeding import seed_of
from attnlab.training import adversary, trainer
from attnlab.training.distributed import ProcessGroup
from attnlab.training.images import order_of
from attnlab.training.log import read_log
from attnlab.training.optim import optimizer_of
from attnlab.training.validate import validate

# ------------------------------------------------------------------ what a training is


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_without_defence_equals_a_plain_loop_of_torch(networks, tmp_path, optimizer):
    plan = replace(PLAN, optimizer=optimizer, augment="none", schedule="decay")
    ours = training(networks, tmp_path, build="plain", defense="none", plan=plan)
    model = load_model(ours.model, "none", seed=1).train()
    kinds = {
        "adam": lambda parameters: torch.optim.AdamW(parameters, 0.02, weight_decay=1e-2),
        "sgd": lambda parameters: torch.optim.SGD(parameters, 0.02, 0.9, weight_decay=1e-2, nesterov=True),
    }
    theirs = kinds[optimizer](model.parameters())
    for epoch in range(3):
        theirs.param_groups[0]["lr"] = [0.02, 0.02, 0.02 * 0.94][epoch]
        for rows in torch.tensor(order_of(22, 3, epoch))[:20].split(4):
            loss = F.cross_entropy(model(ours.images.pixels[rows].float() / 255), ours.images.labels[rows])
            theirs.zero_grad()
            loss.backward()
            theirs.step()
    ours.run()
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(ours.classifier.network.state_dict()[name], value)


def test_every_step_attacks_the_model_in_eval_mode_from_a_new_start_with_a_ramped_budget(
    networks, tmp_path, monkeypatch
):
    seen = []

    def watched(classifier: Classifier, images: Tensor, labels: Tensor, attack: Attack, **options: Any) -> Tensor:
        made = perturb(classifier, images, labels, attack, **options)
        seen.append((attack, made - images))
        return made

    monkeypatch.setattr(adversary, "perturb", watched)
    plan = replace(PLAN, epochs=2, ramp=0.8)  # over four of five steps
    ours = training(networks, tmp_path, defense="madry", plan=plan)
    ours.run()
    assert [attack.eps / PLAN.eps for attack, _ in seen] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1])
    assert [attack.step_size / PLAN.step_size for attack, _ in seen[:3]] == pytest.approx([0, 0.25, 0.5])
    assert all(attack.random_start and attack.steps == 2 for attack, _ in seen)
    for attack, moved in seen:
        assert moved.abs().max() <= attack.eps + 1e-6
    assert not torch.equal(seen[-1][1], seen[-2][1])


def test_the_attack_sees_folded_norms_and_the_training_is_the_same_as_without(networks, tmp_path, monkeypatch):
    norms = []

    def watched(classifier: Classifier, *rest: Any, **options: Any) -> Tensor:
        norms.append(sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules()))
        return perturb(classifier, *rest, **options)

    def trained(name: str) -> dict[str, Tensor]:
        ours = training(networks, tmp_path / name, plan=replace(PLAN, epochs=1))
        ours.classifier.network.double()  # so that no gradient's sign hangs on rounding
        ours.run()
        return weights_of(ours.classifier)

    monkeypatch.setattr(adversary, "perturb", watched)
    ours = trained("folded")
    monkeypatch.setattr(Classifier, "foldable", lambda self: [])
    theirs = trained("as it is")
    assert norms == [0] * STEPS + [1] * STEPS
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ramp", [0, 1, 2])
def test_the_ramp_grows_from_nothing_to_the_full_budget(networks, tmp_path, ramp):
    ours = training(networks, tmp_path, plan=replace(PLAN, ramp=ramp))
    shares = [ours.attack(epochs).eps / PLAN.eps for epochs in (0, 0.5, 1, 1.5, 2, 3)]
    assert shares == pytest.approx({0: [1] * 6, 1: [0, 0.5, 1, 1, 1, 1], 2: [0, 0.25, 0.5, 0.75, 1, 1]}[ramp])


def test_a_log_line_holds_the_means_of_its_steps_and_a_line_an_epoch_the_held_out_accuracies(
    networks, tmp_path, monkeypatch
):
    training(networks, tmp_path / "fine").run()
    message: list[dict[str, Any]] = []
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    training(networks, tmp_path / "each").run(message.append)
    each, lines = read_log(tmp_path / "each" / "log.jsonl"), read_log(tmp_path / "fine" / "log.jsonl")
    assert message == each
    assert [(line["epoch"], line.get("step")) for line in lines] == [(n, s) for n in (1, 2, 3) for s in (5, None)]
    assert set(lines[0]) > {"adversarial", "rectification", "preservation", "without_area", "adversarial_accuracy"}
    for epoch in (1, 2, 3):
        (line,) = (line for line in lines if line["epoch"] == epoch and "step" in line)
        steps = [line for line in each if line["epoch"] == epoch and "step" in line]
        assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
        for name in set(line) - {"epoch", "step", "of"}:
            assert line[name] == pytest.approx(sum(step[name] for step in steps) / 5)


def test_a_training_leaves_the_global_generator_and_the_models_modes_as_they_were(networks, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    handler = signal.getsignal(signal.SIGINT)
    ours = training(networks, tmp_path, plan=replace(PLAN, epochs=1))
    ours.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in ours.classifier.modules())
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_global_generator_plays_no_part_and_the_seed_does(networks, tmp_path):
    torch.manual_seed(1)
    first = training(networks, tmp_path / "first")
    first.run()
    torch.manual_seed(2)
    second = training(networks, tmp_path / "second")
    second.run()
    assert_same_weights(first, second)
    other = training(networks, tmp_path / "other", seed=4)
    other.run()
    assert not torch.equal(weights_of(other.classifier)["last.weight"], weights_of(first.classifier)["last.weight"])


def test_parameters_that_their_author_froze_stay_as_they_are(networks, tmp_path):
    ours = training(networks, tmp_path)
    ours.classifier.network.first.requires_grad_(False)
    before = weights_of(ours.classifier)
    ours.run()
    after = weights_of(ours.classifier)
    assert torch.equal(after["first.weight"], before["first.weight"])
    assert not torch.equal(after["second.weight"], before["second.weight"])
    ours.classifier.requires_grad_(False)
    with pytest.raises(UserError, match="expected a model with parameters to train"):
        optimizer_of(ours.classifier, PLAN)


def test_batch_norms_that_their_author_froze_keep_their_statistics(networks, tmp_path):
    ours = training(networks, tmp_path)
    norm = ours.classifier.network.norm
    norm.requires_grad_(False)
    before = norm.running_mean.clone()
    ours.run()
    assert torch.equal(norm.running_mean, before)


def test_bf16_passes_train_float32_weights_close_to_those_of_float32(networks, tmp_path):
    exact, rounded = (training(networks, tmp_path / str(bf16), bf16=bf16) for bf16 in (False, True))
    exact.run()
    rounded.run()
    assert {value.dtype for value in rounded.classifier.parameters()} == {torch.float32}
    ours, theirs = (weights_of(each.classifier)["last.weight"] for each in (rounded, exact))
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).norm() < 0.5 * theirs.norm()


def test_memory_does_not_grow_from_step_to_step(networks, tmp_path, monkeypatch):
    counts = []

    def count(line: dict[str, Any]) -> None:
        if "step" in line:
            counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))

    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    gc.collect()
    gc.disable()  # what a collection would have to find is a leak too
    try:
        training(networks, tmp_path, images=noise(160, 0), plan=replace(PLAN, epochs=1)).run(count)
    finally:
        gc.enable()
    assert len(counts) == 20
    assert len(set(counts[1:])) == 1


# ------------------------------------------------------------------ validation and checkpoints


def test_validation_sees_every_held_out_image_whatever_the_batch(networks, tmp_path):
    ours = training(networks, tmp_path)
    ours.run()
    classifier, held, attack = (
        ours.classifier,
        noise(13, 2),
        Attack(eps=0.2, steps=3, step_size=0.1, random_start=True),
    )
    right = {"clean": 0, "robust": 0}
    for place in range(13):
        image, label = held.pixels[[place]].float() / 255, held.labels[[place]]
        made = perturb(classifier, image, label, attack, seeds=[seed_of(3, f"held out {place}") % 2**63])
        with torch.no_grad():
            right["clean"] += int(classifier(image).argmax() == label)
            right["robust"] += int(classifier(made).argmax() == label)
    assert 0 < right["robust"] < right["clean"]
    for size in (1, 4, 13, 50):
        figures = validate(classifier, held, attack, size, ProcessGroup(), 3)
        assert figures == pytest.approx({name: 100 * value / 13 for name, value in right.items()} | {"n": 13})


def judged(monkeypatch: pytest.MonkeyPatch, *figures: tuple[float, float]) -> None:
    """Let validations find clean and robust accuracy as given."""
    answers = iter(figures)
    monkeypatch.setattr(trainer, "validate", lambda *_: dict(zip(("clean", "robust"), next(answers), strict=True)))


@pytest.mark.parametrize(("defense", "best"), [("madry", 2), ("alp+aad", 2), ("none+aad", 2), ("none", 1)])
def test_the_folder_is_the_best_epochs_checkpoint_and_last_is_the_last(networks, tmp_path, monkeypatch, defense, best):
    judged(monkeypatch, (60, 10), (50, 30), (60, 30))  # of equals the first
    training(networks, tmp_path, defense=defense, snapshots=True).run()
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["001", "002", "003"]
    for folder, epoch in ((tmp_path, best), (tmp_path / "last", 3)):
        mine, theirs = load_file(folder / WEIGHTS), load_file(tmp_path / "epochs" / f"{epoch:03d}" / WEIGHTS)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_load_model_gives_back_the_trained_model_with_its_layer_and_its_defence(networks, tmp_path):
    ours = training(networks, tmp_path, defense="alp+aad")
    ours.run()
    again = load_model(str(tmp_path / "last"), trust_code=True)
    images = torch.rand(4, 3, 10, 10)
    assert torch.equal(again(images), ours.classifier(images))
    assert again.attention_layer == "relu"
    assert trained_as(str(tmp_path)) == {"network": f"{networks}:build", "defense": "alp+aad"}


def test_without_snapshots_none_are_kept(networks, tmp_path):
    training(networks, tmp_path, plan=replace(PLAN, epochs=1)).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last", "log.jsonl", "model.json", "state.safetensors", "weights.safetensors"
    ]  # fmt: skip


def test_fewer_images_than_a_batch_are_refused(networks, tmp_path):
    with pytest.raises(UserError) as error:
        training(networks, tmp_path, images=noise(3, 0)).run()
    assert str(error.value) == "expected at least a batch of 4 training images, got 3; a smaller --batch-size may do"


# ------------------------------------------------------------------ maps that show nothing


@pytest.mark.parametrize("sign", [1, -1])
def test_a_training_whose_maps_show_nothing_says_so(networks, tmp_path, sign):
    """Channels behind a ReLU are at least 0, so that weights below 0 make every map negative."""
    ours = training(networks, tmp_path, build="plain", plan=replace(PLAN, epochs=1, learning_rate=1e-9))
    last = ours.classifier.network.last.weight
    last.data = sign * last.data.abs()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        ours.run()
    said = [str(one.message) for one in found if "have nothing positive" in str(one.message)]
    assert len(said) == (1 if sign < 0 else 0)
    (line,) = (line for line in read_log(tmp_path / "log.jsonl") if "without_area" in line)
    assert line["without_area"] == (1 if sign < 0 else 0)
