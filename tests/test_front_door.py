"""`import attnlab`: what it gives without waiting for torch, and how its objects show themselves."""

import ast
import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import attnlab
from attnlab.report.tables.export import make_tables
from attnlab.runs import Run

STUB = Path(attnlab.__file__).with_suffix(".pyi")


def names() -> list[str]:
    nodes = ast.walk(ast.parse(STUB.read_text()))
    return [alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_what_is_imported_is_what_is_used():
    """Importing attnlab imports nothing heavy; a run begins without what its tables and checks need in the end."""
    code = """
import sys, attnlab
assert not {"torch", "pandas", "matplotlib"} & {*sys.modules}
attnlab.UserError
assert "torch" not in sys.modules
attnlab.grad_cam
assert "torch" in sys.modules
import attnlab.pipelines.analyze, attnlab.pipelines.evaluate, attnlab.pipelines.robustness_checks
attnlab.load_dataset("scenes").read(0)
assert not {"pandas", "scipy", "sklearn", "matplotlib", "skimage.segmentation"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", names())
def test_each_name_is_there_and_documented(name):
    found = getattr(attnlab, name)
    assert found.__doc__
    assert found.__name__ == name
    assert name in dir(attnlab)


def test_a_run_and_its_tables_show_themselves_in_a_notebook(run):
    shown = Run(run)._repr_html_()
    assert f"<td>{run}</td>" in shown
    assert "<th>images</th><td>200</td>" in shown
    report = make_tables(Run(run))
    page = report._repr_html_()
    assert page.count("<table") == len(report.frames)
    assert f"{report.frames['table1']['iou_att_gt'][0]:.3f}" in page
    assert "I_att: " in page


MODULES = [
    ".".join(path.relative_to(STUB.parents[1]).with_suffix("").parts)
    for path in sorted(STUB.parent.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_docstrings_print_what_they_say(module):
    done = doctest.testmod(import_module(module))
    assert done.attempted
    assert not done.failed
