"""Defences by name: what a name means, what is refused, and whose gradients ensemble training attacks with."""

from collections import Counter
from dataclasses import asdict, replace

import pytest
import torch

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.training import DEFENSES, ENDINGS, Defense, Ending
from attnlab.training.adversary import check_sources, draw_source
from attnlab.training.parse import known_defenses, parse_defense, spelled_out


def test_every_defence_is_named_alone_and_with_aad():
    assert {"none", "madry", "mixed", "fast", "alp", "trades", "mart", "stepll", "ensemble"} <= set(DEFENSES)
    for name, defense in DEFENSES.items():
        assert parse_defense(name) == defense
        assert parse_defense(f"{name}+aad") == replace(defense, alpha=0.01, beta=0.01)
    assert parse_defense("aad") == parse_defense("madry+aad")


def test_weights_are_those_published():
    assert [DEFENSES[name].weight for name in ("alp", "trades", "mart")] == [0.5, 6.0, 5.0]


def test_options_of_aad_reach_the_defence():
    options = {"alpha": 0.3, "beta": 0.0, "fill": "grey"}
    assert parse_defense("alp+aad", **options) == replace(DEFENSES["alp"], **options)
    assert parse_defense("alp", classification="soft-margin").classification == "soft-margin"


def test_mixed_attacks_as_madry_does():
    assert DEFENSES["mixed"].attack(8 / 255, 10, 2 / 255) == DEFENSES["madry"].attack(8 / 255, 10, 2 / 255)


def test_what_an_attention_loss_implies_yields_to_options_and_stands_in_the_defences_fields():
    assert parse_defense("aad", attention_loss="mean") == parse_defense("aad")
    total = replace(DEFENSES["madry"], alpha=0.01, beta=0.01, attention_loss="sum")
    assert parse_defense("aad", attention_loss="sum") == total
    code = replace(DEFENSES["mixed"], alpha=4.0, beta=1.0, fill="grey", attention_loss="code", logits_weight=8.0)
    assert parse_defense("mixed+aad", attention_loss="code") == replace(code, classification="soft-margin")
    asked = {"alpha": 0.0, "beta": 2.0, "fill": "grey", "classification": "cross-entropy"}
    assert parse_defense("mixed+aad", attention_loss="code", **asked) == replace(code, alpha=0.0, beta=2.0)


def test_contradictions_are_refused_and_both_shown():
    with pytest.raises(UserError, match="expected --fill grey with --attention-loss code, got black"):
        parse_defense("aad", attention_loss="code", fill="black")
    with pytest.raises(UserError, match=r"with mart, .* got soft-margin, the default of --attention-loss code"):
        parse_defense("mart+aad", attention_loss="code")
    mart = parse_defense("mart+aad", attention_loss="code", classification="cross-entropy")
    assert (mart.weight, mart.beta) == (5, 1)


@pytest.mark.parametrize("option", [{"alpha": 0.01}, {"beta": 0.0}, {"fill": "black"}, {"attention_loss": "sum"}])
def test_options_of_aad_are_refused_without_it(option):
    with pytest.raises(UserError, match=r"expected --[\w-]+ with \+aad alone, got alp; did you mean alp\+aad\?"):
        parse_defense("alp", **option)


def test_the_weight_of_a_losses_second_part_is_that_asked_for_or_refused_where_there_is_none():
    assert parse_defense("trades+aad", loss_weight=1.0) == replace(
        DEFENSES["trades"], weight=1.0, alpha=0.01, beta=0.01
    )
    assert parse_defense("alp", loss_weight=0.0).weight == 0
    weighted = ", ".join(name for name, defense in DEFENSES.items() if defense.weight)
    with pytest.raises(UserError, match=rf"expected --loss-weight with {weighted} alone, .* got madry\+aad"):
        parse_defense("madry+aad", loss_weight=1.0)
    with pytest.raises(UserError, match="expected weight of at least 0, got -1"):
        parse_defense("mart", loss_weight=-1.0)


def test_endings_stand_in_any_order_and_each_has_its_own_options(monkeypatch):
    both = replace(DEFENSES["alp"], alpha=0.01, beta=0.01, perturbation="awp", gamma=0.01)
    assert parse_defense("alp+aad+awp") == parse_defense("alp+awp+aad") == both
    assert spelled_out("alp+awp+aad") == "alp+aad+awp"
    assert spelled_out("aad+awp", parse_defense("aad+awp", alpha=0, beta=0)) == "madry+awp"
    assert parse_defense("trades+awp").gamma == 0.005  # as published
    asked = parse_defense("trades+awp", awp_gamma=0.02, awp_warmup=5.0)
    assert asked == replace(DEFENSES["trades"], perturbation="awp", gamma=0.02, warmup=5.0)
    for option in ("awp_gamma", "awp_warmup"):
        with pytest.raises(UserError, match=r"expected --awp-\w+ with \+awp alone, got alp; did you mean alp\+awp\?"):
            parse_defense("alp", **{option: 0.0})
    monkeypatch.setitem(ENDINGS, "+sam", Ending({"perturbation": "none"}, {}))
    assert "alp+aad+sam" in known_defenses()
    assert "alp+awp+sam" not in known_defenses()
    with pytest.raises(UserError, match=r"expected a defense of .*, got 'alp\+sam\+awp'"):
        parse_defense("alp+sam+awp")
    for name in known_defenses():
        assert known_defenses().count(name) == 1
        parse_defense(name)


@pytest.mark.parametrize("gamma", [0.0, 1.0, -0.1, float("nan")])
def test_a_perturbation_of_nothing_or_of_all_is_refused(gamma):
    with pytest.raises(UserError, match="expected gamma between 0 and 1 where weights are perturbed"):
        parse_defense("madry+awp", awp_gamma=gamma)


def test_a_stride_without_a_single_step_is_refused():
    with pytest.raises(UserError, match=r"expected a stride with a single step alone, got 1\.25"):
        Defense("adversarial", stride=1.25)


def test_fast_attacks_with_fgsm_from_a_random_start_as_wong_et_al_do(scenes_batch, resnet8):
    images, labels = scenes_batch
    attack, draws = DEFENSES["fast"].attack(8 / 255, 40, 2 / 255), torch.rand(images.shape)
    delta = (images + (2 * draws - 1) * 8 / 255).clamp(0, 1) - images  # as their train_fgsm.py, in pixels
    delta.requires_grad_()
    torch.nn.functional.cross_entropy(resnet8(images + delta), labels).backward()
    moved = (delta + 1.25 * 8 / 255 * delta.grad.sign()).clamp(-8 / 255, 8 / 255).detach()
    expected = images + torch.max(torch.min(1 - images, moved), 0 - images)
    ours = perturb(resnet8, images, labels, attack, seeds=draws)
    resnet8.zero_grad()
    assert (ours - expected).abs().gt(1e-6).float().mean() < 1e-3  # where a gradient's sign is rounding's
    assert (ours - images).abs().max() <= 8 / 255 + 1e-6
    assert DEFENSES["fast"].attack(0.9, 1).step_size == 1  # the longest step there is


def test_a_defence_is_its_own_provenance():
    defense = parse_defense("trades+aad", alpha=0.1)
    assert Defense(**asdict(defense)) == defense
    assert all(isinstance(value, str | float | bool) for value in asdict(defense).values())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        *(("madri", "madry"), ("madry+add", "madry+aad"), ("add", "aad"), ("alp+a3", "alp"), ("madry+", "madry")),
        *(("madry+awp+awp", "madry+a"), ("aad+aad", "madry+aad"), ("trades+awb", "trades+awp")),
    ],
)
def test_an_unknown_defence_is_refused_with_the_names_and_the_nearest(name, near):
    with pytest.raises(UserError) as error:
        parse_defense(name)
    assert str(error.value).startswith(f"expected a defense of {', '.join(DEFENSES)}, each also with +aad, +awp")
    assert f"got '{name}'; did you mean '{near}" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "expected alpha of at least 0, got -1"),
        ({"beta": float("nan")}, "expected beta of at least 0, got nan"),
        ({"fill": "gray"}, "expected fill to be one of black, grey, got 'gray'; did you mean 'grey'?"),
        ({"classification": "bce"}, "expected classification loss to be one of cross-entropy, soft-margin"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(UserError) as error:
        parse_defense("aad", **options)
    assert message in str(error.value)


def test_mart_builds_on_cross_entropy_alone():
    with pytest.raises(UserError, match="expected cross-entropy with mart"):
        parse_defense("mart", classification="soft-margin")


@pytest.mark.parametrize("name", ["none", "madry", "alp", "mart"])
def test_adversarial_images_are_those_of_pgd_from_a_random_start(name):
    attack = DEFENSES[name].attack(8 / 255, 10, 2 / 255)
    assert attack == Attack("cross-entropy", 8 / 255, 10, 2 / 255, random_start=True)


def test_trades_attacks_the_divergence_from_a_random_start_where_it_has_a_gradient():
    attack = DEFENSES["trades"].attack(8 / 255, 10)
    assert (attack.objective, attack.random_start, attack.steps) == ("divergence", True, 10)


@pytest.mark.parametrize("name", ["stepll", "ensemble"])
def test_stepll_and_ensemble_attack_with_one_least_likely_step_of_eps(name, scenes_batch, resnet8):
    images, labels = scenes_batch
    attack = DEFENSES[name].attack(0.05, 40, 0.01)
    assert torch.equal(
        perturb(resnet8, images, labels, attack), perturb(resnet8, images, labels, Attack("least-likely", 0.05))
    )
    assert attack.step_length == 0.05


# ------------------------------------------------------------------ sources of ensemble training


@pytest.fixture(scope="module")
def static():
    return [load_model("resnet8"), load_model("resnet8", "none")]


def test_sources_are_drawn_uniformly_and_the_current_model_is_one_of_them(resnet8, static):
    draws = Counter(id(draw_source(resnet8, static, 0, step)) for step in range(3000))
    assert set(draws) == {id(source) for source in (resnet8, *static)}
    assert all(900 < count < 1100 for count in draws.values())


def test_a_draw_depends_on_seed_and_step_alone(resnet8, static):
    torch.manual_seed(1)
    first = [draw_source(resnet8, static, 7, step) for step in range(50)]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert all(draw_source(resnet8, static, 7, step) is first[step] for step in reversed(range(50)))
    assert torch.equal(torch.get_rng_state(), before)
    assert [draw_source(resnet8, static, 8, step) for step in range(50)] != first


def test_sources_that_cannot_stand_in_are_refused(resnet8, static):
    check_sources(resnet8, static)
    with pytest.raises(UserError, match="--sources CHECKPOINT"):
        check_sources(resnet8, [])
    with pytest.raises(UserError, match="expected source 2 with channels 3 as the trained model has, got 1"):
        check_sources(resnet8, [static[0], load_model("lenet", "none")])
