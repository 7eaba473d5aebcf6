"""The catalogue of tables: every entry can be computed, set and shown from what it says of itself."""

import subprocess
import sys
from inspect import Parameter, signature

import pytest
from evaluations import manifest, rows, write

from attnlab.report.tables import TABLES
from attnlab.report.tables.export import write_tables
from attnlab.report.tables.sources import analysis, evaluation
from attnlab.runs import Run


@pytest.fixture(scope="module")
def sources(run, tmp_path_factory) -> dict:
    """An analysis and an evaluation, read."""
    made = write(tmp_path_factory.mktemp("tables") / "run", rows(), manifest())
    return {"analyze": analysis(Run(run)), "evaluate": evaluation(Run(made))}


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_asks_for_nothing_that_its_runs_cannot_give(name, sources):
    spec = TABLES[name]
    parameters = signature(spec.compute.load()).parameters.values()
    needed = {parameter.name for parameter in parameters if parameter.default is Parameter.empty}
    assert needed <= set(sources[spec.kind].given)
    spec.note.format_map(sources[spec.kind].words)
    assert callable(spec.layout.load())


def test_frames_have_the_columns_that_the_catalogue_tells_in_their_order(attnlab, tmp_path):
    lime = ("--method", "grad-cam,layer-cam,lime", "--lime-samples", 20, "--lime-superpixels", "grid")
    attnlab("analyze", "--limit", 4, "--eps", "4/255,16/255", *lime, "--measures", "mass", "--out", tmp_path / "run")
    attnlab("evaluate", "--limit", 4, "--attacks", "clean,explain1,fog@1", "--no-check", "--out", tmp_path / "maps")
    attnlab(
        "evaluate",
        "--limit",
        4,
        "--attacks",
        "fgsm",
        "--attack-target",
        "likely:2",
        "--no-check",
        "--out",
        tmp_path / "aimed",
    )
    optional = [name for name, spec in TABLES.items() if spec.option]
    frames = write_tables(tmp_path / "run", optional=optional).frames
    frames |= write_tables(tmp_path / "maps").frames | write_tables(tmp_path / "aimed").frames
    frames |= write_tables(write(tmp_path / "two", rows(), manifest())).frames
    assert sorted(frames) == sorted(TABLES)
    for name, frame in frames.items():
        columns = [column.name for column in TABLES[name].columns if column.name in frame or not column.sometimes]
        assert list(frame) == columns, name
    assert {"eps", "method"} <= set(frames["table1"])


def test_names_of_tables_and_their_words_are_one_each():
    assert len({spec.heading for spec in TABLES.values()}) == len(TABLES)
    assert len({spec.title for spec in TABLES.values()}) == len(TABLES)
    assert all(spec.title and not spec.title.endswith(".") for spec in TABLES.values())


def test_a_table_not_made_unasked_is_made_when_its_name_is_asked_for(attnlab, run):
    assert attnlab("tables", run, "--table", "controls", "--format", "csv").out.startswith("eps,measure,")


def test_the_catalogue_is_there_without_torch_and_pandas():
    code = "import sys, attnlab.report.tables; sys.exit(bool({'torch', 'pandas', 'pyarrow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
