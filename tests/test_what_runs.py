"""What docs/security.md says never runs, looked for in the code; names of images and classes that would like to run."""

import ast
import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlab.errors import UserError
from attnlab.files import file_of

ROOT = Path(__file__).resolve().parents[1]
MODULES = [*(ROOT / "attnlab").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in MODULES}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, name and node of every call, such as `torch.load`."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name, ast.unparse(node.func), node


def importing(*modules: str) -> set[str]:
    """Files that import one of these modules, or something of it."""
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(one.split(".")[0] in modules for one in named):
                found.add(name)
    return found


def test_no_text_is_run_as_code_and_no_shell_is_started():
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "pd.eval"}
    assert [(file, name) for file, name, _ in calls() if name in forbidden] == []
    shells = [file for file, _, node in calls() for word in node.keywords if word.arg == "shell"]
    assert shells == []
    assert importing("subprocess") == {"attnlab/pipelines/provenance.py"}  # git describe


def test_files_of_weights_are_read_as_weights_only_and_pickles_are_the_published_cifar_alone():
    loads = [node for _, name, node in calls() if name == "torch.load"]
    assert len(loads) == 1
    assert [ast.unparse(word.value) for word in loads[0].keywords if word.arg == "weights_only"] == ["True"]
    assert importing("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal") == {"attnlab/data/mnist_cifar.py"}
    arrays = [node for _, name, node in calls() if name == "np.load"]
    assert not any(word.arg == "allow_pickle" for node in arrays for word in node.keywords)


def test_only_stores_zoos_and_ray_know_the_network():
    known = importing("urllib", "urllib3", "requests", "http", "socket", "ftplib", "aiohttp", "fsspec", "webbrowser")
    places = ("attnlab/stores/", "attnlab/models/zoos/", "attnlab/pipelines/ray_cluster.py")
    assert [name for name in known if not name.startswith(places)] == []


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "..\\a", "a\\..\\..\\b", ".."])
def test_no_name_of_an_image_leads_out_of_the_folder_of_its_files(name, tmp_path):
    with pytest.raises(UserError, match="expected names of images below their folder"):
        file_of(tmp_path, name, ".png")


HOSTILE = [
    "=HYPERLINK(1)",
    "+1+1",
    "@SUM(A1)",
    "-2+3",
    "<img src=x onerror=alert(1)>",
    r"\input{x}",
    "a\x1b[2Jb",
    "x|y`z`",
    "{{ 7*7 }}",
    "\"'&",
]


def test_hostile_names_of_images_and_classes_run_nowhere(attnlab, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    names = [f"{name.translate({47: None, 92: None})}.png" for name in HOSTILE]
    (root / "classes.txt").write_text("\n".join(HOSTILE) + "\n")
    draw = np.random.default_rng(0)
    with (root / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label", "x0", "y0", "x1", "y1"])
        for name, label in zip(names, HOSTILE, strict=True):
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(root / name)
            rows.writerow([name, label, 2, 2, 20, 24])
    Path(root / names[0]).write_bytes(b"")  # one that is listed as skipped
    printed = [attnlab("analyze", "--data", "folder", "--root", root, "--model", "resnet8", "--workers", 0,
                       "--out", tmp_path / "run")]  # fmt: skip
    for words in (["export", "csv"], ["export", "coco"], ["report"], ["tables", "--format", "markdown"]):
        printed.append(attnlab(words[0], *(words[1:] if words[0] == "export" else []), tmp_path / "run",
                               *(words[1:] if words[0] == "tables" else [])))  # fmt: skip
    assert [one.err for one in printed if one.code] == []
    written = {path: path.read_text() for path in (tmp_path / "run").rglob("*") if path.suffix in
               (".csv", ".html", ".json", ".tex")}  # fmt: skip
    assert not any("\x1b[2J" in text for text in [*written.values(), *(one.out + one.err for one in printed)])
    tables = [path for path in written if path.suffix == ".csv"]
    assert {"skipped.csv", "records.csv"} <= {path.name for path in tables}
    for path in tables:
        cells = [cell for row in csv.reader(written[path].splitlines()) for cell in row]
        assert [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?![\d.]+(e[+-]?\d+)?$)", cell)] == [], path
    pages = [text for path, text in written.items() if path.suffix == ".html"]
    assert len(pages) == 1
    assert "<img src=x" not in pages[0]
    assert "onerror" in pages[0]  # the name is shown
    below = {path.resolve() for path in tmp_path.rglob("*")}
    assert all(tmp_path.resolve() in path.parents for path in below)
