"""From names of attacks to attacks, alone and with the budget of a data set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from common import error_of

from attnlab.attacks import A3, ATTACKS, Attack
from attnlab.attacks.parse import attack_names, map_attacks, parse_attack, parse_attacks, parse_one
from attnlab.errors import UserError
from attnlab.records import read_evaluation, read_records


def test_names_of_attacks_are_parsed_by_hand():
    assert parse_attack("fgsm") == ATTACKS["fgsm"]
    assert parse_attack("pgd", steps=7) == replace(ATTACKS["pgd"], steps=7)
    assert parse_attack("pgd20", steps=7) == replace(ATTACKS["pgd"], steps=20)
    assert parse_attack("fgsm", steps=7).steps == 1
    assert parse_attack("iter-stepll3+a3", sigma=2.0) == replace(ATTACKS["iter-stepll"], steps=3, sigma=2.0)
    for name in (name for name, attack in ATTACKS.items() if attack.deviates):
        assert parse_attack(name + A3).sigma == 10.0


@pytest.mark.parametrize(
    ("name", "near"),
    [("pgdx", "pgd"), ("pgd+a4", "pgd+a3"), ("fgsm3", "fgsm"), ("pdg20", "pgd20"), ("iter-stepl+a3", "iter-stepll+a3")],
)
def test_an_attack_with_an_unknown_part_is_refused_with_the_nearest_name(name, near):
    with pytest.raises(UserError) as refusal:
        parse_attack(name)
    assert str(refusal.value).startswith(f"expected an attack of {', '.join(attack_names())}, got {name!r}")
    assert str(refusal.value).endswith(f"did you mean {near!r}?")


def test_attacks_on_maps_take_their_own_options_and_no_deviation():
    explain = {"method": "grad-cam", "distance": "cosine", "keep": 2.0, "softplus": None}
    attacks = parse_attacks("explain20,keep-map,pgd", "cifar10", explain=explain)
    assert attacks["explain20"] == replace(
        ATTACKS["explain"], eps=8 / 255, step_size=2 / 255, steps=20, distance="cosine", keep=2.0
    )
    assert (attacks["keep-map"].holds, attacks["keep-map"].steps, attacks["pgd"].distance) == ("map", 10, None)
    assert [parse_attack(name).distance for name in map_attacks()] == ["top-k", "l2"]
    error = error_of(parse_attack, "explain5+a3")
    assert error == "expected +a3 behind an attack on the prediction, got explain5+a3, which is on maps itself"


@pytest.mark.parametrize(("name", "near"), [("PGD", "pgd"), ("PGD20+A3", "pgd20+a3"), ("Iter-StepLL", "iter-stepll")])
def test_capital_letters_do_not_hide_the_nearest_name(name, near):
    assert error_of(parse_attack, name).endswith(f"got {name!r}; did you mean {near!r}?")


@pytest.mark.parametrize("name", ["clean", "square", "autoattack"])
def test_an_attack_that_analyze_cannot_follow_is_sent_where_it_belongs(attnlab, name):
    error = attnlab("analyze", "--attack", name, "--out", "out").error
    assert error.startswith("expected an attack whose maps can be compared, of fgsm, ")
    assert error.endswith(f"got {name!r}; `attnlab evaluate --attacks {name}` measures the accuracy under it")


@pytest.mark.parametrize("name", ["pgd0", "cw00", "iter-stepll0+a3"])
def test_a_refused_name_is_not_proposed(name):
    with pytest.raises(UserError) as refusal:
        parse_attack(name)
    assert f"did you mean {name!r}" not in str(refusal.value)


# ------------------------------------------------------------------ with the budget of a data set


def test_budgets_are_the_papers_unless_given():
    for data, eps, length, steps in (("mnist", 0.3, 0.01, 40), ("cifar10", 8 / 255, 2 / 255, 10)):
        attacks = parse_attacks("clean,fgsm,pgd,pgd20,cw100", data)
        assert attacks["clean"] is None
        assert attacks["fgsm"] == Attack(eps=eps)
        assert attacks["pgd"] == Attack(eps=eps, steps=steps, step_size=length, random_start=True)
        assert attacks["pgd20"] == replace(attacks["pgd"], steps=20)
        assert attacks["cw100"] == Attack("margin", eps=eps, steps=100, step_size=length, random_start=True)
    assert parse_attacks("fgsm", "imagenet")["fgsm"].eps == 16 / 255


def test_table_7_of_the_paper_from_its_options():
    attacks = parse_attacks("iter-stepll,iter-stepll+a3,pgd,pgd+a3", "imagenet", eps="4/255", steps=3)
    assert list(attacks) == ["iter-stepll", "iter-stepll+a3", "pgd", "pgd+a3"]
    for name, attack in attacks.items():
        assert (attack.eps, attack.steps) == (4 / 255, 3)
        assert attack.sigma == (10.0 if name.endswith("+a3") else None)
    assert attacks["pgd+a3"] == replace(attacks["pgd"], sigma=10.0)


def test_restarts_are_of_attacks_that_start_at_random():
    attacks = parse_attacks("fgsm,pgd10,iter-stepll", "cifar10", restarts=5)
    assert {name: attack.restarts for name, attack in attacks.items()} == {"fgsm": 1, "pgd10": 5, "iter-stepll": 1}


def test_one_name_is_one_attack_for_analyses_and_evaluations(attnlab):
    """The step that a data set's budget brings, too."""
    assert attnlab("analyze", "--attack", "pgd4", "--split", "test", "--limit", 12, "--out", "maps").code == 0
    assert attnlab("evaluate", "--attacks", "pgd4", "--limit", 12, "--no-check", "--out", "accuracy").code == 0
    maps, accuracy = read_records(Path("maps")), read_evaluation(Path("accuracy"))
    assert maps["adv_prediction"].tolist() == accuracy["prediction"].tolist()
    assert 0 < (maps["adv_prediction"] == maps["prediction"]).sum() < 12
    comment = Path("maps/tables/table1.tex").read_text().replace("\n% ", " ")
    assert "pgd4, eps 16/255, 4 steps of 2/255, grad-cam maps" in comment
    options = [json.loads(Path(f"{out}/run.json").read_text())["options"] for out in ("maps", "accuracy")]
    assert options[0]["attack"]["step_size"] == options[1]["attacks"]["pgd4"]["step_size"] == 2 / 255
    assert parse_one("fgsm", "mnist").eps == 0.3


def test_a_step_of_nothing_is_refused_and_steps_that_do_not_reach_eps_are_told(attnlab):
    words = ["evaluate", "--limit", 4, "--no-check", "--out", "out"]
    error = attnlab(*words, "--step-size", "0").error
    assert error == "expected --step-size above 0, got 0: such an attack stays where it starts"
    message = attnlab(*words, "--attacks", "clean,fgsm,pgd2,pgd8", "--eps", "16/255", "--step-size", "2/255").out
    maps = attnlab("analyze", "--attack", "pgd3", "--eps", "4/255,16/255", "--limit", 4, "--out", "maps").out
    assert "\ntoo few or too short steps to reach eps 16/255: weaker than their eps says\n" in maps
    one = " ".join(attnlab("analyze", "--attack", "pgd1", "--limit", 4, "--out", "one").out.split())
    assert "pgd1, eps 16/255, 1 step of 2/255, grad-cam maps" in one
    assert "\npgd2: too few or too short steps to reach eps; weaker than their eps says\n" in message


def test_spaces_around_names_and_names_given_twice_are_taken_once():
    assert parse_attacks(" clean , fgsm,fgsm, clean", "cifar10") == parse_attacks("clean,fgsm", "cifar10")
