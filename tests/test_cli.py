"""The command line: exit codes, one-line errors, what a run says at its end."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Told
from PIL import Image

from attnlab_cli.app import app
from attnlab_cli.console import image_progress

CHECKOUT = Path(__file__).resolve().parents[1]


Command = Callable[..., Any]


@pytest.fixture
def analyze(attnlab) -> Command:
    """A short analysis of scenes in `out`, whatever else is asked for."""
    return lambda *words: attnlab("analyze", "--limit", 8, "--workers", 0, "--out", "out", *words)


def process(*words: str, **options: object) -> Told:
    """The command in a process of its own, for what only shows there."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)
    return Told(done.returncode, done.stdout, done.stderr)


# ------------------------------------------------------------------ help and names


def test_help_of_every_command_works_and_imports_no_torch():
    commands = [[], *([name] for name in app.commands)]
    lines = [
        "import sys",
        "from attnlab_cli import main",
        f"for words in {commands}:",
        "    sys.argv = ['attnlab', *words, '--help']",
        "    main()",
        "print('imported:', [name for name in ('torch', 'pandas', 'sklearn', 'scipy') if name in sys.modules])",
    ]
    done = process("-c", "\n".join(lines))
    assert (done.code, done.err) == (0, "")
    assert done.out.count("Usage: attnlab") == len(commands)
    assert done.out.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize(
    "words", [["analyze", "--ep", "1"], ["analyse"], ["tables"], ["analyze", "--precision", "fp8"]]
)
def test_wrong_usage_exits_with_2_and_points_to_the_help(attnlab, words):
    done = attnlab(*words)
    assert done.code == 2
    assert "--help" in done.err


def test_wrong_usage_of_the_module_exits_with_2_without_a_traceback():
    done = process("-m", "attnlab_cli", "analyze", "--nope")
    assert done.code == 2
    assert "No such option" in done.err
    assert "Traceback" not in done.err


def test_list_runs_from_a_checkout():
    done = process("-m", "cli", "list", "attacks", cwd=CHECKOUT)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("attacks: clean, square, autoattack, fgsm, stepll, iter-stepll (or iter-stepllK")


def test_list_names_what_there_is(attnlab):
    out = attnlab("list").out
    for name in ("data: ", "models: ", "attacks: ", "defenses: ", "methods: ", "geometries: "):
        assert name in out
    for name in (
        "scenes",
        "imagenet",
        "folder",
        "resnet8",
        "inception_v3",
        "timm:NAME",
        "stepll",
        "grad-cam",
        "squash",
    ):
        assert name in out
    assert attnlab("list", "data").out.startswith("data: scenes, imagenet, folder, mnist, cifar10")
    assert "stepll" not in attnlab("list", "data").out
    assert attnlab("list", "dataa").code == 2


# ------------------------------------------------------------------ what goes right


def test_analysis_of_the_scenes_prints_three_tables_and_where_they_lie(analyze):
    done = analyze()
    assert done.code == 0
    assert [f"table{number}: " in done.out for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "8 of 8 images recorded" in done.out
    assert "8 of 8 images" in done.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["records", "run.json", "skipped.csv", "tables"]
    assert {path.name for path in Path("out/tables").iterdir()} == {
        f"table{number}.{suffix}" for number in (1, 2, 3) for suffix in ("csv", "tex")
    }


def test_a_finished_run_is_not_computed_again(analyze):
    first = analyze()
    part = Path("out/records/part-00000.parquet")
    made = part.stat().st_mtime_ns
    again = analyze()
    assert (again.code, again.out) == (0, first.out)
    assert part.stat().st_mtime_ns == made
    assert again.err == "8 of 8 images\n"  # no speed: none was computed


def test_tables_are_made_again_with_other_cells(analyze, attnlab):
    analyze()
    done = attnlab("tables", "out", "--cells", "3,7")
    assert done.code == 0
    with Path("out/tables/table3.csv").open() as file:
        assert [row["cells"] for row in csv.DictReader(file)] == ["3", "3", "7", "7"]


def test_without_out_the_run_is_named_after_data_and_model(attnlab):
    assert attnlab("analyze", "--limit", 2).code == 0
    assert Path("runs/scenes-val-resnet8/run.json").is_file()


@pytest.mark.parametrize(
    ("words", "images"),
    [
        (["analyze", "--limit", 500, "--method", "lime", "--lime-samples", 1000], 4),
        (["evaluate", "--attacks", "clean,pgd2", "--restarts", 5], 4),
        (["attack", "--attack", "pgd2"], 4),
    ],
)
def test_smoke_runs_a_command_on_four_images_whatever_else_is_asked_for(attnlab, words, images):
    assert attnlab(*words, "--smoke", "--workers", 0, "--out", "out").code == 0
    options = json.loads(Path("out/run.json").read_text())["options"]
    assert options["images"] == images
    assert options.get("lime", {"samples": 20})["samples"] == 20
    assert options.get("attacks", {}).get("pgd2", {"restarts": 1})["restarts"] == 1


def test_smoke_trains_one_epoch_of_eight_images(attnlab):
    assert attnlab("train", "--epochs", 30, "--steps", 9, "--smoke", "--out", "out").code == 0
    options = json.loads(Path("out/training.json").read_text())["options"]
    assert [options[name] for name in ("epochs", "batch_size", "steps", "held_out")] == [1, 4, 1, 4]
    assert json.loads(Path("out/log.jsonl").read_text().splitlines()[0])["step"] == 2


def test_smoke_leaves_the_folder_of_the_full_run_free(attnlab):
    assert attnlab("analyze", "--smoke", "--workers", 0).code == 0
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"smoke-\d{8}-\d{6}-\d{6}", folder.name)


def test_progress_leaves_out_of_its_speed_what_an_earlier_run_did(capsys, monkeypatch):
    seconds = iter([0.0, 100.0, 110.0, 130.0])
    monkeypatch.setattr("attnlab_cli.console.time.monotonic", lambda: next(seconds))
    with image_progress(1000, Path("out")) as done:
        done(600)
        done(100)
        done(300)
    assert capsys.readouterr().err.splitlines() == [
        "600 of 1000 images",
        "700 of 1000 images, 10.0 images/s, 0:00:30 left",
        "1000 of 1000 images, 13.3 images/s",
    ]


# ------------------------------------------------------------------ wrong values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "tset"], "expected --split to be one of train, val, test, got 'tset'; did you mean 'test'?"),
        (["--eps", "8"], "expected eps in [0, 1], got 8; did you mean 8/255?"),
        (["--eps", "4/255,8"], "expected eps in [0, 1], got 8; did you mean 8/255?"),
        (["--eps", "large"], "expected eps as a number or a fraction such as 8/255, got 'large'"),
        (["--eps", "1/0"], "expected eps as a number or a fraction such as 8/255, got '1/0'"),
        (["--label-smoothing", "1"], "expected label smoothing in [0, 1), got 1"),
        (["--weights", "nope.pth"], "expected --weights to be default, none or an existing file, got 'nope.pth'"),
        (["--model", "net.py:build"], "expected --model FILE.py:FUNCTION with an existing file, got 'net.py'"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_what_was_expected(analyze, words, message):
    assert analyze(*words).error == message
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        (["--model", "resnet8x"], "expected --model to be ", "got 'resnet8x'; did you mean 'resnet8'?"),
        (["--layer", "stage4"], "expected a layer of the model, got 'stage4'", "stage3, classifier"),
        (["--layer", "classifier"], "expected a layer whose output is a spatial map", "name another with --layer"),
        (["--target", "tru"], "expected ", "got 'tru'; did you mean 'true'?"),
        (["--geometry", "squish"], "expected ", "got 'squish'; did you mean 'squash'?"),
        (["--device", "gpu"], "expected --device to be auto, cpu or an accelerator", "got 'gpu'; try --device cpu"),
        (
            ["--model", "squeezenet1_1", "--weights", "none"],
            "expected a model of 10 classes for scenes",
            "one of 1000; name another with --model",
        ),
        (["--attack", "stepl"], "expected an attack of fgsm, stepll, ", "got 'stepl'; did you mean 'stepll'?"),
        (["--data", "scene"], "expected --data to be one of scenes, imagenet, ", "got 'scene'; did you mean 'scenes'?"),
        (["--data", "mnist"], "data set 'mnist' needs --root DIR, the folder that holds the IDX files", ".gz"),
    ],
)
def test_a_wrong_name_is_one_line_with_what_there_is(analyze, words, start, end):
    error = analyze(*words).error
    assert error.startswith(start)
    assert error.endswith(end)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_where_there_is_none_is_one_line(analyze):
    assert analyze("--device", "cuda").error.startswith(
        "expected --device to be auto, cpu or an accelerator of this machine, got 'cuda' ("
    )


def test_an_error_in_a_process_of_its_own_exits_with_1_without_a_traceback(tmp_path):
    done = process("-m", "attnlab_cli", "analyze", "--eps", "8", cwd=tmp_path)
    assert done == (1, "", "Error: expected eps in [0, 1], got 8; did you mean 8/255?\n")


def test_cells_that_are_none_are_refused(analyze, attnlab):
    analyze()
    assert attnlab("tables", "out", "--cells", "65").error == (
        "expected cells from 1 to 64, the size of this model's maps, got 65"
    )
    assert attnlab("tables", "out", "--cells", "many").code == 2


# ------------------------------------------------------------------ the run folder


def test_out_of_a_run_with_other_options_is_refused_and_they_are_named(analyze):
    analyze()
    assert analyze("--geometry", "crop").error == (
        "out holds a run with other options (geometry was 'squash', is 'crop'); choose another --out"
    )
    error = analyze("--eps", "0.5", "--limit", 9).error
    assert f"eps was [{16 / 255}], is [0.5]" in error
    assert "images was 8, is 9" in error


def test_out_that_is_no_run_is_refused(analyze, attnlab):
    Path("file").write_text("mine")
    Path("foreign").mkdir()
    Path("foreign/notes.txt").write_text("mine")
    for name in ("file", "foreign"):
        assert analyze("--out", name).error == f"{name} exists and is no run; choose another --out"
        assert attnlab("tables", name).code == 1
    assert Path("foreign/notes.txt").read_text() == "mine"
    assert analyze("--out", "file/below").error == "Not a directory: file/below/records"
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
        if len(calls) > 1:  # the manifest still fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert analyze().error == (
            "No space left on device; finished parts are kept: make room, and the same command goes on"
        )
    assert {path.name for path in Path("out").rglob("*") if path.is_file()} == {"run.json", "part-00000.unfinished"}
    assert "8 of 8 images recorded" in analyze().out


def test_too_little_memory_is_one_line_with_what_to_change(analyze, monkeypatch):
    def greedy(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nOf the allocated memory ...")

    monkeypatch.setattr("attnlab.pipelines.analyze.observe", greedy)
    assert analyze().error == (
        "CUDA out of memory; finished parts are kept: the same command with a smaller --batch-size"
    )


def test_other_errors_of_the_program_keep_their_traceback(analyze, monkeypatch):
    def wrong(*arguments: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("attnlab.pipelines.analyze.observe", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        analyze()


def test_interruption_exits_with_130_and_says_how_to_go_on(analyze, monkeypatch):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("attnlab.pipelines.analyze.observe", interrupted)
    done = analyze()
    assert done.code == 130
    assert "0 of 8 images; what is finished is kept in out, the same command goes on." in done.err
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
    assert error.startswith("expected a model of 3 colour channels for scenes, got one of 1")


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
        "deep.png": "more than 8 bits a channel (mode I;16)",
        "empty.png": "the file is empty",
        "gone.png": "named in boxes.csv, but there is no such file",
        "text.jpg": "no image that Pillow can read",
    }
    assert "4 of 9 images recorded" in done.out
    assert "5 images could not be used; skipped.csv tells why" in done.out
    assert "1 boxes were empty, inverted or outside their image, and dropped" in done.out
