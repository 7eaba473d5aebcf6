"""`attnlab evaluate`: its tables, and the one line a user reads when something does not fit."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from attnlab.attacks.pgd import Attack
from attnlab.models import load_model
from attnlab.pipelines.budgets import parse_attacks, parse_one
from attnlab.records import read_evaluation, read_records


@pytest.fixture
def command(attnlab):
    """A short evaluation of scenes in `out`, whatever else is asked for."""
    return lambda *words: attnlab("evaluate", "--limit", 8, "--workers", 0, "--no-check", "--out", "out", *words)


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_evaluation_of_the_scenes_writes_tables_6_and_7(attnlab):
    done = attnlab("evaluate", "--limit", 20, "--attacks", "clean,fgsm,pgd3,pgd3+a3", "--out", "out")
    assert done.code == 0
    assert {path.name for path in Path("out/tables").iterdir()} == {
        f"{name}.{suffix}" for name in ("table6", "table6_worst", "table7") for suffix in ("csv", "tex")
    }
    table = rows_of("out/tables/table6.csv")
    assert list(table[0]) == ["dataset", "model", "defense", "attack", "n", "accuracy", "ci_low", "ci_high", "paper"]
    assert [row["attack"] for row in table] == ["clean", "fgsm", "pgd3", "pgd3+a3"]
    assert {row["n"] for row in table} == {"20"}
    accuracy = {row["attack"]: float(row["accuracy"]) for row in table}
    assert accuracy["clean"] > 80 > accuracy["pgd3"]
    worst = {row["attack"]: float(row["accuracy"]) for row in rows_of("out/tables/table6_worst.csv")}
    assert all(worst[attack] <= accuracy[attack] for attack in accuracy)
    table7 = rows_of("out/tables/table7.csv")
    assert list(table7[0]) == ["attack", "n", "accuracy", "ci_low", "ci_high", "paper"]
    assert {row["n"] for row in table7} == {str(round(accuracy["clean"] / 5))}
    assert float(table7[0]["accuracy"]) == 100
    assert "L-infinity eps 16/255" in done.out
    again = attnlab("evaluate", "--limit", 20, "--attacks", "clean,fgsm,pgd3,pgd3+a3", "--out", "out")
    assert (again.code, again.out) == (0, done.out)
    assert attnlab("tables", "out").out == done.out


def test_two_models_are_held_against_each_other(attnlab, tmp_path):
    (tmp_path / "net.py").write_text(
        "from attnlab.models.resnet8 import ResNet8\n\n\ndef build():\n    return ResNet8()\n"
    )
    words = ["--model", "resnet8", "--model", "net.py:build", "--attacks", "clean,fgsm", "--out", "out", "--no-check"]
    assert attnlab("evaluate", "--limit", 8, *words).code == 0
    paired = rows_of("out/tables/paired.csv")
    assert [(row["attack"], row["first"], row["second"]) for row in paired] == [
        ("clean", "resnet8", "net.py:build"),
        ("fgsm", "resnet8", "net.py:build"),
    ]
    assert not Path("out/tables/table7.csv").exists()


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        (["--eps", "8"], "expected eps in [0, 1], got 8", "did you mean 8/255?"),
        (["--eps", "-0.1"], "expected eps in [0, 1], got -0.1", ""),
        (["--eps", "nan"], "expected eps in [0, 1], got nan", ""),
        (["--step-size", "2"], "expected --step-size in [0, 1], got 2", "did you mean 2/255?"),
        (["--attacks", "pgd", "--steps", "0"], "expected --steps of at least 1, got 0", ""),
        (["--attacks", "pgd0"], "expected an attack of ", ""),
        (["--attacks", "pgdx"], "expected an attack of ", "got 'pgdx'; did you mean 'pgd'?"),
        (["--attacks", "clean,pgd+a4"], "expected an attack of ", "got 'pgd+a4'; did you mean 'pgd+a3'?"),
        (["--attacks", ""], "expected ", ""),
        (["--attacks", "clean,,fgsm"], "expected ", ""),
        (["--attacks", "pgd+a3", "--sigma", "-1"], "expected sigma of at least 0, got -1", ""),
        (["--attacks", "pgd", "--restarts", "0"], "expected --restarts of at least 1", "got 0"),
        (["--split", "tset"], "expected --split to be one of", "did you mean 'test'?"),
        (["--model", "resnet8x"], "expected --model to be ", "did you mean 'resnet8'?"),
        (["--model", "resnet8", "--model", "resnet8"], "expected each --model once", ""),
        (["--transfer", "resnet8x"], "expected ", "did you mean 'resnet8'?"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_was_expected(command, words, start, end):
    error = command(*words).error
    assert error.startswith(start)
    assert error.endswith(end)
    assert not list(Path("out").glob("records/*")), "nothing was computed"


def test_a_wrong_geometry_is_one_line_and_leaves_no_run_behind(command):
    error = command("--geometry", "squish").error
    assert error.endswith("got 'squish'; did you mean 'squash'?")
    assert not Path("out").exists()


def test_data_of_other_channels_is_one_line(attnlab, shared):
    error = attnlab("evaluate", "--data", "mnist", "--root", shared / "mnist", "--model", "resnet8").error
    assert error.startswith("expected a model of 1 colour channels for mnist, got resnet8, one of 3")


def test_data_of_other_classes_is_one_line(command):
    error = command("--model", "squeezenet1_1", "--weights", "none").error
    assert error.startswith("expected a model of 10 classes for scenes, got squeezenet1_1, one of 1000")


def test_a_run_folder_as_a_model_is_one_line(command, run):
    assert command("--model", run).error == f"expected {run} to be a checkpoint, but it has no model.json"


def test_a_checkpoint_of_another_network_is_one_line(command, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    weights = Path(load_model.__code__.co_filename).with_name("resnet8.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights)
    (folder / "model.json").write_text(json.dumps({"model": "squeezenet1_1", "layer": None}))
    assert "holds the weights of another network" in command("--model", folder).error


def test_other_options_in_the_same_out_are_refused_and_named(command):
    assert command("--attacks", "clean").code == 0
    error = command("--attacks", "clean", "--limit", 9, "--seed", 5).error
    assert "seed was 0, is 5" in error
    assert "images was 8, is 9" in error
    assert error.endswith("choose another --out")


def test_an_analysis_and_an_evaluation_do_not_share_a_folder(command, attnlab):
    assert command("--attacks", "clean").code == 0
    assert "kind was 'evaluate', is 'analyze'" in attnlab("analyze", "--limit", 8, "--out", "out").error


# ------------------------------------------------------------------ from names to settings


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
    assert "pgd4, eps 16/255, 4 steps of 2/255, grad-cam maps" in Path("maps/tables/table1.tex").read_text().replace(
        "\n", " "
    )
    options = [json.loads(Path(f"{out}/run.json").read_text())["options"] for out in ("maps", "accuracy")]
    assert options[0]["attack"]["step_size"] == options[1]["attacks"]["pgd4"]["step_size"] == 2 / 255
    assert parse_one("fgsm", "mnist").eps == 0.3


def test_a_step_of_nothing_is_refused_and_steps_that_do_not_reach_eps_are_told(attnlab):
    words = ["evaluate", "--limit", 4, "--no-check", "--out", "out"]
    error = attnlab(*words, "--step-size", "0").error
    assert error == "expected --step-size above 0, got 0: such an attack stays where it starts"
    told = attnlab(*words, "--attacks", "clean,fgsm,pgd2,pgd8", "--eps", "16/255", "--step-size", "2/255").out
    maps = attnlab("analyze", "--attack", "pgd3", "--eps", "4/255,16/255", "--limit", 4, "--out", "maps").out
    assert "\ntoo few or too short steps to reach eps 16/255: weaker than their eps says\n" in maps
    one = " ".join(attnlab("analyze", "--attack", "pgd1", "--limit", 4, "--out", "one").out.split())
    assert "pgd1, eps 16/255, 1 step of 2/255, grad-cam maps" in one
    assert "\npgd2: too few or too short steps to reach eps; weaker than their eps says\n" in told


def test_spaces_around_names_and_names_given_twice_are_taken_once():
    assert parse_attacks(" clean , fgsm,fgsm, clean", "cifar10") == parse_attacks("clean,fgsm", "cifar10")
