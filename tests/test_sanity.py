"""Model parameter randomisation: which methods notice random weights, and what becomes of the model."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from attnlab.attention.gradcam import grad_cam
from attnlab.hooks import find_layer
from attnlab.measures import sanity
from attnlab.measures.sanity import randomisation, redraw
from attnlab.models import Classifier, load_model

STAGES = 4


def edges(images: Tensor) -> Tensor:
    """What an edge detector sees, whatever the model: differences of neighbouring pixels."""
    grey = images.mean(1)
    return torch.gradient(grey, dim=1)[0].abs() + torch.gradient(grey, dim=2)[0].abs()


@pytest.fixture(scope="module")
def found(resnet8, scenes_batch):
    images, labels = (part[:4] for part in scenes_batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "STAGES", STAGES)
        return randomisation(
            resnet8, lambda model: {"grad-cam": grad_cam(model, images, labels), "edges": edges(images)}, seed=0
        )


def test_an_edge_detector_does_not_notice_random_weights_and_grad_cam_does(found):
    by_method = {name: [stage for stage in found if stage.method == name] for name in ("grad-cam", "edges")}
    same = [value for stage in by_method["edges"] for value in (stage.spearman, stage.ssim)]
    assert same == [pytest.approx(1)] * (2 * 2 * STAGES)
    last = [stage for stage in by_method["grad-cam"] if stage.order == "cascading"][-1]
    assert last.stage == STAGES
    assert abs(last.spearman) < 0.4
    assert last.images == 4


def test_stages_go_from_the_logits_to_the_images_and_hold_each_layer_once(found, resnet8):
    for order in ("cascading", "independent"):
        stages = [stage.layers for stage in found if (stage.method, stage.order) == ("grad-cam", order)]
        names = [name for layers in stages for name in layers]
        weights = {name.rpartition(".")[0] for name, _ in resnet8.network.named_parameters()}
        assert sorted(names) == sorted(weights)
        assert names[0] == resnet8.head
        first_layer = next(name for name, module in resnet8.network.named_modules() if isinstance(module, nn.Conv2d))
        assert first_layer in stages[-1]
        assert {len(layers) for layers in stages} <= {len(names) // STAGES, len(names) // STAGES + 1}


def test_both_orders_begin_alike(found):
    first = [stage._replace(order="cascading") for stage in found if stage.stage == 1]
    assert first[:2] == first[2:]


def test_the_model_and_the_global_stream_are_given_back_to_the_bit(scenes_batch, monkeypatch):
    model, images = load_model("resnet8"), scenes_batch[0][:2]
    model.train()
    find_layer(model.network, model.head).eval()
    before, flags = model.fingerprint(), [module.training for module in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    seen = []
    monkeypatch.setattr(sanity, "STAGES", STAGES)
    randomisation(model, lambda other: seen.append(other.fingerprint()) or {"edges": edges(images)}, seed=0)
    assert seen[0] == before
    assert before not in seen[1:]
    assert model.fingerprint() == before
    assert [module.training for module in model.modules()] == flags
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert torch.equal(torch.random.get_rng_state(), state)


class Own(nn.Module):
    """A parameter of its own, which nobody knows how to draw, ahead of two layers."""

    input_size: object = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(4, 3)  # registered first, run last
        self.shift = nn.Parameter(5 + torch.randn(1, 3, 8, 8))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x + self.shift).relu().mean((2, 3)))


def test_layers_are_ordered_as_they_run_and_compared_as_by_scipy():
    """The map of an image is the network's own parameter, so that it changes when that is drawn, at the very end."""
    model = Classifier(Own()).eval()
    found = randomisation(model, lambda other: {"own": other.network.shift[0]}, seed=3)
    assert [stage.layers for stage in found[:3]] == [("head",), ("conv",), ("",)]
    assert [stage.spearman for stage in found[:2]] == [pytest.approx(1)] * 2
    drawn = model.duplicate()
    redraw(drawn, ("",), seed=3)
    before, after = (other.network.shift[0].detach().abs().flatten(1).numpy() for other in (model, drawn))
    expected = np.mean([spearmanr(*pair).statistic for pair in zip(before, after, strict=True)])
    assert found[2].spearman == found[5].spearman == pytest.approx(expected, abs=1e-12)
    assert abs(after.mean() - after.std()) < before.std()  # about 0, no longer about 5
    assert np.sqrt((after**2).mean()) == pytest.approx(np.sqrt((before**2).mean()), rel=0.2)


def test_weights_are_those_of_the_seed_and_the_layer():
    model = Classifier(Own()).eval()
    one, other, third = (model.duplicate() for _ in range(3))
    redraw(one, ("head", "conv"), seed=1)
    redraw(other, ("conv",), seed=1)
    redraw(third, ("conv",), seed=2)
    assert torch.equal(one.network.conv.weight, other.network.conv.weight)
    assert not torch.equal(other.network.conv.weight, third.network.conv.weight)
    assert not torch.equal(model.network.conv.weight, other.network.conv.weight)
    assert torch.equal(model.network.head.weight, other.network.head.weight)


def test_maps_that_become_constant_are_counted_out():
    model = Classifier(Own()).eval()
    weight = model.network.head.weight.clone()
    maps = torch.rand(2, 4, 4)

    def explain(other: Classifier) -> dict[str, Tensor]:
        return {"fragile": maps if torch.equal(other.network.head.weight, weight) else torch.ones(2, 4, 4)}

    first = randomisation(model, explain, seed=0)[0]
    assert (first.images, np.isnan(first.spearman), np.isnan(first.ssim)) == (0, True, True)
