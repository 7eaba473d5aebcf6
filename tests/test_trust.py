"""Code that a file names and the user does not: it never runs unasked, and when it runs, the user reads which it is."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from common import NET, refused
from processes import start

from attnlab.models import load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.runs import Run

#: leaves a file behind wherever it is imported
SPY = f"from pathlib import Path\nPath(__file__).with_name('ran').touch()\n{NET}"

#: one that needs images and one that does not
SOME = ("figures", "--only", "figure1,iou-against-eps")


@pytest.fixture
def spy(tmp_path) -> Path:
    """A network of a user's own whose import shows."""
    path = tmp_path / "code" / "net.py"
    path.parent.mkdir()
    path.write_text(SPY)
    return path


@pytest.fixture
def checkpoint(spy) -> Path:
    """A checkpoint of it; nothing has run since it was written."""
    folder = spy.parent.parent / "mine"
    save_checkpoint(load_model(f"{spy}:build"), folder, f"{spy}:build")
    (spy.parent / "ran").unlink()
    return folder


def test_a_checkpoint_folder_that_names_code_is_refused_before_it_runs_with_both_ways_to_allow_it(checkpoint, spy):
    assert refused(str(checkpoint)) == (
        f"{checkpoint}/model.json names code that the command does not: {spy}:build; look into it, then add "
        f"--trust-code to run it, or name it outright: --model {spy}:build --weights {checkpoint}"
    )
    assert not (spy.parent / "ran").exists()


def test_trusted_code_is_told_with_its_path_and_hash_before_it_runs(checkpoint, spy):
    digest = hashlib.sha256(SPY.encode()).hexdigest()
    with pytest.warns(UserWarning, match=f"--trust-code runs {spy} .SHA-256 {digest}., which {checkpoint}/model.json"):
        assert load_model(str(checkpoint), trust_code=True).classes == 5
    assert (spy.parent / "ran").exists()


def test_code_named_outright_takes_a_checkpoint_folder_as_its_weights_and_its_layer(checkpoint, spy):
    first = load_model(str(checkpoint), trust_code=True, layer="body")
    save_checkpoint(first, checkpoint, f"{spy}:build")
    again = load_model(f"{spy}:build", checkpoint)
    assert again.describe() == first.describe()
    assert again.attention_layer == "body"


def test_a_checkpoint_of_a_known_network_needs_no_trust(tmp_path):
    save_checkpoint(load_model("resnet8"), tmp_path / "mine", "resnet8")
    assert load_model(str(tmp_path / "mine")).sha256 == load_model("resnet8").sha256


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--model", "mine"],
        ["analyze", "--model", "mine"],
        ["attack", "--model", "mine"],
        ["train", "--model", "mine"],
        ["sweep", "--model", "mine"],
        ["evaluate", "--transfer", "mine"],
        ["train", "--defense", "ensemble", "--sources", "mine"],
        ["figures", "mine"],
    ],
    ids=" ".join,
)
def test_every_command_that_loads_a_model_refuses_code_it_does_not_name(attnlab, checkpoint, spy, words):
    assert "names code that the command does not" in attnlab(*words, "--device", "cpu").error
    assert not (spy.parent / "ran").exists()


@pytest.fixture
def own(run, tmp_path, spy) -> Path:
    """A run of an analysis whose run.json names a user's own file."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    manifest = Run(folder).manifest
    manifest["options"]["model"] = f"{spy}:build"
    Run(folder).write_manifest(manifest)
    return folder


@pytest.mark.parametrize("words", [["report"], [*SOME], [*SOME, "--overlays"]], ids=" ".join)
def test_a_run_that_names_code_shows_no_images_again_unless_the_code_is_trusted(attnlab, own, spy, words):
    message = attnlab(*words, own)  # the figure that needs no images is drawn
    assert (
        f"{own}/run.json names code that the command does not: {spy}:build; look into it" in message.out + message.err
    )
    assert not (spy.parent / "ran").exists()
    trusted = attnlab(*words, own, "--trust-code")  # the code runs; what it builds is not what the run was made with
    assert (spy.parent / "ran").exists()
    assert f"Warning: --trust-code runs {spy} (SHA-256 " in trusted.err


def test_a_run_of_a_checkpoint_that_names_code_is_refused_too(attnlab, own, checkpoint, spy):
    manifest = Run(own).manifest
    manifest["options"]["model"] = str(checkpoint)
    Run(own).write_manifest(manifest)
    assert f"{own}/run.json names code that the command does not: {spy}:build" in attnlab("report", own).error
    assert not (spy.parent / "ran").exists()


# ------------------------------------------------------------------ checkpoints of a user's own code


def test_a_checkpoint_and_its_code_can_be_moved_together(checkpoint, spy, tmp_path):
    assert json.loads((checkpoint / "model.json").read_text())["model"] == "../code/net.py:build"
    sha256 = load_model(str(checkpoint), trust_code=True).sha256
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    spy.parent.rename(moved / "code")
    checkpoint.rename(moved / "mine")
    assert load_model(str(moved / "mine"), trust_code=True).sha256 == sha256


def test_a_checkpoint_whose_code_has_changed_since_says_so_comments_aside(checkpoint, spy, recwarn):
    spy.write_text(SPY + "\n# a comment\n")
    load_model(f"{spy}:build", checkpoint)
    assert not recwarn.list
    spy.write_text(SPY.replace("mean((2, 3))", "amax((2, 3))"))
    for arguments in ((str(checkpoint), "default"), (f"{spy}:build", checkpoint)):
        with pytest.warns(UserWarning, match=f"the code that builds the network of {checkpoint} is not what it was"):
            load_model(*arguments, trust_code=True)


def test_a_checkpoint_with_an_absolute_path_as_older_ones_have_it_still_loads(checkpoint, spy):
    sha256 = load_model(str(checkpoint), trust_code=True).sha256
    (checkpoint / "model.json").write_text(json.dumps({"model": f"{spy}:build", "layer": "last", "defense": "madry"}))
    assert load_model(str(checkpoint), trust_code=True).sha256 == sha256
    assert load_model(f"{spy}:build", checkpoint).sha256 == sha256


def test_every_error_of_loading_a_checkpoint_names_it(checkpoint, spy):
    assert refused(str(checkpoint), "default", "stage9").startswith(f"{checkpoint}/model.json names code")
    for break_it in (spy.unlink, lambda: spy.write_text("def build(:")):
        break_it()
        with pytest.raises(ValueError, match=f"^checkpoint {checkpoint}: "):
            load_model(str(checkpoint), trust_code=True)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "null",
        "[]",
        "{}",
        "3",
        '"resnet8"',
        '{"model": 3}',
        '{"model": "resnet8", "layer": 3}',
        '{"model": "resnet8", "defense": ["madry"]}',
        '{"model": "resnet8", "code": 3}',
        '{"model": "res\\u0000net8"}',
        '{"model": "resnet8", "layer": "stage3\\u001b[2J"}',
        '{"model": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"model": ' + "[" * 40_000 + "]" * 40_000 + "}",
        '{"model": "resnet8", "note": "' + 2_000_000 * "x" + '"}',
        '{"model": "resnet8", "labels": "zero"}',
        '{"model": "resnet8", "labels": [0]}',
        '{"model": "MINE"}',
        '{"model": "."}',
        "\udcff",
    ],
    ids=lambda content: content[:40],
)
def test_a_model_json_of_any_other_content_is_damaged(tmp_path, content):
    folder = tmp_path / "mine"
    save_checkpoint(load_model("resnet8"), folder, "resnet8")
    (folder / "model.json").write_bytes(content.replace("MINE", str(folder)).encode(errors="surrogateescape"))
    assert refused(str(folder)).startswith(f"{folder}/model.json is damaged: expected ")


# ------------------------------------------------------------------ files that do what a file of a model should not


@pytest.mark.parametrize("where", ["import", "function", "forward"])
@pytest.mark.parametrize(("end", "shown"), [("sys.exit()", "sys.exit()"), ("sys.exit(0)", "sys.exit(0)"),
                                           ("exec('class E(BaseException): pass\\nraise E(7)')", "E: 7")])  # fmt: skip
def test_a_file_that_ends_the_process_is_told_in_one_line(tmp_path, where, end, shown):
    path = tmp_path / "net.py"
    lines = {"import": "", "function": "    ", "forward": "    network.forward = lambda x: "}
    text = {"import": f"{end}\n", "function": "", "forward": ""}[where]
    text = f"import sys\nfrom torch import nn\n{text}def build():\n    network = nn.Conv2d(3, 3, 3)\n"
    text += f"{lines[where]}{end}\n" if where != "import" else ""
    path.write_text(f"{text}    return network\n")
    message = refused(f"{path}:build")
    assert shown in message
    assert message.startswith("expected" if where == "forward" else f"cannot build {path}:build: ")


def test_files_that_cannot_be_read_as_python_are_told_in_one_line(tmp_path):
    path = tmp_path / "net.py"
    for content in (b"\xff\xfe", b"# coding: no-such\n", b"def build(:", b"x = '\x00'", b"(" * 300):
        path.write_bytes(content)
        assert refused(f"{path}:build").startswith(f"cannot build {path}:build: ")
    path.unlink()
    path.mkdir()
    assert refused(f"{path}:build").startswith("expected --model FILE.py:FUNCTION with an existing file")


def test_interrupting_a_file_of_a_model_stays_an_interruption(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_model(f"{path}:build")


def test_a_network_that_ends_the_process_while_it_runs_is_told_in_one_line(attnlab, tmp_path):
    (tmp_path / "net.py").write_text(f"""
import sys
{NET.replace("Linear(width, 5)", "Linear(width, 10)")}
class Late(Net):
    def forward(self, x):
        if len(x) > 2:
            sys.exit(0)
        return super().forward(x)
""")
    words = ["--data", "scenes", "--limit", 4, "--batch-size", 4, "--device", "cpu", "--no-check", "--attacks", "clean"]
    assert "sys.exit(0)" in attnlab("evaluate", *words, "--model", "net.py:Late").error


def test_threads_that_a_file_leaves_running_are_told_and_do_not_keep_the_command_alive(tmp_path):
    (tmp_path / "net.py").write_text(
        "import threading\nfrom torch import nn\n"
        "threading.Thread(target=threading.Event().wait, name='watcher').start()\n"
        "def build():\n    return 3\n"
    )
    code = "from attnlab_cli import app; app.THREAD_PATIENCE = 0.1"
    process = start("analyze", "--model", f"{tmp_path}/net.py:build", code=code)
    assert process.wait() == 1
    assert process.said.splitlines() == [
        f"Error: expected {tmp_path}/net.py:build to return an nn.Module, got int",
        "Warning: the model's code left threads running (watcher); the process ends without them",
    ]
