"""The notebooks: they run from the first cell to the last, hold no output, and have short cells."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
#: lines of a cell that are neither empty nor imports
LONGEST = 12


def cells_of(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_there_are_the_five_that_are_numbered():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_output(path):
    for cell in cells_of(path, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_is_so_long_that_the_library_lacks_something(path):
    for cell in cells_of(path, "code"):
        lines = [line for line in cell.source.splitlines() if line and not line.startswith(("import ", "from ", "%"))]
        assert len(lines) <= LONGEST, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_title(path):
    (first, *_) = nbformat.read(path, as_version=4).cells
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem[:2] != "01"), id=path.stem) for path in NOTEBOOKS],
)
def test_a_notebook_runs_to_its_end(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert "error" not in {output.output_type for output in outputs}
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert [text for text in said if "Warning" in text] == []
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert ("text/html" if path.name.startswith("03") else "image/png") in shown
