"""`attnlab sweep`: a training for each alpha and beta, a table, a figure."""

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from trainings import own_images

from attnlab.data import load_dataset
from attnlab.pipelines.sweep import sweep_table
from attnlab.pipelines.train import HELD_OUT_SEED
from attnlab.report.figures import style
from attnlab.training.images import hold_out
from attnlab.training.log import Log, read_log


@pytest.fixture
def drawn(attnlab, place):
    """A short sweep into `out`, whatever else is asked for: an epoch of two steps a training."""
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 1, "--held-out", 40]
    words += ["--batch-size", 10, "--steps", 1, "--out", "out", "--device", "cpu"]
    return lambda *more: attnlab("sweep", *words, "--alphas", "0,0.5", "--betas", "0,20", *more)


@pytest.fixture
def sweep(drawn, monkeypatch):
    """The same, whose figures are made and not written, which takes longer than the trainings."""
    monkeypatch.setattr(style, "SUFFIXES", ())
    return drawn


@pytest.fixture
def grid(sweep) -> None:
    """A grid of one."""
    assert sweep("--alphas", "0.5", "--betas", "0").code == 0


def test_a_sweep_trains_every_pair_and_tells_what_came_of_each(drawn, attnlab, place):
    done = drawn()
    assert done.code == 0
    table = pd.read_csv("out/sweep.csv")
    assert list(table.columns) == ["alpha", "beta", "epoch", "n", "clean", "robust"]
    assert table[["alpha", "beta"]].to_numpy().tolist() == [[0, 0], [0, 20], [0.5, 0], [0.5, 20]]
    assert (table["n"] == 40).all()
    assert "out: sweep.csv, figures/figure8.*, figures/sweep.*" in done.out
    assert {path.name for path in Path("out/figures").glob("*.p??")} == {
        f"{name}.{kind}" for name in ("figure8", "sweep") for kind in ("png", "pdf")
    }
    for row in table.itertuples():
        last = read_log(Path(f"out/alpha-{row.alpha:g}-beta-{row.beta:g}/log.jsonl"))[-1]
        assert (row.epoch, row.clean, row.robust) == (1, last["clean"], last["robust"])
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 1, "--held-out", 40]
    words += ["--batch-size", 10, "--steps", 1, "--device", "cpu"]
    attnlab("train", *words, "--alpha", 0.5, "--beta", 20, "--out", "alone")
    same = "weights.safetensors"
    assert Path("alone", same).read_bytes() == Path("out/alpha-0.5-beta-20", same).read_bytes()


def test_a_finished_sweep_is_prolonged_training_by_training(sweep):
    words = ["--alphas", "0,0.5", "--betas", "0"]
    assert sweep(*words).code == 0
    assert sweep(*words, "--epochs", 2).code == 0
    for alpha in ("0", "0.5"):
        assert [line["epoch"] for line in read_log(Path(f"out/alpha-{alpha}-beta-0/log.jsonl")) if "best" in line] == [
            1,
            2,
        ]


def test_an_interrupted_sweep_goes_on_with_the_training_at_hand_and_trains_no_other_again(sweep, monkeypatch):
    write = Log.write

    def interrupting(log: Log, line: dict[str, Any]) -> None:
        write(log, line)
        if "alpha-0-beta-20" in str(log.path) and "step" in line:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", interrupting)
        done = sweep()
    assert done.code == 130
    assert "what is done is kept in out/alpha-0-beta-20: repeat the command to resume." in done.err
    assert len(pd.read_csv("out/sweep.csv")) == 1
    made = Path("out/alpha-0-beta-0/weights.safetensors").stat().st_mtime_ns
    assert sweep().code == 0
    assert len(pd.read_csv("out/sweep.csv")) == 4
    assert Path("out/alpha-0-beta-0/weights.safetensors").stat().st_mtime_ns == made


def test_the_table_tells_the_epoch_that_was_kept_and_leaves_out_unfinished_trainings(sweep):
    sweep("--alphas", "0.5", "--betas", "0,20", "--epochs", 2)
    folder = Path("out/alpha-0.5-beta-0")
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:2]) + lines[3].replace('"best": true', '"best": false'))
    assert sweep_table(Path("out")).query("beta == 0")["epoch"].tolist() == [1]
    (folder / "log.jsonl").write_text("".join(lines[:3]))
    assert sweep_table(Path("out"))["beta"].tolist() == [20]


def test_the_table_counts_the_held_out_images_that_could_be_used(attnlab, place):
    own_images(Path("own/train"), 24)
    images = load_dataset("folder", Path("own"), "train")
    _, held = hold_out(images, 6, HELD_OUT_SEED)
    broken = Path("own/train") / images.image_ids[held[0]]
    broken.write_bytes(broken.read_bytes()[:40])
    words = ["--data", "folder", "--root", "own", "--model", f"{place}/net.py:colour", "--epochs", 1, "--held-out", 6]
    words += ["--batch-size", 6, "--steps", 1, "--device", "cpu", "--alphas", 0, "--betas", "0", "--out", "out"]
    done = attnlab("sweep", *words)
    assert done.code == 0
    assert "1 of 6 images cannot be used" in done.err
    assert pd.read_csv("out/sweep.csv")["n"].tolist() == [5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alphas", "0.1,0.1"], "expected --alphas of one or more values, each once, got 0.1,0.1"),
        (["--betas", "-1"], "expected --betas of at least 0, got -1"),
        (["--betas", "nan"], "expected --betas of at least 0, got nan"),
        (["--defense", "madry"], "expected a --defense with +aad, whose alpha and beta can be swept, got madry"),
        (["--epochs", "0"], "expected --epochs of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(sweep, words, message):
    assert sweep(*words).error == message


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--seed", "1"], "seed was 0, is 1"),
        (["--fill", "grey"], "defense's fill was 'black', is 'grey'"),
        (["--limit", "20"], "limit was None, is 20"),
    ],
)
def test_a_folder_holds_one_grid(grid, sweep, words, difference):
    error = sweep("--alphas", "1", "--betas", "0", *words).error
    assert error.startswith("out holds a run with other options (")
    assert difference in error


def test_a_grid_that_was_refused_is_in_nobodys_way_and_one_that_is_begun_is(grid, sweep):
    assert sweep("--alphas", "1", "--betas", "0", "--seed", 1).code == 1
    assert sweep("--alphas", "1", "--betas", "20").code == 0
    assert sweep_table(Path("out"))[["alpha", "beta"]].to_numpy().tolist() == [[0.5, 0], [1, 20]]
    log = Path("out/alpha-0.5-beta-0/log.jsonl")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))  # one whose only epoch is not done
    assert "seed was 0, is 1" in sweep("--alphas", "2", "--betas", "0", "--seed", 1).error


def test_values_that_are_no_numbers_are_wrong_usage(sweep):
    done = sweep("--alphas", "0.1;0.2")
    assert done.code == 2
    assert "expected numbers with commas between them, got '0.1;0.2'" in done.err


def test_a_sweep_under_torchrun_is_refused_with_another_way(sweep, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "several sweeps at once" in sweep().error
