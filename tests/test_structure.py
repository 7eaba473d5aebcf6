"""The shape of the project: one direction of imports, and what an installation holds."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUND = (
    "errors",
    "arrays",
    "registry",
    "words",
    "failures",
    "files",
    "recorded_attacks",
    "manifests",
    "schema",
    "record_files",
    "former_records",
    "flat_records",
    "kept_maps",
    "compat",
    "boxes",
    "class_names",
    "hooks",
    "seeding",
    "stores",
    "runs",
    "run_opening",
    "records",
    "shards",
    "superpixels",
    "views",
    "worker_pool",
)
#: floors of the house, the ground first; a module imports from its own floor's room or from below
FLOORS = [
    ["attnlab", *(f"attnlab.{name}" for name in GROUND)],
    ["attnlab.data", "attnlab.models"],
    ["attnlab.attention"],
    ["attnlab.measures"],
    ["attnlab.attacks"],
    ["attnlab.training"],
    ["attnlab.config"],
    ["attnlab.pipelines"],
    ["attnlab.report"],
    ["attnlab.study"],
    ["attnlab.exports"],
    ["attnlab.doctor"],
    ["attnlab.interactive"],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted((ROOT / "attnlab").rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path):
    mine = room_of(name_of(path))
    for module in imports_of(path):
        if module.split(".")[0] == "attnlab" and room_of(module) != mine:
            assert FLOOR_OF[room_of(module)] < FLOOR_OF[mine] or FLOOR_OF[mine] == 0, f"{path} imports {module}"
        assert module.split(".")[0] not in ("click", "attnlab_cli", "cli"), path


def test_no_imports_run_in_a_circle():
    """Those in functions and for types counted too, but for those of registries, which are a package's face."""
    names = {name_of(path) for path in MODULES if path.name != "__init__.py"}
    taken = {}
    for path in MODULES:
        nodes = ast.walk(ast.parse(path.read_text()))
        found = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        inner = {f"{node.module}.{alias.name}" for node in found for alias in node.names}
        taken[name_of(path)] = (inner | imports_of(path)) & names
    TopologicalSorter(taken).prepare()  # raises CycleError, which names the circle


def test_report_stands_on_records_and_geometry_alone():
    names = (
        "records",
        "flat_records",
        "kept_maps",
        "runs",
        "errors",
        "arrays",
        "words",
        "files",
        "manifests",
        "recorded_attacks",
        "boxes",
        "superpixels",
        "views",
        "registry",
        "worker_pool",
        "registry",
        "measures",
        "report",
    )
    allowed = {f"attnlab.{name}" for name in names}
    for path in (ROOT / "attnlab/report").rglob("*.py"):
        imported = imports_of(path) - {"attnlab.attention"}  # the registry: what methods are, without their code
        own = {room_of(module) for module in imported if module.startswith("attnlab")}
        assert own <= allowed
        assert "torch" not in {module.split(".")[0] for module in imports_of(path)}


def test_the_list_of_packages_is_complete():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name_of(path.parent / "__init__.py") for path in MODULES if path.name == "__init__.py"}
    assert set(setup["packages"]) == folders | {"attnlab_cli"}


def test_the_extra_all_holds_every_extra_of_users():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    held = set(extras["all"][0].removeprefix("attnlab[").removesuffix("]").split(","))
    parts = {
        name for extra in held for name in re.findall(r"attnlab\[(.*)\]", extras[extra][0]) for name in name.split(",")
    }
    assert held | parts == extras.keys() - {"all", "test", "dev"}


def test_torchvision_is_mended_when_its_operators_are_missing(tmp_path):
    """The failure of protocol: a compiled part that does not load, met once, then two operators declared."""
    package = tmp_path / "torchvision"
    (package / "transforms/v2").mkdir(parents=True)
    for name in ("transforms/__init__.py", "transforms/v2/__init__.py", "transforms/v2/functional.py", "tv_tensors.py"):
        (package / name).write_text("")
    (package / "__init__.py").write_text(
        "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(dets, scores, threshold): ...\n"
    )
    code = "import torch; from attnlab import compat; print(torch.ops.torchvision.nms, compat._kept)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torchvision.nms" in answer.stdout
    assert "Library(kind=DEF, ns=torchvision" in answer.stdout


def test_no_file_is_longer_than_one_reads_at_a_sitting():
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 300} == {}
