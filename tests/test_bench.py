"""`benchmarks.bench`: what it gathers of benchmarks, and what it says of the last time."""

import importlib

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import bench
from benchmarks.pieces import Results
from benchmarks.sections import END, begin, write_section
from benchmarks.timing import figures_in, say_figures


def test_ratios_are_read_as_they_are_said(capsys):
    say_figures({"A3 of lenet, b=2, to its base": 1.23456, "PGD = x": 0.5})
    assert figures_in(f"n = 3\n{capsys.readouterr().out}") == {"A3 of lenet, b=2, to its base": 1.2346, "PGD = x": 0.5}


def test_what_moved_by_more_than_a_twentieth_is_told():
    now = pd.DataFrame({"benchmark": "a", "figure": list("rstu"), "ratio": [1.0, 1.04, 1.06, 2.0]})
    last = pd.DataFrame({"benchmark": "a", "figure": list("rst"), "ratio": [1.1, 1.0, 1.0]})
    both = bench.compared(now, last)
    assert bench.told(both) == ["r: 1.10x -> 1.00x (-9%)", "t: 1.00x -> 1.06x (+6%)"]
    lines = bench.table(both, "a machine", ["lime"]).splitlines()
    assert lines[-2:] == ["| t | 1.06x | 1.00x |", "| u | 2.00x |  |"]
    assert lines[0].startswith("a machine. Not measured: lime. Time of the first")


def test_the_section_alone_is_replaced(tmp_path):
    page, mark = tmp_path / "page.md", begin("benchmarks.bench")
    page.write_text(f"# Speed\n\n{mark}\nold\n{END}\nrest\n")
    write_section(page, "benchmarks.bench", "new")
    assert page.read_text() == f"# Speed\n\n{mark}\n\nnew\n\n{END}\nrest\n"
    assert bench.PAGE.read_text().count(mark) == 1


def test_a_benchmark_that_fails_keeps_what_it_printed_and_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setitem(bench.BENCHMARKS, "start", ("timing_that_is_not_there",))
    for count in (1, 2):
        done = CliRunner().invoke(bench.main, ["--only", "start", "--out", str(tmp_path)])
        assert done.exit_code == 1
        assert "start: exit code 1" in done.output
        lines = Results(tmp_path / "results.jsonl").lines()
        assert len(lines) == count
        assert "No module named" in lines[-1]["output"]


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_every_benchmark_is_a_module_with_a_command(name, tmp_path):
    _, module, *words = bench.step(name, tmp_path).words
    command = importlib.import_module(module).main
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_plot_is_drawn(tmp_path):
    both = pd.DataFrame({"figure": ["a", "b"], "ratio": [1.0, 2.0], "ratio_last": [1.1, None]})
    bench.draw(both, tmp_path / "plot.webp")
    assert (tmp_path / "plot.webp").stat().st_size > 1000
