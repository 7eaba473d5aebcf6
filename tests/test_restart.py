"""Trainings under torchrun that lose a process: they are restarted, and end in the weights of an undisturbed one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.models.checkpoint import WEIGHTS
from attnlab.training.checkpointing import FILE as STATE
from attnlab.training.log import LOG

#: the command, of which process DEATHS[attempt] is killed in its fourth step
PROGRAM = """
import os, signal, sys
from attnlab.training import trainer
from attnlab_cli import main

deaths = dict(enumerate(os.environ["DEATHS"].split()))
doomed = deaths.get(int(os.environ["TORCHELASTIC_RESTART_COUNT"])) == os.environ["RANK"]
step_on, steps = trainer.Session.step_on, iter(range(1, 10**9))

def step_or_die(session, batch):
    step_on(session, batch)
    if next(steps) == 4 and doomed:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.Session.step_on = step_or_die
main()
"""
SIZES = {"limit": 40, "held-out": 8, "batch-size": 16, "steps": 1, "epochs": 3}
OPTIONS = [f"--{name}={size}" for name, size in SIZES.items()]


def train(folder: Path, deaths: str, restarts: int) -> "subprocess.CompletedProcess[str]":
    program = folder.parent / "program.py"
    program.write_text(PROGRAM)
    started = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts), "--monitor-interval", "0.1"]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *started, program, "train", *OPTIONS, "--out", folder],
        env=os.environ | {"OMP_NUM_THREADS": "1", "DEATHS": deaths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    done = train(folder, "", 0)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("deaths", ["0", "1", "1 0"])
def test_a_training_that_loses_processes_is_restarted_at_once_and_ends_in_the_same_bytes(undisturbed, tmp_path, deaths):
    done = train(tmp_path / "run", deaths, len(deaths.split()))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error: another process of this training ended, and this one with it (" in done.stderr
    assert "connectFullMesh" not in done.stderr  # as where a restart reads the addresses of processes that have died
    for name in (WEIGHTS, f"last/{WEIGHTS}", STATE, LOG):
        assert (tmp_path / "run" / name).read_bytes() == (undisturbed / name).read_bytes(), name
