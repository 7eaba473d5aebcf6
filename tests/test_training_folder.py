"""A training's folder after its end: prolonged, damaged, removed; and what is said of one that is not finished."""

import json
import shutil
from pathlib import Path

import pytest

from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS, save_checkpoint
from attnlab.training import trainer
from attnlab.training.folder import tell_unfinished
from attnlab.training.log import read_log

# ------------------------------------------------------------------ prolonged


@pytest.mark.parametrize("schedule", ["constant", "decay"])
def test_a_finished_training_is_prolonged_to_the_weights_of_a_longer_one(train, schedule):
    words = ["--schedule", schedule]
    assert train(*words, "--epochs", 4, "--out", "whole").code == 0
    assert train(*words).code == 0
    assert train(*words, "--epochs", 4).code == 0
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}", "state.safetensors"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert json.loads(Path("out/training.json").read_text())["options"]["epochs"] == 4
    assert train(*words, "--epochs", 4).err == ""  # which is finished now


def test_a_training_from_before_there_were_averages_and_perturbations_is_prolonged_as_one_without(train):
    assert train("--epochs", 3, "--out", "whole").code == 0
    assert train().code == 0
    manifest = json.loads(Path("out/training.json").read_text())
    later = ("stride", "perturbation", "gamma", "warmup", "attention_loss", "logits_weight")
    for name in ("ema", *(f"defense's {field}" for field in later)):
        del manifest["options"][name]
    Path("out/training.json").write_text(json.dumps(manifest))
    assert "(ema was 0.0, is 0.9)" in train("--epochs", 3, "--ema", 0.9).error
    assert "defense's perturbation was 'none', is 'awp'" in train("--defense", "aad+awp").error
    assert "defense's attention_loss was 'mean', is 'sum'" in train("--attention-loss", "sum").error
    assert train("--epochs", 3).code == 0
    assert Path("out", WEIGHTS).read_bytes() == Path("whole", WEIGHTS).read_bytes()


def test_a_one_cycle_training_is_not_prolonged_and_says_why_and_stays_as_it_is(train):
    assert train("--schedule", "one-cycle", "--epochs", 1).code == 0
    before = Path("out/training.json").read_bytes()
    assert train("--schedule", "one-cycle", "--epochs", 2).error == (
        "out holds a training of 1 epoch, which 2 cannot prolong: with the schedule one-cycle every learning rate "
        "depends on the number of epochs; choose another --out"
    )
    assert Path("out/training.json").read_bytes() == before


def test_more_epochs_with_another_option_too_tell_both(train):
    assert train("--epochs", 1).code == 0
    assert "epochs was 1, is 2; ramp was 1, is 0" in train("--epochs", 2, "--ramp", 0).error


# ------------------------------------------------------------------ damaged


@pytest.fixture
def finished(train, monkeypatch, request) -> Path:
    """A training of two epochs whose first is the best; its parameter are further options."""
    figures = iter([90.0, 50.0])
    real = trainer.validate

    def validate(*arguments):
        return real(*arguments) | {"robust": next(figures)}

    monkeypatch.setattr(trainer, "validate", validate)
    assert train(*getattr(request, "param", [])).code == 0
    assert [line["best"] for line in read_log("out/log.jsonl") if "best" in line] == [True, False]
    return Path("out")


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\0\0"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_best_checkpoint_that_is_lost_is_one_line_and_no_success(train, finished, damage):
    DAMAGES[damage](finished / WEIGHTS)
    assert train().error == (
        "out has lost its best checkpoint, that of epoch 1: weights.safetensors is missing or damaged; out/last holds "
        "the last epoch's, and training again in another --out makes the best one"
    )


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_lost_model_json_is_made_again(train, finished, damage):
    before = (finished / "model.json").read_bytes()
    DAMAGES[damage](finished / "model.json")
    again = train()
    assert (again.code, again.err) == (0, "Warning: out had lost its checkpoint, which is made again\n")
    assert (finished / "model.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["gone", "empty", "cut"])
def test_what_the_last_epochs_state_holds_is_made_again(train, damage):
    assert train("--epochs", 1).code == 0
    names = (WEIGHTS, "model.json", f"last/{WEIGHTS}", "last/model.json")
    before = {name: Path("out", name).read_bytes() for name in names}
    for name in names:
        DAMAGES[damage](Path("out", name))
    assert train("--epochs", 1).code == 0
    assert {name: Path("out", name).read_bytes() for name in names} == before


@pytest.mark.parametrize("finished", [["--snapshots"]], indirect=True)
def test_a_best_checkpoint_is_made_again_from_its_snapshot(train, finished):
    before = {name: (finished / name).read_bytes() for name in (WEIGHTS, "model.json")}
    for name in before:
        (finished / name).unlink()
    assert train().code == 0
    assert {name: (finished / name).read_bytes() for name in before} == before


def test_a_training_whose_state_is_gone_does_not_begin_again_over_its_checkpoints(train, finished):
    (finished / "state.safetensors").unlink()
    before = (finished / WEIGHTS).read_bytes()
    assert train().error.startswith("out/state.safetensors is missing, though log.jsonl tells of 2 epochs")
    assert (finished / WEIGHTS).read_bytes() == before


# ------------------------------------------------------------------ removed


@pytest.mark.parametrize("line", [1, 3, 4])  # in the middle of the first epoch, its last step, its validation
def test_a_folder_removed_while_a_training_works_is_told_and_nothing_is_left(train, monkeypatch, line):
    write, lines = trainer.Log.write, iter(range(1, 99))

    def removing(log, message):
        write(log, message)
        if next(lines) == line:
            shutil.rmtree("out")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Log, "write", removing)
        error = train().error
    assert error.startswith("out was removed while the training worked, and all that was saved with it")
    assert not Path("out").exists()
    assert train().code == 0


# ------------------------------------------------------------------ not finished


@pytest.mark.parametrize("name", ["out", "out/last", f"out/{WEIGHTS}", f"out/last/{WEIGHTS}"])
def test_a_training_that_is_not_finished_is_said_to_be_so_where_it_is_evaluated(train, name):
    assert train("--epochs", 1).code == 0
    manifest = json.loads(Path("out/training.json").read_text())
    tell_unfinished(name)  # which it is
    manifest["options"]["epochs"] = 3
    Path("out/training.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match=f"the training of {name} is not finished: epoch 1 of 3"):
        tell_unfinished(name)


def test_evaluate_says_that_a_training_is_not_finished(attnlab, tmp_path):
    save_checkpoint(load_model("resnet8"), tmp_path / "mine", "resnet8", "madry")
    (tmp_path / "mine/training.json").write_text(json.dumps({"kind": "train", "options": {"epochs": 14}}))
    (tmp_path / "mine/log.jsonl").write_text(
        json.dumps({"epoch": 1, "n": 5, "clean": 50.0, "robust": 9.0, "best": True}) + "\n"
    )
    for words in (["evaluate", "--attacks", "clean", "--no-check"], ["analyze"]):
        message = attnlab(*words, "--model", "mine", "--limit", 2)
        assert message.code == 0
        assert "Warning: the training of mine is not finished: epoch 1 of 14" in message.err.splitlines()
