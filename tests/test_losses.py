"""The classification losses that training descends: against their papers' formulas in plain code."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.training import DEFENSES, LOSSES
from attnlab.training.losses import soft_margin


@pytest.fixture
def logits() -> tuple[dict[str, Tensor], Tensor]:
    """Clean and adversarial logits with a right, a wrong and a sure answer each, and labels."""
    generator = torch.Generator().manual_seed(3)
    values = {
        name: 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64) for name in ("clean", "adversarial")
    }
    return values, torch.tensor([0, 1, 2, 3, 4, 0])


def terms_of(name: str, logits: dict[str, Tensor], labels: Tensor, classify=F.cross_entropy) -> dict[str, float]:
    defense = DEFENSES[name]
    terms = LOSSES[defense.loss].terms(logits, labels, classify, defense.weight)
    return {key: value.item() for key, value in terms.items()}


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    rows = zip(logits.softmax(1), labels, strict=True)
    return -sum(p[label].log().item() for p, label in rows) / len(labels)


def test_none_and_madry_are_cross_entropy_of_one_kind_of_images(logits):
    values, labels = logits
    assert terms_of("none", values, labels) == pytest.approx({"clean": plain_cross_entropy(values["clean"], labels)})
    expected = {"adversarial": plain_cross_entropy(values["adversarial"], labels)}
    assert terms_of("madry", values, labels) == pytest.approx(expected)


def test_alp_is_half_of_each_and_half_the_mean_squared_gap(logits):
    values, labels = logits
    gap = sum(float((a - b) ** 2) for a, b in zip(*(v.flatten() for v in values.values()), strict=True)) / 30
    halves = {name: plain_cross_entropy(value, labels) / 2 for name, value in values.items()}
    assert terms_of("alp", values, labels) == pytest.approx({**halves, "pairing": 0.5 * gap})


@pytest.mark.parametrize("name", ["mixed", "stepll", "ensemble"])
def test_mixed_stepll_and_ensemble_are_the_mean_of_both_cross_entropies(logits, name):
    values, labels = logits
    halves = {kind: plain_cross_entropy(value, labels) / 2 for kind, value in values.items()}
    assert terms_of(name, values, labels) == pytest.approx(halves)


def plain_divergence(p: Tensor, q: Tensor) -> float:
    return float(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))


def test_trades_equals_its_papers_formula(logits):
    values, labels = logits
    clean, attacked = (values[kind].softmax(1) for kind in ("clean", "adversarial"))
    divergence = sum(plain_divergence(p, q) for p, q in zip(clean, attacked, strict=True)) / len(labels)
    expected = {"clean": plain_cross_entropy(values["clean"], labels), "divergence": 6 * divergence}
    assert terms_of("trades", values, labels) == pytest.approx(expected)


def test_mart_equals_its_papers_formula(logits):
    values, labels = logits
    clean, attacked = (values[kind].softmax(1) for kind in ("clean", "adversarial"))
    sums = {"adversarial": 0.0, "margin": 0.0, "divergence": 0.0}
    for p, q, label in zip(clean, attacked, labels, strict=True):
        sums["adversarial"] -= float(q[label].log())
        sums["margin"] -= float((1 - max(q[k] for k in range(5) if k != label)).log())
        sums["divergence"] += 5 * plain_divergence(p, q) * float(1 - p[label])
    assert terms_of("mart", values, labels) == pytest.approx({name: value / 6 for name, value in sums.items()})


def test_mart_stays_finite_where_a_wrong_class_is_sure():
    attacked = torch.tensor([[0.0, 300.0, 1.0]], requires_grad=True)
    terms = LOSSES["mart"].terms(
        {"clean": torch.zeros(1, 3), "adversarial": attacked}, torch.tensor([0]), F.cross_entropy, 5.0
    )
    assert terms["margin"].item() == pytest.approx(299 - 0.31326, abs=1e-3)  # -log((1 + e) / e^300)
    (gradient,) = torch.autograd.grad(sum(terms.values()), attacked)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_by_logits_of_both_kinds_equals_finite_differences(logits, name):
    values, labels = logits

    def value(*parts: Tensor) -> Tensor:
        terms = LOSSES[name].terms(dict(zip(LOSSES[name].reads, parts, strict=True)), labels, F.cross_entropy, 2.0)
        return sum(terms.values())

    assert torch.autograd.gradcheck(value, [values[kind].requires_grad_() for kind in LOSSES[name].reads])


def test_soft_margin_is_a_binary_cross_entropy_of_each_class(logits):
    values, labels = logits
    truth = torch.zeros(6, 5, dtype=torch.float64)
    truth[range(6), labels] = 1
    expected = F.binary_cross_entropy(values["clean"].sigmoid(), truth).item()
    assert soft_margin(values["clean"], labels).item() == pytest.approx(expected)
    assert terms_of("none", values, labels, soft_margin) == pytest.approx({"clean": expected})
