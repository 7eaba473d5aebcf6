"""`attnlab evaluate`: its tables, and the one line a user reads when something does not fit."""

import csv
import json
from pathlib import Path

import pytest
from common import tables_of

from attnlab.models import load_model
from attnlab.report.tables import A3, POINTS


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
        f"{name}.{suffix}" for name in tables_of("evaluate", POINTS, A3) for suffix in ("csv", "tex")
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
        (["--attacks", "pgd+a3", "--sigma", "-1"], "expected --sigma of at least 0, got -1", ""),
        (["--attacks", "pgd", "--restarts", "0"], "expected --restarts of at least 1", "got 0"),
        (["--split", "tset"], "expected --split to be one of", "did you mean 'test'?"),
        (["--model", "resnet8x"], "expected --model to be ", "did you mean 'resnet8'?"),
        (["--model", "resnet8", "--model", "resnet8"], "expected each --model once", ""),
        (["--transfer", "resnet8x"], "--transfer resnet8x: expected ", "did you mean 'resnet8'?"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_was_expected(command, words, start, end):
    error = command(*words).error
    assert error.startswith(start)
    assert error.endswith(end)
    assert not list(Path("out").glob("records/*")), "nothing was computed"


def test_a_wrong_geometry_is_one_line_and_leaves_no_run_behind(command):
    error = command("--resize", "squish").error
    assert error.endswith("got 'squish'; did you mean 'squash'?")
    assert not Path("out").exists()


def test_data_of_other_channels_is_one_line(attnlab, shared):
    error = attnlab("evaluate", "--data", "mnist", "--root", shared / "mnist", "--model", "resnet8").error
    assert error.startswith("expected a model of 1 channel for mnist, got resnet8, one of 3")


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
