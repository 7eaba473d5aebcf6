"""Weights that are perturbed while a step's gradient is taken: against the authors' way, and what is left."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trainings import PLAN, STEPS, assert_same_training, assert_same_weights, interrupting_at, training

from attnlab.training.images import order_of
from attnlab.training.parse import parse_defense
from attnlab.training.perturbations import awp
from attnlab.training.trainer import Session, Training

GAMMA = 0.3  # large, so that it shows


def loss_of(name: str, model: nn.Module, clean: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """The losses of the authors' train_adversarial.py and train_trades_cifar.py; both kinds in one pass, as here."""
    if name == "none":
        return F.cross_entropy(model(clean), labels)
    if name == "madry":
        return F.cross_entropy(model(attacked), labels)
    logits, other = model(torch.cat([clean, attacked])).chunk(2)
    kl = F.kl_div(other.log_softmax(1), logits.softmax(1), reduction="batchmean")
    return F.cross_entropy(logits, labels) + 6 * kl


def authors_difference(name: str, model: nn.Module, *batch: Tensor) -> dict[str, Tensor]:
    """What utils_awp.py of the authors adds to the weights: one step of a copy, scaled tensor by tensor."""
    proxy = copy.deepcopy(model)
    optimizer = torch.optim.SGD(proxy.parameters(), 0.01)
    optimizer.zero_grad()
    (-loss_of(name, proxy, *batch)).backward()
    optimizer.step()
    moved = dict(proxy.named_parameters())
    difference = {}
    for key, weight in model.named_parameters():
        if weight.ndim > 1 and "weight" in key and moved[key].grad is not None:
            step = moved[key].detach() - weight.detach()
            difference[key] = weight.detach().norm() / (step.norm() + 1e-20) * step
    return difference


def attacked_of(images: Tensor) -> Tensor:
    return (0.9 * images + 0.1 * images.flip(2)).clamp(0, 1)


def exact(ours: Training) -> Training:
    """In double precision, without dropout."""
    ours.classifier.double()
    ours.classifier.network.dropout.p = 0
    return ours


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", ["none", "madry", "trades"])
def test_awp_equals_the_authors_way_of_it_in_a_plain_loop(networks, tmp_path, monkeypatch, name, optimizer):
    monkeypatch.setattr(Session, "_adversarial", lambda _session, images, _labels: attacked_of(images))
    plan = replace(PLAN, optimizer=optimizer, augment="none", schedule="constant", weight_decay=0.0, epochs=2)
    ours = exact(training(networks, tmp_path, defense=f"{name}+awp", plan=plan))
    ours = replace(ours, defense=parse_defense(f"{name}+awp", awp_gamma=GAMMA, awp_warmup=0.4))
    model = copy.deepcopy(ours.classifier).train()
    kinds = {
        "adam": lambda parameters: torch.optim.AdamW(parameters, 0.02, weight_decay=0),
        "sgd": lambda parameters: torch.optim.SGD(parameters, 0.02, 0.9, nesterov=True),
    }
    theirs = kinds[optimizer](model.parameters())
    done = 0
    for epoch in range(2):
        for rows in torch.tensor(order_of(22, 3, epoch))[:20].split(4):
            clean = ours.images.pixels[rows].float() / 255
            batch = clean, attacked_of(clean), ours.images.labels[rows]
            difference = authors_difference(name, model, *batch) if done >= 2 else {}
            named = dict(model.named_parameters())
            with torch.no_grad():
                for key, step in difference.items():
                    named[key].add_(GAMMA * step)
            theirs.zero_grad()
            loss_of(name, model, *batch).backward()
            theirs.step()
            with torch.no_grad():
                for key, step in difference.items():
                    named[key].sub_(GAMMA * step)
            done += 1
    ours.run()
    for key, value in model.network.state_dict().items():  # running statistics too
        torch.testing.assert_close(ours.classifier.network.state_dict()[key], value, rtol=1e-6, atol=1e-7)
    plain = exact(training(networks, tmp_path / "plain", defense=name, plan=plan))
    plain.run()
    gap = plain.classifier.network.first.weight - ours.classifier.network.first.weight
    assert gap.abs().max() > 1e-3, "a perturbation shows"


@pytest.mark.parametrize("fails", [False, True])
def test_every_weight_moves_by_gamma_of_its_norm_and_comes_back_to_the_bit(networks, tmp_path, fails):
    classifier = training(networks, tmp_path).classifier
    network = classifier.network.train()
    images, labels = torch.rand(4, 3, 10, 10), torch.tensor([0, 1, 2, 0])
    before = {key: value.clone() for key, value in network.state_dict().items()}

    def descend() -> None:
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()

    inside = {}
    try:
        with awp(network, descend, 0.1):
            inside = {key: value.clone() for key, value in network.state_dict().items()}
            assert not fails
    except AssertionError:
        assert fails
    for key in ("first.weight", "second.weight", "last.weight"):
        assert float((inside[key] - before[key]).norm() / before[key].norm()) == pytest.approx(0.1, rel=1e-4)
    others = [key for key in before if not key.endswith("weight") or key in ("norm.weight", "unused.weight")]
    assert all(torch.equal(inside[key], before[key]) for key in others), "nor are running statistics touched"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_weight_without_a_gradient_stays_where_it_is():
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    with awp(network, lambda: (0 * network(torch.ones(1, 3))).sum().backward(), 0.1):
        assert torch.equal(network.weight, before)


def test_the_loss_is_higher_at_the_perturbed_weights(networks, tmp_path):
    network = training(networks, tmp_path, build="plain").classifier.network
    images, labels = torch.rand(4, 3, 10, 10), torch.tensor([0, 1, 2, 0])
    before = F.cross_entropy(network(images), labels).item()
    with awp(network, lambda: F.cross_entropy(network(images), labels).backward(), 0.05):
        assert F.cross_entropy(network(images), labels).item() > before


def test_before_its_warm_up_is_over_a_training_is_the_one_without_to_the_bit(networks, tmp_path):
    plan = replace(PLAN, schedule="constant", epochs=1)
    plain = training(networks, tmp_path / "plain", defense="madry", plan=plan)
    warming = training(networks, tmp_path / "warming", defense="madry+awp", plan=plan)
    warming = replace(warming, defense=parse_defense("madry+awp", awp_warmup=1.0))
    plain.run()
    warming.run()
    assert_same_weights(warming, plain)


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 2])
def test_an_interrupted_training_with_awp_and_an_average_comes_to_the_same_to_the_bit(
    networks, tmp_path, monkeypatch, step
):
    options = {"defense": "aad+awp", "plan": replace(PLAN, ema=0.8)}
    whole = training(networks, tmp_path / "whole", **options)
    whole.run()
    with monkeypatch.context() as patch:
        interrupting_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            training(networks, tmp_path / "parts", **options).run()
    parts = training(networks, tmp_path / "parts", **options)
    parts.run()
    assert_same_training(parts, whole)
