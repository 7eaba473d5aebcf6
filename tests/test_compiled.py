"""Compiled trainings; torch traces them here as it always does, and runs its graphs without making code of them."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from trainings import PLAN, STEPS, training, weights_of

from attnlab.attacks.pgd import perturb
from attnlab.models import Classifier, load_model
from attnlab.training import adversary


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.compiler.reset()
    counters.clear()


@pytest.mark.parametrize(
    "defense",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("aad", "madry", "trades+awp")],
)
def test_a_compiled_training_is_the_plain_one_and_traces_nothing_anew(networks, tmp_path, monkeypatch, defense):
    attacked = []

    def watched(classifier: Classifier, *rest: Any, **options: Any) -> Tensor:
        attacked.append(isinstance(classifier, torch._dynamo.OptimizedModule))
        return perturb(classifier, *rest, **options)

    monkeypatch.setattr(adversary, "perturb", watched)
    found: list[dict[str, Tensor]] = []
    graphs: list[int] = []
    for epochs, compiled in [(2, False), (1, True), (2, True)]:
        plan = replace(PLAN, epochs=epochs)
        folder = tmp_path / f"{epochs} {compiled}"
        ours = training(networks, folder, defense=defense, plan=plan, compiled=compiled)
        ours.classifier.network.double().dropout.p = 0  # no gradient's sign hangs on rounding, and nothing is drawn
        torch.compiler.reset()
        counters.clear()
        ours.run()
        found.append(weights_of(ours.classifier))
        graphs.append(counters["stats"]["unique_graphs"])
    torch.testing.assert_close(found[2], found[0], rtol=1e-9, atol=1e-12)
    assert graphs[0] == 0
    assert 2 <= graphs[1] == graphs[2]  # of the step and of the attack's passes
    assert attacked == [False] * 2 * STEPS + [True] * 3 * STEPS


def test_lenet_can_be_traced_whole_for_its_gradient_by_the_image():
    lenet = load_model("lenet", "none").eval()
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gradients = [
        torch.autograd.grad(network(images).logsumexp(1).sum(), images)[0]
        for network in (lenet, torch.compile(lenet, fullgraph=True))
    ]
    torch.testing.assert_close(*gradients)
