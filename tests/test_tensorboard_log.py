"""The log as curves in TensorBoard: what its own reader finds in the event files."""

import sys
import time
from itertools import count
from pathlib import Path

import pytest
from trainings import A_STEP, PASSES, die, during, training

from attnlab.errors import UserError
from attnlab.training import trainer
from attnlab.training.log import Board, Line, check_tensorboard, read_log

Curves = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def accumulator():
    """TensorBoard's reader of a folder of event files."""
    name = "tensorboard.backend.event_processing.event_accumulator"
    return pytest.importorskip(name, reason="tensorboard is not installed").EventAccumulator


@pytest.fixture(scope="module")
def curves(accumulator):
    """Reads event files: name -> step and value of each point."""

    def read(folder: Path) -> Curves:
        events = accumulator(str(folder)).Reload()
        return {
            name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]
        }

    return read


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on at each look, since files are read in the order of the seconds in their names."""
    clock = count(1_000_000_000)
    monkeypatch.setattr(time, "time", lambda: next(clock))


def step(epoch: int, number: int, clean: float) -> Line:
    return {"epoch": epoch, "step": number, "of": 5, "clean": clean, "clean_accuracy": 0.5}


def held_out(epoch: int, robust: float) -> Line:
    return {"epoch": epoch, "clean": 75.0, "robust": robust, "best": True}


LOG = [step(1, 2, 4.0), step(1, 5, 2.0), held_out(1, 25.0), step(2, 2, 1.0), step(2, 5, 0.5), held_out(2, 50.0)]
CURVES = {
    "train/clean": [(2, 4.0), (5, 2.0), (7, 1.0), (10, 0.5)],
    "train/clean_accuracy": [(2, 0.5), (5, 0.5), (7, 0.5), (10, 0.5)],
    "held_out/clean": [(5, 75.0), (10, 75.0)],
    "held_out/robust": [(5, 25.0), (10, 50.0)],
}


def test_curves_by_hand(tmp_path, curves):
    board = Board(tmp_path, [], 5)
    for line in LOG:
        board(line)
    assert curves(tmp_path) == CURVES  # before it is closed: a training can be watched
    board.close()
    assert curves(tmp_path) == CURVES


@pytest.mark.parametrize("kept", range(len(LOG)))
def test_no_step_is_there_twice_wherever_a_training_goes_on(tmp_path, curves, seconds, kept):
    first = Board(tmp_path, [], 5)
    for line in LOG:
        first(line)
    first.close()
    second = Board(tmp_path, LOG[:kept], 5)
    for line in LOG[kept:]:
        second(line)
    second.close()
    assert curves(tmp_path) == CURVES


def test_a_tensorboard_that_has_read_the_earlier_file_forgets_it(tmp_path, accumulator, seconds):
    Board(tmp_path, LOG, 5).close()
    running = accumulator(str(tmp_path)).Reload()
    Board(tmp_path, LOG[:2], 5).close()
    assert [point.step for point in running.Reload().Scalars("train/clean")] == [2, 5]


def test_a_training_that_is_killed_and_gone_on_with_has_the_curves_of_its_log(
    networks, tmp_path, curves, seconds, monkeypatch
):
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    first = training(networks, tmp_path, tensorboard=True)
    during(first, PASSES + 2 * A_STEP + 1, die)  # behind two lines of the second epoch, which the state does not know
    with pytest.raises((RuntimeError, UserError), match="killed"):
        first.run()
    assert [at for at, _ in curves(tmp_path / "tensorboard")["train/adversarial"]] == [1, 2, 3, 4, 5, 6, 7]
    training(networks, tmp_path, tensorboard=True).run()
    found, lines = curves(tmp_path / "tensorboard"), read_log(tmp_path / "log.jsonl")
    assert found["train/adversarial"] == [
        (number, pytest.approx(line["adversarial"], rel=1e-6))
        for number, line in enumerate((line for line in lines if "step" in line), 1)
    ]
    assert [at for at, _ in found["held_out/robust"]] == [5, 10, 15]


def test_train_writes_the_curves_of_its_log_and_goes_on_with_them(attnlab, place, curves):
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 2, "--held-out", 10]
    words += ["--batch-size", 10, "--steps", 1, "--out", "out", "--device", "cpu"]
    assert attnlab("train", *words).code == 0
    assert not Path("out/tensorboard").exists()
    assert attnlab("train", *words, "--tensorboard").code == 0  # it was finished before; its log is shown all the same
    lines = read_log(Path("out/log.jsonl"))
    found = curves(Path("out/tensorboard"))
    terms = lines[0].keys() - {"epoch", "step", "of"}
    assert found.keys() == {f"train/{name}" for name in terms} | {"held_out/clean", "held_out/robust"}
    for name in terms:
        assert found[f"train/{name}"] == [
            (5 * line["epoch"], pytest.approx(line[name], rel=1e-6)) for line in lines if "step" in line
        ]


def test_without_the_package_there_is_one_line_and_no_folder(attnlab, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    error = attnlab("train", "--tensorboard", "--out", "out").error
    assert error.startswith("expected the package tensorboard, got ")
    assert error.endswith("; pip install 'attnlab[tensorboard]', or train without it")
    assert not Path("out").exists()
    with pytest.raises(UserError):
        check_tensorboard()
