"""`attnlab train`: what it leaves, how it resumes, its help."""

import hashlib
import json
import os
import re
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from trainings import interrupting_at, own_images

from attnlab.config import TrainConfig
from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS, save_checkpoint
from attnlab.pipelines import train as training_pipeline
from attnlab.pipelines.train import prepare_training
from attnlab.training.log import Log, read_log
from attnlab.training.recipes import all_plans

PLANS = all_plans()
CHECKOUT = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------ what goes right


def test_a_training_leaves_a_checkpoint_a_log_and_how_it_was_made(train, place):
    done = train("--defense", "alp+aad", "--beta", "0.2")
    assert done.code == 0
    assert done.out == (
        f"out holds the best checkpoint: attnlab evaluate --model {place}/net.py:build --weights out ...\n"
    )
    assert re.search(r"^epoch 2 of 2, step 5 of 5: clean \d\.\d{4} .* pairing ", done.err, re.MULTILINE)
    assert re.search(r"^epoch 2 of 2: held out clean \d+\.00 %, robust \d+\.00 %$", done.err, re.MULTILINE)
    description = json.loads(Path("out/model.json").read_text())
    assert {**description, "model": ""} == {
        "model": "", "layer": "3", "defense": "alp+aad", "code": load_model(f"{place}/net.py:build").code,
        "weights_sha256": hashlib.sha256(Path("out", WEIGHTS).read_bytes()).hexdigest(),
    }  # fmt: skip
    assert Path("out", description["model"]).resolve() == place / "net.py:build"
    manifest = json.loads(Path("out/training.json").read_text())
    options = manifest["options"]
    assert (options["epochs"], options["steps"], options["learning_rate"], options["ramp"]) == (2, 2, 1e-3, 1)
    assert (options["defense's alpha"], options["defense's beta"], options["seed"]) == (0.01, 0.2, 0)
    assert {"attnlab", "git", "versions", "device", "command", "plan"} < set(manifest)
    assert load_model("out", trust_code=True).head == "7"


def test_ctrl_c_saves_and_tells_how_to_go_on_and_the_same_command_does(train, monkeypatch):
    assert train().code == 0
    Path("out").rename("whole")
    write = Log.write

    def interrupting(log: Log, line: dict[str, Any]) -> None:
        write(log, line)
        if line["epoch"] == 1 and line.get("step") == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", interrupting)
        done = train()
    assert done.code == 130
    assert "what is done is kept in out: repeat the command to resume." in done.err.splitlines()
    assert len(read_log(Path("out/log.jsonl"))) == 1
    done = train()
    assert done.code == 0
    assert done.err.splitlines()[1].startswith("epoch 1 of 2, step 4 of 5:")
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_finished_training_says_where_its_checkpoint_is(train):
    first = train()
    again = train()
    assert (again.code, again.out, again.err) == (0, first.out, "")


def test_a_checkpoint_is_where_a_training_may_start(train):
    train()
    Path("out").rename("first")
    before = load_file(f"first/{WEIGHTS}")
    assert train("--model", "first", "--trust-code", "--learning-rate", "1e-12", "--defense", "none").code == 0
    after = load_file(f"out/{WEIGHTS}")
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in before)
    assert json.loads(Path("out/model.json").read_text())["model"].endswith("net.py:build")


def test_a_checkpoint_of_a_users_own_network_is_found_from_any_folder(train, place, monkeypatch):
    Path("net.py").write_text((place / "net.py").read_text())
    assert train("--model", "net.py:build").code == 0
    out = Path("out").resolve()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert load_model(str(out), trust_code=True).classes == 10


def test_ensemble_trains_on_the_images_of_its_sources(train, place):
    save_checkpoint(load_model(f"{place}/net.py:build", "none", seed=5), Path("source"), f"{place}/net.py:build")
    assert train("--defense", "ensemble+aad", "--sources", "source", "--trust-code").code == 0
    assert json.loads(Path("out/training.json").read_text())["options"]["sources"] != []


def test_held_out_images_are_the_same_for_every_seed_and_limit_and_never_of_test(place, tmp_path, monkeypatch):
    splits = []
    load = training_pipeline.load_dataset
    monkeypatch.setattr(training_pipeline, "load_dataset", lambda *named: splits.append(named[2]) or load(*named))
    seen = []
    for number, options in enumerate([{"seed": 0}, {"seed": 1}, {"seed": 2, "limit": 20}]):
        names = {"data": "mnist", "root": place, "model": f"{place}/net.py:build", "batch_size": 10, "held_out": 10}
        with prepare_training(TrainConfig.of(**names, **options, out=tmp_path / str(number), device="cpu")) as training:
            seen.append(training)
    assert splits == ["train"] * 3
    assert all(torch.equal(training.held_out.pixels, seen[0].held_out.pixels) for training in seen)
    assert [len(training.images) for training in seen] == [50, 50, 20]
    for training in seen:
        held, used = (
            {image.numpy().tobytes() for image in part.pixels} for part in (training.held_out, training.images)
        )
        assert (len(held), held & used) == (10, set())


def test_without_options_resnet8_is_trained_on_the_built_in_scenes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with prepare_training(TrainConfig.of(limit=20, held_out=10, batch_size=10, device="cpu")) as training:
        assert (training.model, training.name) == ("resnet8", "madry+aad")
        assert training.folder == Path("runs/scenes-resnet8-aad-0")
        assert training.classifier.sha256 == load_model("resnet8").fingerprint()  # from the built-in weights
        assert training.plan == PLANS["scenes"]["short"].__class__(
            **(vars(PLANS["scenes"]["short"]) | {"held_out": 10, "batch_size": 10})
        )


@pytest.mark.filterwarnings("ignore:this training uses all images")
def test_a_folders_default_is_to_hold_out_a_tenth(tmp_path, place):
    own_images(tmp_path, 40)
    words = {"data": "folder", "root": tmp_path, "model": f"{place}/net.py:colour", "batch_size": 6, "device": "cpu"}
    with prepare_training(TrainConfig.of(**words, out=f"{tmp_path}/out")) as ours:
        assert (ours.plan.held_out, len(ours.held_out), len(ours.images)) == (4, 4, 36)
        assert ours.folder == tmp_path / "out"


def test_terms_of_no_weight_leave_the_plain_defences_name(train):
    assert train("--defense", "alp+aad", "--alpha", 0, "--beta", 0).code == 0
    assert json.loads(Path("out/model.json").read_text())["defense"] == "alp"


def test_every_value_of_a_plan_gives_way_to_an_option(train):
    words = ["--optimizer", "sgd", "--schedule", "one-cycle", "--weight-decay", 0.1, "--augment", "crop-flip"]
    assert train("--defense", "trades", "--loss-weight", 2, *words).code == 0
    options = json.loads(Path("out/training.json").read_text())["options"]
    names = ("optimizer", "schedule", "weight_decay", "augment", "defense's weight")
    assert [options[name] for name in names] == ["sgd", "one-cycle", 0.1, "crop-flip", 2]


def test_going_on_with_other_threads_is_told(train, monkeypatch):
    interrupting_at(monkeypatch, 3)
    assert train().code == 130
    path = Path("out/training.json")
    path.write_text(re.sub(r'"threads": \d+', '"threads": 99', path.read_text()))
    assert "out was begun in other surroundings: threads was 99, is " in train().err


# ------------------------------------------------------------------ on a terminal


class Terminal(StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_every_step_the_last_terms_and_each_epoch(train, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        interrupting_at(patch, 3)
        assert train().code == 130
    first = terminal.getvalue()
    assert "what is done is kept in out: repeat the command to resume." in first
    assert train().code == 0
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", terminal.getvalue().removeprefix(first))
    assert "10/10 steps" in shown
    assert not re.search(r"\b[1-3]/10 steps", shown), "it went on"
    for line in (line for line in read_log(Path("out/log.jsonl")) if "step" not in line):
        assert (
            f"epoch {line['epoch']} of 2: held out clean {line['clean']:.2f} %, robust {line['robust']:.2f} %" in shown
        )
    assert max(len(line) for line in re.split(r"[\r\n]", shown)) <= 60
    assert "raw_preservation" in shown


# ------------------------------------------------------------------ its help


def test_the_help_tells_every_plan_as_it_is(attnlab):
    help_text = attnlab("train", "--help").out
    rows = [line.split() for line in help_text.splitlines() if re.search(r"^ +\w+ +(short|paper) ", line)]
    expected = []
    for data, plans in PLANS.items():
        for name, plan in plans.items():
            lengths = (plan.eps, plan.step_size)
            written = [f"{value:g}" if data == "mnist" else f"{value * 255:.0f}/255" for value in lengths]
            rate = [f"{plan.learning_rate:g}", plan.schedule]
            counts = [str(plan.epochs), str(plan.batch_size)]
            attack = [*written, str(plan.steps), f"{plan.ramp:g}", str(plan.held_out)]
            expected.append([data, name, plan.model, *counts, plan.optimizer, *rate, *attack])
    assert rows == expected


def test_a_training_from_scratch_has_as_many_classes_as_the_data(attnlab, tmp_path):
    for number in range(12):
        path = tmp_path / f"pets/train/{'abc'[number % 3]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(path)
    words = ["--data", "class-folders", "--root", "pets", "--model", "resnet9", "--weights", "none", "--epochs", 1]
    done = attnlab("train", *words, "--defense", "none", "--batch-size", 2, "--held-out", 2, "--out", "out")
    assert done.code == 0
    assert load_model("out").classes == 3
