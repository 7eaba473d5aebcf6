"""The training step: its passes through the network, its terms, and the state it leaves."""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.training import DEFENSES
from attnlab.training.parse import parse_defense
from attnlab.training.step import Step


@pytest.fixture
def passes(either) -> list[int]:
    """Images in each pass through the small network."""
    counts: list[int] = []
    either.network.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    return counts


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("none", {}, [4]),
        ("madry", {}, [4]),
        ("alp", {}, [8]),
        ("trades", {}, [8]),
        ("mart", {}, [8]),
        ("none+aad", {}, [4, 4, 8]),
        ("madry+aad", {}, [4, 4, 8]),  # 4 N forward, 8 N backward: the floor's 12
        ("alp+aad", {}, [8, 8]),
        ("madry+aad", {"alpha": 0}, [4, 4]),
        ("madry+aad", {"beta": 0}, [4, 4, 8]),
        ("madry+aad", {"alpha": 0, "beta": 0}, [4]),
    ],
)
def test_no_image_is_passed_through_the_network_twice(either, passes, batch, name, options, expected):
    Step(either, parse_defense(name, **options))(*batch)
    assert passes == expected


def test_a_term_that_is_switched_off_is_not_there(either, batch):
    def names(**options: float) -> set[str]:
        return set(Step(either, parse_defense("alp+aad", **options))(*batch).weighted)

    logits_alone = {"clean", "adversarial", "pairing"}
    assert names() == logits_alone | {"rectification", "preservation"}
    assert names(alpha=0) == logits_alone | {"preservation"}
    assert names(beta=0) == logits_alone | {"rectification"}
    assert names(alpha=0, beta=0) == logits_alone


@pytest.mark.parametrize("name", [*DEFENSES, *(f"{name}+aad" for name in DEFENSES)])
def test_terms_are_weighted_scalars_whose_sum_is_the_loss(either, batch, name):
    terms = Step(either, parse_defense(name))(*batch)
    assert terms.loss.item() == pytest.approx(sum(term.item() for term in terms.weighted.values()))
    assert all(term.shape == () and term.requires_grad for term in terms.weighted.values())
    assert not any(value.requires_grad for value in terms.diagnostics.values())
    assert not set(terms.weighted) & set(terms.diagnostics)  # a log may hold both
    for attention in ("rectification", "preservation"):
        if name.endswith("+aad"):
            assert terms.weighted[attention].item() == pytest.approx(
                0.01 * terms.diagnostics[f"raw_{attention}"].item()
            )


def test_a_defence_that_reads_clean_images_alone_needs_no_others(either, batch):
    clean, _, labels = batch
    terms = Step(either, DEFENSES["none"])(clean, None, labels)
    assert terms.loss.item() == pytest.approx(F.cross_entropy(either(clean), labels).item())
    right = (either(clean).argmax(1) == labels).double().mean().item()
    assert terms.diagnostics == {"clean_accuracy": pytest.approx(right)}


@pytest.mark.parametrize("name", ["none", "madry", "alp", "trades", "stepll"])
def test_attention_terms_add_terms_and_change_nothing_else(name):
    def stepped(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        classifier = load_model("resnet8").train()
        terms = Step(classifier, parse_defense(name))(images, images.flip(3), labels)
        return terms.weighted, dict(classifier.named_buffers())

    images, labels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    weighted, buffers = stepped(name)
    more, same = stepped(f"{name}+aad")
    assert more.keys() == weighted.keys() | {"rectification", "preservation"}
    assert all(torch.equal(more[term], value) for term, value in weighted.items())
    assert all(torch.equal(same[buffer], value) for buffer, value in buffers.items())  # running statistics and counts


def test_every_module_is_in_its_own_mode():
    classifier = load_model("resnet8").train()
    classifier.network.norm.eval()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    images, labels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    Step(classifier, parse_defense("aad"))(images, images.flip(3), labels)
    after = classifier.state_dict()
    assert classifier.network.stage1.norm1.training
    assert classifier.network.stage1.norm1.track_running_stats
    assert torch.equal(after["network.norm.running_mean"], before["network.norm.running_mean"])
    assert after["network.stage1.norm1.num_batches_tracked"] == before["network.stage1.norm1.num_batches_tracked"] + 1


def test_a_network_that_gives_auxiliary_logits_in_train_mode_has_all_terms(pooled, batch):
    plain = pooled.network.forward
    pooled.train().network.forward = lambda x: (plain(x), None)
    assert set(Step(pooled, parse_defense("aad"))(*batch).weighted) == {"adversarial", "rectification", "preservation"}


def test_a_model_without_spatial_maps_is_refused_before_the_first_attack(either):
    either.attention_layer = None
    Step(either, DEFENSES["trades"])
    with pytest.raises(UserError, match="--layer"):
        Step(either, parse_defense("trades+aad"))


def test_maps_keep_the_logits_precision_under_autocast(scenes_batch):
    images, labels = scenes_batch
    step = Step(load_model("resnet8"), parse_defense("aad"))
    exact = step(images, images.flip(3), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = step(images, images.flip(3), labels)
    for name, value in terms.weighted.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact.weighted[name].item(), rel=0.05)


def test_thirty_steps_leave_no_tensor_behind(either, batch):
    step = Step(either, parse_defense("aad"))
    optimizer = torch.optim.SGD(step.parameters(), lr=1e-3, momentum=0.9)
    counts = []
    gc.collect()
    gc.disable()  # what a collection would have to find is a leak too
    try:
        for number in range(33):
            optimizer.zero_grad()
            step(*batch).loss.backward()
            optimizer.step()
            if number in (2, 32):
                counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert counts[0] == counts[1]
