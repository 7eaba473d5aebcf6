"""`attnlab train` on ImageNet's training split, by one process and by two, interrupted and resumed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trainings import interrupting_at

from attnlab.models.checkpoint import WEIGHTS
from attnlab.training import images as images_module
from attnlab.training.log import read_log

CHECKOUT = Path(__file__).resolve().parents[1]
#: ResNet-50 for three classes and small images
RESNET50 = """
from attnlab.compat import torchvision

def build():
    network = torchvision.models.resnet50(num_classes=3)
    network.input_size = (64, 64)
    return network
"""
#: `attnlab`, each process killed as the second epoch begins
KILLED = """
import os, signal
from attnlab.training.trainer import Session
from cli import main

begin = Session._epoch

def die(session, tick):
    if session.progress.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    begin(session, tick)

Session._epoch = die
main()
"""


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


def lines_of(out: Path) -> list[tuple[int, int | None]]:
    """Epoch and step of each line of a log."""
    return [(line["epoch"], line.get("step")) for line in read_log(out / "log.jsonl")]


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


def test_a_training_on_imagenet_goes_on_to_the_same_weights(attnlab, tree, place, monkeypatch):
    monkeypatch.setattr(images_module, "RESIDENT", 0)  # decoded anew each time
    words = ["--data", "imagenet", "--root", tree, "--model", f"{place}/net.py:colour", "--epochs", 2]
    words += [
        "--batch-size",
        6,
        "--held-out",
        6,
        "--steps",
        1,
        "--defense",
        "alp+aad",
        "--workers",
        0,
        "--device",
        "cpu",
    ]
    assert attnlab("train", *words, "--out", "whole").code == 0
    with monkeypatch.context() as patch:
        interrupting_at(patch, 3)
        assert attnlab("train", *words, "--out", "parts").code == 130
    assert attnlab("train", *words, "--out", "parts").code == 0
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.slow
def test_resnet50_takes_two_steps_on_imagenet(attnlab, tree):
    Path("net.py").write_text(RESNET50)
    words = ["--data", "imagenet", "--root", tree, "--model", "net.py:build", "--device", "cpu", "--epochs", 1]
    words += ["--batch-size", 2, "--limit", 4, "--held-out", 2, "--steps", 1, "--defense", "alp+aad", "--workers", 0]
    assert attnlab("train", *words, "--out", "out").code == 0
    assert lines_of(Path("out")) == [(1, 2), (1, None)]
    assert json.loads(Path("out/model.json").read_text())["layer"] == "layer4"


@pytest.mark.slow
def test_torchrun_with_two_processes_trains_on_imagenet_and_goes_on(tree, place, tmp_path):
    """The command of a cluster, killed behind its first epoch and called again."""
    words = ["--data", "imagenet", "--root", tree, "--model", f"{place}/net.py:colour", "--epochs", 2]
    words += ["--batch-size", 6, "--held-out", 6, "--steps", 1, "--defense", "alp+aad", "--workers", 0]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, "--standalone"]
    (tmp_path / "killed.py").write_text(KILLED)

    def launch(*program: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [
                str(word)
                for word in [*launcher, *program, "train", *words, "--device", "cpu", "--out", tmp_path / "out"]
            ],
            cwd=CHECKOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert launch(tmp_path / "killed.py").returncode != 0
    assert lines_of(tmp_path / "out") == [(1, 2), (1, None)]
    done = launch("-m", "cli")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds the best checkpoint") == 1
    assert lines_of(tmp_path / "out") == [(1, 2), (1, None), (2, 2), (2, None)]
