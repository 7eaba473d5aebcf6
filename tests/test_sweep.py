"""`attnlab sweep`: a training for each alpha and beta, a table, a figure."""

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from attnlab.pipelines.sweep import sweep_table
from attnlab.report.sweep import draw_sweep
from attnlab.training.log import Log, read_log


@pytest.fixture
def sweep(attnlab, place):
    """A short sweep into `out`, whatever else is asked for: an epoch of two steps a training."""
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 1, "--held-out", 40]
    words += ["--batch-size", 10, "--steps", 1, "--out", "out", "--device", "cpu"]
    return lambda *more: attnlab("sweep", *words, "--alphas", "0,0.5", "--betas", "0,20", *more)


def test_a_sweep_trains_every_pair_and_tells_what_came_of_each(sweep, attnlab, place):
    done = sweep()
    assert done.code == 0
    table = pd.read_csv("out/sweep.csv")
    assert list(table.columns) == ["alpha", "beta", "epoch", "n", "clean", "robust"]
    assert table[["alpha", "beta"]].to_numpy().tolist() == [[0, 0], [0, 20], [0.5, 0], [0.5, 20]]
    assert (table["n"] == 40).all()
    assert "out: sweep.csv, figures/sweep.*" in done.out
    for row in table.itertuples():
        last = read_log(Path(f"out/alpha-{row.alpha:g}-beta-{row.beta:g}/log.jsonl"))[-1]
        assert (row.epoch, row.clean, row.robust) == (1, last["clean"], last["robust"])
    words = ["--data", "mnist", "--root", place, "--model", f"{place}/net.py:build", "--epochs", 1, "--held-out", 40]
    words += ["--batch-size", 10, "--steps", 1, "--device", "cpu"]
    attnlab("train", *words, "--alpha", 0.5, "--beta", 20, "--out", "alone")
    same = "weights.safetensors"
    assert Path("alone", same).read_bytes() == Path("out/alpha-0.5-beta-20", same).read_bytes()


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
    assert "what is done is kept in out/alpha-0-beta-20, the same command goes on." in done.err
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


def test_values_that_are_no_numbers_are_wrong_usage(sweep):
    done = sweep("--alphas", "0.1;0.2")
    assert done.code == 2
    assert "expected numbers with commas between them, got '0.1;0.2'" in done.err


def test_a_sweep_under_torchrun_is_refused_with_another_way(sweep, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "several sweeps at once" in sweep().error


# ------------------------------------------------------------------ the figure

GRID = pd.DataFrame(
    [(alpha, beta, 90 + alpha, 40 + 10 * beta) for alpha in (0, 0.1, 1) for beta in (0, 0.1)],
    columns=["alpha", "beta", "clean", "robust"],
)


def texts(monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, folder: Path) -> list[list[str]]:
    """What the figure says in each of its axes, colour bars aside: cells or legend, then axis labels."""
    from matplotlib.figure import Figure

    seen = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: seen.append(figure) or save(figure, *a, **k))
    draw_sweep(table, folder)
    said = []
    for axes in seen[0].axes:
        legend = axes.get_legend()
        words = [text.get_text() for text in (legend.get_texts() if legend else axes.texts)]
        if words:
            ticks = [text.get_text() for text in axes.get_xticklabels()]
            said.append([*words, axes.get_xlabel(), axes.get_ylabel(), axes.get_title(), *ticks])
    return said


def test_a_grid_is_two_heat_maps_with_their_values(tmp_path, monkeypatch):
    clean, robust = texts(monkeypatch, GRID, tmp_path)
    assert clean == ["90.0", "90.1", "91.0"] * 2 + ["α", "β", "clean accuracy (%)", "0", "0.1", "1"]  # noqa: RUF001
    assert robust[:6] == ["40.0"] * 3 + ["41.0"] * 3
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"sweep.{suffix}").stat().st_size > 1000
    assert Image.open(tmp_path / "sweep.png").size[0] >= 1200


def test_an_unfinished_grid_leaves_its_cells_empty(tmp_path, monkeypatch):
    clean, _ = texts(monkeypatch, GRID.iloc[:-1], tmp_path)
    assert clean[:5] == ["90.0", "90.1", "91.0", "90.0", "90.1"]
    assert clean[5] == "α"  # noqa: RUF001


@pytest.mark.parametrize(("query", "label", "ticks"), [("beta == 0", "α", 3), ("alpha == 1", "β", 2)])  # noqa: RUF001
def test_one_varied_weight_is_a_line_plot(tmp_path, monkeypatch, query, label, ticks):
    (said,) = texts(monkeypatch, GRID.query(query), tmp_path)
    assert said[:3] == ["clean accuracy (%)", "accuracy under PGD (%)", label]
    assert len(said) == 5 + ticks
