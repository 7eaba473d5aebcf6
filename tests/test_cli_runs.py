"""The run folder and odd data on the command line: what is refused, interrupted, resumed, left out."""

import csv
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import pieces_of
from PIL import Image
from processes import start

from attnlab.models import Classifier

Command = Callable[..., Any]


@pytest.fixture
def analyze(attnlab) -> Command:
    """A short analysis of scenes in `out`, whatever else is asked for."""
    return lambda *words: attnlab("analyze", "--limit", 8, "--workers", 0, "--out", "out", *words)


# ------------------------------------------------------------------ the run folder


def test_out_of_a_run_with_other_options_is_refused_and_they_are_named(analyze):
    analyze()
    assert analyze("--resize", "crop").error == (
        "out holds a run with other options (resize was 'squash', is 'crop'); choose another --out"
    )
    error = analyze("--eps", "0.5", "--limit", 9).error
    assert f"eps was [{16 / 255}], is [0.5]" in error
    assert "images was 8, is 9" in error


def test_a_run_that_other_software_began_is_gone_on_with_and_says_so(analyze):
    analyze()
    path = Path("out/run.json")
    manifest = json.loads(path.read_text())
    torch_here, manifest["versions"]["torch"] = manifest["versions"]["torch"], "1.0"
    assert analyze().err.count("software") == 0
    path.write_text(json.dumps(manifest))
    assert "software" not in analyze().err, "a finished run computes nothing"
    path.write_text(json.dumps(manifest | {"finished": None}))
    Path("out/records/part-00000.parquet").unlink()
    done = analyze()
    assert done.code == 0
    assert f"out was begun in other surroundings: versions torch was '1.0', is '{torch_here}'" in done.err


def test_tables_of_other_features_are_shown_of_a_run_that_is_gone_on_with(analyze):
    words = ["--method", "lime", "--lime-samples", 20, "--lime-superpixels", "grid", "--format", "csv"]
    assert {line[0] for line in analyze(*words).out.splitlines() if line[:1].isdigit()} == {"8", "1"}
    again = analyze(*words, "--features", 3)
    assert again.code == 0
    assert {line[0] for line in again.out.splitlines() if line[:1].isdigit()} == {"3"}


def test_an_analysis_by_lime_in_the_folder_of_an_evaluation_is_refused(analyze, attnlab):
    assert attnlab("evaluate", "--limit", 4, "--attacks", "clean", "--out", "out").code == 0
    assert "Error: out holds a run " in analyze("--method", "lime").err


def test_out_that_is_no_run_is_refused(analyze, attnlab):
    Path("file").write_text("mine")
    Path("foreign").mkdir()
    Path("foreign/notes.txt").write_text("mine")
    for name in ("file", "foreign"):
        assert analyze("--out", name).error == f"{name} exists and is no run; choose another --out"
        assert attnlab("tables", name).code == 1
    assert Path("foreign/notes.txt").read_text() == "mine"
    refused = "cannot write file/below: Not a directory; choose another --out"
    assert analyze("--out", "file/below").error == refused
    assert attnlab("train", "--smoke", "--workers", 0, "--out", "file/below").error == refused
    assert attnlab("tables", "nowhere").error == "expected nowhere to be a run, but it has no run.json"


def test_an_empty_folder_may_become_a_run(analyze):
    Path("out").mkdir()
    assert analyze().code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_out_that_may_not_be_written_is_one_line(analyze):
    Path("locked").mkdir(mode=0o500)
    assert analyze("--out", "locked/run").error.startswith("Permission denied: locked/run")


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(analyze, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:  # the manifest still fits, its notes of the session, and the checks of the model
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert analyze().error == (
            "No space left on device: out/records/part-00000.parquet; finished parts are kept: make room and repeat "
            "the command to resume"
        )
    left = {path.name for path in Path("out").rglob("*") if path.is_file() and path.parent.name != "sessions"}
    assert left == {".lock", "run.json", "checks.csv", pieces_of(Path("out")).name}
    assert "8 of 8 images recorded" in analyze().out


def test_too_little_memory_is_one_line_with_what_to_change(analyze, monkeypatch):
    def greedy(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nOf the allocated memory ...")

    monkeypatch.setattr("attnlab.pipelines.attention_records.fused_pass", greedy)
    assert analyze().error == (
        "too little memory (CUDA out of memory); what is finished is kept: try a smaller --batch-size in another --out"
    )


def test_a_machine_without_memory_is_told_by_its_name(analyze, monkeypatch):
    def fill(*_: object) -> None:
        torch.empty(10**15)

    monkeypatch.setattr("attnlab.pipelines.attention_records.fused_pass", fill)
    assert "too little memory ([enforce fail at alloc_cpu.cpp:" in analyze().err


def test_a_machine_without_a_compiler_is_told_in_one_line(tmp_path):
    words = ["train", "--smoke", "--defense", "none", "--compile"]
    code = f"from torch._inductor import config; config.cpp.cxx = None, '{tmp_path}/no compiler'"
    process = start(*words, "--out", tmp_path / "out", code=code, TORCHINDUCTOR_CACHE_DIR=tmp_path / "cache")
    assert process.wait() == 1
    assert process.said.splitlines()[-1].startswith("Error: torch.compile failed (No working C++ compiler")


def test_compiled_and_plain_passes_do_not_share_a_run(analyze, monkeypatch):
    monkeypatch.setattr(Classifier, "compile_inference", lambda self: None)
    monkeypatch.setattr("attnlab.pipelines.analyze.check_compilable", lambda classifier: None)
    words = ["--method", "lime", "--lime-samples", "20", "--lime-superpixels", "grid"]
    assert analyze(*words, "--lime-compile").code == 0
    assert "lime_compile" in analyze(*words).error
    assert analyze(*words, "--lime-compile").code == 0
    assert "expected --lime-compile with --method lime, got grad-cam" in analyze("--lime-compile").error


def test_compiled_passes_on_a_cpu_are_refused_before_anything_is_written(analyze):
    error = analyze("--method", "lime", "--lime-compile", "--device", "cpu").error
    assert error.startswith(
        "expected --lime-compile on a GPU, got the CPU: a ReLU that is compiled there makes 0 of NaN"
    )
    assert not Path("out").exists()


def test_other_errors_of_the_program_keep_their_traceback(analyze, monkeypatch):
    def wrong(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("attnlab.pipelines.attention_records.fused_pass", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        analyze()


def test_interruption_exits_with_130_and_says_how_to_go_on(analyze, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("attnlab.pipelines.attention_records.fused_pass", interrupted)
    done = analyze()
    assert done.code == 130
    assert "0 of 8 images; what is finished is kept in out: repeat the command to resume." in done.err
    assert done.err.endswith("Interrupted.\n")


def test_a_closed_pipe_ends_the_command_quietly(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "attnlab_cli", "list", "attacks"],
            stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# ------------------------------------------------------------------ data


def photographs(folder: Path, labels: dict[str, object]) -> Path:
    """Images of noise with a box each, and their boxes.csv."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in labels:
        Image.fromarray(random.integers(0, 256, (50, 70, 3), np.uint8)).save(folder / name)
    rows = [f"{name},{label},10,10,50,40" for name, label in labels.items()]
    (folder / "boxes.csv").write_text("\n".join(["image,label,x0,y0,x1,y1", *rows]) + "\n")
    return folder


def test_a_label_outside_the_classes_is_one_line_with_its_image(attnlab, tmp_path):
    root = photographs(tmp_path / "mine", {"a.png": 3, "b.png": 12})
    done = attnlab("analyze", "--data", "folder", "--root", root, "--model", "resnet8", "--workers", 0)
    assert done.error == "expected labels from 0 to 9, got 12 for image b.png"


def test_a_model_of_other_channels_is_one_line(analyze, tmp_path):
    (tmp_path / "grey.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))\n"
    )
    error = analyze("--model", "grey.py:build").error
    assert error.startswith("expected a model of 3 channels for scenes, got one of 1")


def test_data_without_a_model_of_its_own_asks_for_one(attnlab, tmp_path):
    root = photographs(tmp_path / "mine", {"a.png": 3})
    error = attnlab("analyze", "--data", "folder", "--root", root).error
    assert error == "data set 'folder' has no model of its own; name one with --model"


def test_broken_images_are_listed_and_counted_and_the_run_goes_on(attnlab, tmp_path):
    names = ["good.png", "cut.jpg", "text.jpg", "empty.png", "deep.png", "cmyk.jpg", "grey.png", "boxless.png"]
    root = photographs(tmp_path / "mine", dict.fromkeys(names, 3))
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:-500])
    (root / "text.jpg").write_text("not an image")
    (root / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((50, 70), 40_000, np.uint16)).save(root / "deep.png")
    Image.open(root / "cmyk.jpg").convert("CMYK").save(root / "cmyk.jpg")
    Image.open(root / "grey.png").convert("L").save(root / "grey.png")
    table = (root / "boxes.csv").read_text().replace("boxless.png,3,10,10,50,40", "boxless.png,3,50,10,10,40")
    (root / "boxes.csv").write_text(f"{table}gone.png,3,1,1,5,5\n")
    done = attnlab("analyze", "--data", "folder", "--root", root, "--model", "resnet8", "--workers", 2, "--out", "out")
    assert done.code == 0
    with Path("out/skipped.csv").open() as file:
        skipped = {row["image_id"]: row["reason"] for row in csv.DictReader(file)}
    assert skipped.pop("cut.jpg").startswith("cannot be decoded: image file is truncated")
    assert skipped == {
        "boxless.png": "no usable box (empty, inverted or outside the image); recorded, but left out of the tables",
        "deep.png": "more than 8 bits a channel (mode I;16); convert it to 8 bits, so that you choose the range",
        "empty.png": "the file is empty",
        "gone.png": "named in boxes.csv, but there is no such file",
        "text.jpg": "no image that Pillow can read",
    }
    assert "4 of 9 images recorded" in done.out
    assert "5 images could not be used; skipped.csv says why" in done.out
    assert "dropped: 1 box empty, inverted or outside the image" in done.out
