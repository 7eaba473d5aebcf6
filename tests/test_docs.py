"""README and docs do what they say: their commands run, and their Python runs.

Commands run in a folder with miniature data sets in DIR, long ones with --smoke, the strongest attacks in few steps,
and a small network stands for those whose weights torchvision would download and for the files of weights that a page
names.
"""

import importlib
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common import Printed
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from attnlab.attacks.others import OTHER_ATTACKS
from attnlab.attention.lime import LimeSettings
from attnlab_cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONG = [page for page in PAGES if page.parent.name == "results" or page.stem == "tables-and-figures"]  # minutes
FENCE = re.compile(r"^```(\w+)(?: title=\"(.+?)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LANGUAGES = ("console", "bash", "python")
#: commands of other programs, which the tests leave alone
OTHERS = ("pip", "cd", "python3", "source")
#: what makes hours of a benchmark seconds; the others are parsed by Click alone, for they time things
SMOKE = {
    "benchmarks.robustness": [
        *("--rows", "madry+aad", "--seeds", "0", "--out", "runs/BLOCK", "--page", "page.md"),
        *("--train", "--smoke", "--evaluate", "--smoke --attacks clean,pgd2", "--analyze", "--smoke"),
    ]
}

#: what makes the strongest attacks quick
FEW = {"autoattack": {"steps": 2, "queries": 10}, "square": {"queries": 10}}
MANY_STEPS = re.compile(r"(?<=pgd)\d{3,}")

NET = """
from torch import nn

def build():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1000),
    )
    network.input_size = (64, 64)
    return network
"""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def words_of(line: str) -> list[str]:
    """The words of a command, without a comment and without where its output goes."""
    return shlex.split(re.split(r"[|>]", line)[0], comments=True)


def commands_of(block: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command behind a `$`, and what the page shows of its output."""
    for part in re.split(r"^\$ ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield words_of(line), output


def parse(words: list[str]) -> None:
    """Let Click read the words of an attnlab command; it raises what it would show a user."""
    app.commands[words[1]].make_context(words[1], words[2:])


# ------------------------------------------------------------------ what pages need


def small() -> nn.Module:
    """The network of net.py, whose prediction is the class of DIR's images, so that there is something to draw."""
    torch.manual_seed(0)
    namespace: dict[str, Callable[[], nn.Module]] = {}
    exec(NET, namespace)
    network = namespace["build"]()
    with torch.no_grad():
        network[-1].bias[0] += 10
    return network


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory) -> Path:
    """A folder with net.py and DIR, which holds a few images of every data set, and archives of DIR."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("net.py", "mobilenet_v2_tf.py"):
        (folder / name).write_text(NET)
    save_file(small().state_dict(), folder / "squeezenet1_1.safetensors")
    root = folder / "DIR"
    for below in ("val", "train/n00000000", "train/n00000001", "cifar-10-batches-bin"):
        (root / below).mkdir(parents=True)
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (50, 70, 3), np.uint8))
    validation = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 7)]
    for name in validation:
        image.save(root / "val" / f"{name}.JPEG")
    for number in range(16):
        image.save(root / f"train/n0000000{number % 2}/{number}.JPEG")
        image.save(root / f"{number:02d}.png")
    boxes = [f"{name},n00000000 5 5 40 30 " for name in validation]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *boxes]) + "\n")
    (root / "LOC_synset_mapping.txt").write_text("".join(f"n{number:08d} class {number}\n" for number in range(1000)))
    rows = [f"{number:02d}.png,{number % 2},5,5,40,30" for number in range(16)]
    (root / "boxes.csv").write_text("\n".join(["image,label,x0,y0,x1,y1", *rows]) + "\n")
    for prefix in ("train", "t10k"):
        for kind, values in (("images-idx3", draw.integers(0, 256, (16, 28, 28))), ("labels-idx1", np.arange(16) % 10)):
            sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
            header = bytes([0, 0, 8, values.ndim]) + sizes
            (root / f"{prefix}-{kind}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = draw.integers(0, 256, (4, 3073)).astype(np.uint8)
        records[:, 0] %= 10
        (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    for kind in ("zip", "gztar"):
        shutil.make_archive(str(root), kind, folder, "DIR")
    return folder


@pytest.fixture
def here(sandbox, tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder of the page's own, with DIR and net.py."""
    for path in sandbox.iterdir():
        (tmp_path / path.name).symlink_to(path) if path.is_dir() else shutil.copy(path, tmp_path)

    monkeypatch.setattr("attnlab.models.zoos.torchvision.build", lambda wanted: small())
    monkeypatch.setattr("attnlab.interactive.LimeSettings", partial(LimeSettings, samples=20))  # as with --smoke
    for name, few in FEW.items():
        monkeypatch.setitem(
            OTHER_ATTACKS, name, OTHER_ATTACKS[name]._replace(run=partial(OTHER_ATTACKS[name].run, **few))
        )
    monkeypatch.setattr("attnlab.study.inputs.FEWEST", 1)  # --smoke makes runs of four images
    yield tmp_path
    sys.modules.pop("net", None)  # other tests have a net.py of their own


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """Where the run that several pages look at is kept, once one of them has made it."""
    return tmp_path_factory.mktemp("demo") / "run"


# ------------------------------------------------------------------ what pages say


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG), id=name_of(page)) for page in PAGES],
)
def test_commands_and_python_of_a_page_run_in_their_order(page, here, demo, attnlab):
    namespace: dict[str, object] = {}
    text = page.read_text()
    if "runs/demo" in text:
        if not demo.exists():
            run(shlex.split("attnlab analyze --method grad-cam,lime --out runs/demo"), "", attnlab)
            shutil.copytree("runs/demo", demo)
        shutil.copytree(demo, "runs/demo", dirs_exist_ok=True)
    for language, title, block in FENCE.findall(text):
        if title:
            Path(title).write_text(block)
        elif language == "python":
            exec(compile(block, name_of(page), "exec"), namespace)
        elif language in LANGUAGES:
            for words, output in commands_of(block):
                run(words, output, attnlab)


def run(words: list[str], output: str, attnlab: Callable[..., Printed]) -> None:
    """Run one command of a page, and hold its exit code against what the page shows."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif words[0] == "python" and words[1].startswith("docs/"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            with pytest.raises(SystemExit, match=r"^0$"):
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    elif words[:2] == ["python", "-m"]:
        benchmark = importlib.import_module(words[2]).main
        benchmark.make_context(words[2], words[3:])
        if words[2] in SMOKE:
            short = [word.replace("BLOCK", words[3]) for word in SMOKE[words[2]]]
            benchmark.main([*words[3:], *short], standalone_mode=False)
    elif words[0] == "torchrun":
        parse(words[words.index("-m") + 1 :])
    elif words[0] == "attnlab":
        if not output.startswith("Error: "):  # some values are refused as they are read
            parse(words)
        if {"cuda", "ray"} & {*words}:  # workers of Ray would have the true networks
            return
        has = {option for parameter in app.commands[words[1]].params for option in parameter.opts}
        words = [MANY_STEPS.sub("3", word) for word in words]
        done = attnlab(*words[1:], *(["--smoke"] if "--smoke" in has else []))
        assert done.code == (1 if "Error: " in output else 0), f"{shlex.join(words)}\n{done.out}\n{done.err}"
    else:
        assert words[0] in OTHERS, f"test_docs.py does not know what to do with {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_command_hides_in_a_block_that_is_not_run(page):
    blocks = FENCE.sub(lambda fence: "" if fence[1] in LANGUAGES else fence[3], page.read_text())
    assert re.findall(r"^(?: {4,}|\$ )(?:attnlab|python|torchrun) .*", blocks, re.MULTILINE) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("words", ["resume", "COCO", "activate", "own images"])
def test_a_page_holds_the_words_that_readers_search_for(words):
    assert [name_of(page) for page in (ROOT / "docs").rglob("*.md") if words in page.read_text()]


def test_the_readme_and_make_say_how_the_command_is_found():
    activate = "source .venv/bin/activate"
    demo = (ROOT / "Makefile").read_text().partition("\ndemo:")[2].partition("\n\n")[0]
    assert activate in (ROOT / "README.md").read_text()
    assert re.search(rf"^\t@echo .*{re.escape(activate)}", demo, re.MULTILINE)
