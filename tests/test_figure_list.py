"""The list of figures: what the command line offers and refuses comes from it, and one more line is one more figure."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.shell_completion import ShellComplete
from matplotlib.figure import Figure

from attnlab.errors import UserError
from attnlab.pipelines import comparison_examples, model_comparison
from attnlab.registry import Lazy
from attnlab.report import figures
from attnlab.report.figures import FIGURES, SOURCES, FigureSpec, choose, figures_of, source_of
from attnlab.report.figures import run as of_run
from attnlab.report.figures.drawing import Drawing
from attnlab.views import LeftOut
from attnlab_cli.app import app


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_there_with_its_source_and_its_choice(name):
    spec = FIGURES[name]
    assert spec.of in SOURCES
    assert callable(Lazy(f"{figures.__name__}.{spec.draw}").load())
    choices = comparison_examples.CHOICES if spec.of.startswith("checkpoint") else choose.CHOICES
    assert not spec.choice or spec.choice in choices


def test_help_and_completion_name_each_figure(attnlab):
    message = " ".join(attnlab("figures", "--help").out.split())
    for name, spec in FIGURES.items():
        assert f" {name}" in message
        assert spec.title in message
        assert spec.needs in message
    found = ShellComplete(app, {}, "attnlab", "_ATTNLAB_COMPLETE").get_completions(["figures", "--only"], "figure8,fig")
    assert [item.value for item in found] == [
        f"figure8,{name}" for name in FIGURES if name.startswith("fig") and name != "figure8"
    ]


def test_a_name_is_refused_before_models_and_records_are_read(attnlab, run, tmp_path, monkeypatch):
    def read(*_: object, **__: object) -> None:
        raise AssertionError("read too early")

    monkeypatch.setattr(model_comparison, "open_comparison", read)
    monkeypatch.setattr(of_run, "numbers", read)
    message = attnlab("figures", "runs/a", "runs/b", "--only", "figure7,figur9").error
    assert message == (
        "expected --only for runs/a, runs/b to be one of figure7, figure9, figure10, figure11, got 'figur9'; "
        "did you mean 'figure9'?"
    )
    message = attnlab("figures", run, "--only", "figure8").error
    assert message.startswith(f"expected --only for {run} to be one of figure1, figure3, figure13, iou-distributions, ")


def test_sources_are_told_by_what_a_folder_holds(run, evaluated, tmp_path):
    assert source_of([str(run)]) == "analyze"
    assert source_of([str(evaluated)]) == "evaluate"
    assert source_of(["resnet8"]) == "checkpoint"
    assert source_of([str(run), str(evaluated)]) == "checkpoints"
    (tmp_path / "sweep.csv").write_text("")
    assert source_of([str(tmp_path)]) == "sweep"
    (tmp_path / "model.json").write_text("")
    assert source_of([str(tmp_path)]) == "checkpoint"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"but it has no run.json, sweep.csv or model.json"):
        source_of([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="expected --only for sweep to be one of figure8, sweep, got 'figure1'"):
        figures_of("sweep", ["figure1"])


def test_one_more_line_is_one_more_figure(attnlab, run, tmp_path, monkeypatch):
    def mine(images: pd.DataFrame, manifest: Mapping[str, Any]) -> Drawing:
        if len(images) < 150:
            raise LeftOut
        return Drawing(Figure(), f"{set(images['eps'])} is {manifest['options']['eps']}")

    monkeypatch.setattr(choose, "mine", mine, raising=False)
    monkeypatch.setitem(FIGURES, "mine", FigureSpec("analyze", "my own", "choose:mine", each_eps=True, needs="luck"))
    words = ["figures", run, "--only", "mine", "--out", tmp_path / "out"]
    assert attnlab(*words).code == 0
    message = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.txt")}
    assert message == {f"mine-eps-{n}-255.txt": f"{ {n / 255} } is {[n / 255]}\n" for n in (4, 16)}
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (copied / "records/part-00000.parquet").unlink()
    *_, message = attnlab("figures", copied, "--only", "mine").err.splitlines()
    assert message == f"Error: mine cannot be drawn of {copied}: it needs luck"
