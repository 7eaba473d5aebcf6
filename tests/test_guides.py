"""The how-to guides: what a page changes applies to the code as it is, and leaves the suite, doctor and list whole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIFF = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: page, with a number where it shows several -> the diff it shows
GUIDES = {
    page.stem + (f"-{number}" if number else ""): diff
    for page in sorted((ROOT / "docs/how-to").glob("*.md"))
    for number, diff in enumerate(DIFF.findall(page.read_text(encoding="utf-8")))
}
#: those that most people follow, and tests that look at all that there is by name
COMMON = ("add-a-data-set", "add-an-attack")
BY_NAME = ("structure", "completion", "attack_names")
#: files beside the one of the new function and its test: the registry's
REGISTRIES = 1


def touched(guide: str) -> list[str]:
    return re.findall(r"^\+\+\+ b/(\S+)", GUIDES[guide], re.MULTILINE)


@pytest.fixture
def copy(tmp_path) -> Path:
    """The code, tests and pages as they are, without what git leaves out."""
    project = tmp_path / "project"
    left_out = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "runs", "site", "*.egg-info")
    shutil.copytree(ROOT, project, ignore=left_out)
    (project / "attnlab_cli").symlink_to(project / "cli")
    return project


def follow(guide: str, project: Path) -> None:
    """Apply a page's diff."""
    subprocess.run(["git", "apply"], input=GUIDES[guide], text=True, cwd=project, check=True)


def run(project: Path, *words: str) -> str:
    """Run a module in the copy; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_touches_a_file_a_registry_and_a_test(guide):
    files = touched(guide)
    assert len(files) == len(set(files))
    tests = [path for path in files if path.startswith("tests/")]
    assert len(tests) == 1
    assert len(files) - len(tests) <= 1 + REGISTRIES, files


def test_the_diffs_of_all_guides_together_apply_and_their_tests_pass(copy):
    for guide in GUIDES:
        follow(guide, copy)
    tests = [path for guide in GUIDES for path in touched(guide) if path.startswith("tests/")]
    assert len(tests) == len(GUIDES)
    assert "[100%]" in run(copy, "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run(copy, "attnlab_cli", "list")


@pytest.mark.slow
def test_after_the_commonest_guides_whatever_goes_by_names_passes(copy):
    for guide in COMMON:
        follow(guide, copy)
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/test_{name}.py" for name in BY_NAME))
    run(copy, "attnlab_cli", "list")
    run(copy, "attnlab_cli", "doctor", "--device", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_after_a_guide_the_whole_suite_passes(guide, copy):
    follow(guide, copy)
    suite = ("-m", "not slow", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", *suite, "--deselect", "tests/test_guides.py")
    run(copy, "attnlab_cli", "list")
    run(copy, "attnlab_cli", "doctor", "--device", "cpu")
