"""`attnlab train`: what it leaves, how it goes on, what it says to each kind of bad input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS, save_checkpoint
from attnlab.pipelines import train_job
from attnlab.pipelines.train_job import prepare_training
from attnlab.training import images as images_module
from attnlab.training import trainer
from attnlab.training.log import Log, read_log
from attnlab.training.plan import PLANS

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def train(attnlab, place, monkeypatch):
    """A short training into `out`, whatever else is asked for: 5 steps an epoch, 2 epochs."""
    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 2, "--held-out", 10]
    words += ["--batch-size", 10, "--steps", 2, "--out", "out", "--device", "cpu"]
    return lambda *more: attnlab("train", *words, *more)


# ------------------------------------------------------------------ what goes right


def test_a_training_leaves_a_checkpoint_a_log_and_how_it_was_made(train, place):
    done = train("--defense", "alp+aad", "--beta", "0.2")
    assert done.code == 0
    assert done.out == "out holds the best checkpoint: attnlab evaluate --model out ...\n"
    assert re.search(r"^epoch 2 of 2, step 5 of 5: clean \d\.\d{4} .* pairing ", done.err, re.MULTILINE)
    assert re.search(r"^epoch 2 of 2: held out clean \d+\.00 %, robust \d+\.00 %$", done.err, re.MULTILINE)
    assert json.loads(Path("out/model.json").read_text()) == {
        "model": f"{place}/net.py:build", "layer": "3", "defense": "alp+aad"
    }  # fmt: skip
    manifest = json.loads(Path("out/training.json").read_text())
    options = manifest["options"]
    assert (options["epochs"], options["steps"], options["learning_rate"], options["ramp"]) == (2, 2, 1e-3, 1)
    assert (options["defense's alpha"], options["defense's beta"], options["seed"]) == (0.01, 0.2, 0)
    assert {"attnlab", "git", "versions", "device", "command", "plan"} < set(manifest)
    assert load_model("out").head == "7"


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
    assert "what is done is kept in out, the same command goes on." in done.err.splitlines()
    assert len(read_log(Path("out/log.jsonl"))) == 1
    done = train()
    assert done.code == 0
    assert done.err.startswith("epoch 1 of 2, step 4 of 5:")
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
    assert train("--model", "first", "--learning-rate", "1e-12", "--defense", "none").code == 0
    after = load_file(f"out/{WEIGHTS}")
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in before)
    assert json.loads(Path("out/model.json").read_text())["model"].endswith("net.py:build")


def test_ensemble_trains_on_the_images_of_its_sources(train, place):
    save_checkpoint(load_model(f"{place}/net.py:build", "none", seed=5), Path("source"), f"{place}/net.py:build")
    assert train("--defense", "ensemble+aad", "--sources", "source").code == 0
    assert json.loads(Path("out/training.json").read_text())["options"]["sources"] != []


def test_held_out_images_are_the_same_for_every_seed_and_limit_and_never_of_test(place, tmp_path, monkeypatch):
    splits = []
    load = train_job.load_data
    monkeypatch.setattr(
        train_job, "load_data", lambda name, root, split: splits.append(split) or load(name, root, split)
    )
    seen = []
    for number, options in enumerate([{"seed": 0}, {"seed": 1}, {"seed": 2, "limit": 20}]):
        names = {"data": "mnist", "root": place, "model": f"{place}/net.py:build", "batch_size": 10, "held_out": 10}
        with prepare_training(**names, **options, out=tmp_path / str(number), device="cpu") as training:
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
    with prepare_training(limit=20, held_out=10, batch_size=10, device="cpu") as training:
        assert (training.model, training.name) == ("resnet8", "aad")
        assert training.folder == Path("runs/scenes-resnet8-aad-0")
        assert training.classifier.sha256 == load_model("resnet8").fingerprint()  # from the built-in weights
        assert training.plan == PLANS["scenes"]["short"].__class__(
            **(vars(PLANS["scenes"]["short"]) | {"held_out": 10, "batch_size": 10})
        )


# ------------------------------------------------------------------ ImageNet


@pytest.fixture
def tree(tmp_path) -> Path:
    """ImageNet's training split as it lies on a disk, three classes with six images each."""
    draw = np.random.default_rng(0)
    for label, wnid in enumerate(("n01", "n02", "n03")):
        folder = tmp_path / "imagenet" / "ILSVRC/Data/CLS-LOC/train" / wnid
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = draw.integers(0, 90, (40, 50, 3), np.uint8) + np.uint8(80 * label)
            Image.fromarray(pixels).save(folder / f"{wnid}_{number}.JPEG")
    return tmp_path / "imagenet"


@pytest.mark.parametrize("streamed", [False, True])
def test_two_steps_on_imagenets_training_split_by_the_papers_plan(attnlab, tree, place, monkeypatch, streamed):
    if streamed:
        monkeypatch.setattr(images_module, "RESIDENT", 0)
    words = ["--data", "imagenet", "--root", tree, "--model", f"{place}/net.py:colour", "--plan", "paper"]
    words += ["--epochs", 1, "--batch-size", 6, "--held-out", 6, "--steps", 1, "--defense", "alp+aad", "--workers", 0]
    done = attnlab("train", *words, "--device", "cpu", "--out", "out")
    assert done.code == 0
    assert [line.get("step") for line in read_log(Path("out/log.jsonl"))] == [2, None]
    options = json.loads(Path("out/training.json").read_text())["options"]
    assert (options["schedule"], options["augment"], options["optimizer"]) == ("decay", "resized-crop-flip", "sgd")


def test_torchrun_with_two_processes_trains_on_imagenet_and_goes_on(tree, place, tmp_path):
    """The command of a cluster; its second run finds the training finished by the first."""
    words = ["--data", "imagenet", "--root", tree, "--model", f"{place}/net.py:colour", "--epochs", 1]
    words += ["--batch-size", 6, "--held-out", 6, "--steps", 1, "--defense", "alp+aad", "--workers", 0]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--standalone", "-m", "cli"]
    done = subprocess.run(
        [str(word) for word in [*launcher, "train", *words, "--device", "cpu", "--out", tmp_path / "out"]],
        cwd=CHECKOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds the best checkpoint") == 1
    lines = read_log(tmp_path / "out" / "log.jsonl")
    assert [(line["epoch"], line.get("step")) for line in lines] == [(1, 2), (1, None)]


# ------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--defense", "madri"], "expected a defense of none, madry, alp, trades, mart, stepll, ensemble, each also "),
        (["--defense", "ensemble"], "expected --sources CHECKPOINT ... for the ensemble defense, got none"),
        (["--sources", "x"], "expected --sources with the ensemble defense alone, got aad"),
        (["--defense", "ensemble", "--sources", "x"], "--sources x: expected --model to be a torchvision name, timm:"),
        (["--plan", "long"], "expected --plan for mnist to be one of short, paper, got 'long'"),
        (
            ["--data", "mnits"],
            "expected --data to be one of scenes, mnist, cifar10, imagenet, folder, got 'mnits'; did ",
        ),
        (["--root", "nowhere"], "expected --root to be an existing folder, got 'nowhere'"),
        (["--root", "."], "no train-images-idx3-ubyte in .; expected it there or in MNIST/raw, plain or .gz"),
        (["--data", "imagenet", "--root", "."], "no training images below .; expected class folders in train"),
        (["--data", "folder", "--root", "."], "no boxes: expected boxes.csv or train/boxes.csv"),
        (["--eps", "8"], "expected --eps in [0, 1], got 8; did you mean 8/255?"),
        (["--eps", "much"], "expected --eps as a number or a fraction such as 8/255, got 'much'"),
        (["--step-size", "2"], "expected --step-size in [0, 1], got 2; did you mean 2/255?"),
        (["--epochs", "0"], "expected --epochs of at least 1, got 0"),
        (["--batch-size", "0"], "expected --batch-size of at least 1, got 0"),
        (["--learning-rate", "-1"], "expected --learning-rate above 0, got -1"),
        (["--ramp", "nan"], "expected --ramp of at least 0 epochs, got nan"),
        (["--alpha", "-0.1"], "expected alpha of at least 0, got -0.1"),
        (["--fill", "gray"], "expected fill to be one of black, grey, got 'gray'; did you mean 'grey'?"),
        (["--held-out", "60"], "expected --held-out from 1 to 59, there being 60 training images, got 60"),
        (
            ["--batch-size", "51"],
            "expected at least a batch of 51 training images, got 50; a smaller --batch-size may ",
        ),
        (["--limit", "5"], "expected at least a batch of 10 training images, got 5; a smaller --batch-size may do"),
        (["--model", "resnet8"], "expected a model of 1 colour channels for mnist, got one of 3; name another with --"),
        (["--weights", "nope.pth"], "expected --weights to be default, none or an existing file, got 'nope.pth'"),
        (["--layer", "nope"], "expected a layer of the model, got 'nope'; layers at the top level: 0, 1, 2, 3"),
        (["--device", "cuda:99"], "expected --device to be auto, cpu or an accelerator of this machine, got 'cuda:99'"),
    ],
)
def test_bad_input_is_one_line(train, words, message):
    assert train(*words).error.startswith(message)


def test_cuda_asked_for_and_absent_is_one_line(train):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    error = train("--device", "cuda").error
    assert error.startswith("expected --device to be auto, cpu or an accelerator of this machine, got 'cuda' (")
    assert error.endswith("; try --device cpu")


def test_classes_that_do_not_fit_are_one_line(train, place):
    assert train("--model", f"{place}/net.py:few").error.startswith("expected a model of 10 classes for mnist, got one")


def test_a_label_of_a_folder_that_the_model_does_not_know_is_one_line(train, place):
    Path("train").mkdir()
    for name in "ab":
        Image.new("RGB", (28, 28)).save(f"train/{name}.png")
    Path("train/boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,2,,,,\nb.png,3,,,,\n")
    words = ["--data", "folder", "--root", ".", "--model", f"{place}/net.py:colour", "--held-out", 1]
    words += ["--batch-size", 1]
    assert train(*words).error == (
        "expected labels from 0 to 2, which the model knows, got 3 for image b.png; name another with --model"
    )


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--learning-rate", "0.5"], "learning_rate was 0.001, is 0.5"),
        (["--defense", "alp", "--seed", "0"], "defense was 'aad', is 'alp'"),
        (["--alpha", "0.3"], "defense's alpha was 0.01, is 0.3"),
        (["--epochs", "3"], "epochs was 2, is 3"),
        (["--seed", "1"], "seed was 0, is 1"),
        (["--held-out", "9"], "held_out was 10, is 9"),
    ],
)
def test_going_on_with_other_options_tells_which(train, words, difference):
    train()
    error = train(*words).error
    assert error.startswith("out holds a run with other options (")
    assert difference in error
    assert error.endswith("; choose another --out")


def test_a_training_that_failed_before_its_first_step_leaves_the_folder_to_another(train, monkeypatch):
    def fail(*_: object) -> None:
        raise UserError("no images today")

    assert train("--batch-size", 51).code == 1
    assert not Path("out").exists()
    with monkeypatch.context() as patch:
        patch.setattr(train_job, "open_images", fail)
        assert train("--seed", 1).error == "no images today"
    assert train("--seed", 2).code == 0
    assert json.loads(Path("out/training.json").read_text())["options"]["seed"] == 2


def test_a_folder_that_is_no_training_is_left_alone(train):
    Path("out").mkdir()
    Path("out/thesis.tex").touch()
    assert train().error == "out exists and is no training; choose another --out"
    assert [path.name for path in Path("out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_manifest_is_one_line(train, content):
    Path("out").mkdir()
    Path("out/training.json").write_text(content)
    assert "training.json is damaged" in train().error


def test_a_state_file_cut_short_is_one_line(train):
    train("--epochs", 1)
    state = Path("out/state.safetensors")
    state.write_bytes(state.read_bytes()[:1000])
    assert train("--epochs", 1).error.startswith("out/state.safetensors is damaged (")


def test_a_loss_that_is_not_a_number_is_one_line(train):
    error = train("--learning-rate", "1e30", "--ramp", 0).error
    assert re.match(r"the term \w+ became (nan|inf) in epoch 1, step \d; there is no checkpoint yet; ", error)


def test_errors_of_prepare_training_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="expected --plan for scenes"):
        prepare_training(plan="paper", out=tmp_path).__enter__()


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
