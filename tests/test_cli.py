"""The command line: exit codes, one-line errors, what a run says at its end."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from common import Printed, tables_of

from attnlab.attacks.parse import other_names
from attnlab.attention import METHODS
from attnlab.data import DATASETS
from attnlab.measures import MEASURES
from attnlab.report.tables import BOXES, MAPS
from attnlab_cli.app import app
from attnlab_cli.console import image_progress

CHECKOUT = Path(__file__).resolve().parents[1]


Command = Callable[..., Any]


@pytest.fixture
def analyze(attnlab) -> Command:
    """A short analysis of scenes in `out`, whatever else is asked for."""
    return lambda *words: attnlab("analyze", "--limit", 8, "--workers", 0, "--out", "out", *words)


def process(*words: str, **options: object) -> Printed:
    """The command in a process of its own, for what only shows there."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)
    return Printed(done.returncode, done.stdout, done.stderr)


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


def test_the_help_of_all_commands_imports_none_of_them():
    lines = [
        "import sys",
        "from attnlab_cli import main",
        "sys.argv = ['attnlab', '--help']",
        "main()",
        "loaded = [name for name in sys.modules if name.startswith(('attnlab_cli.', 'attnlab.', 'rich', 'numpy'))]",
        "print('imported:', *sorted(loaded))",
    ]
    done = process("-c", "\n".join(lines))
    assert done.out.splitlines()[-1] == "imported: attnlab.errors attnlab_cli.app attnlab_cli.commands"
    assert re.findall(r"^  ([a-z]+) +[A-Z]", done.out, re.MULTILINE) == sorted(app.commands)
    assert {name: command.name for name, command in app.commands.items()} == {name: name for name in app.commands}


@pytest.mark.parametrize(
    "words", [["analyze", "--ep", "1"], ["analyse"], ["tables"], ["analyze", "--precision", "fp8"]]
)
def test_wrong_usage_exits_with_2_and_points_to_the_help(attnlab, words):
    done = attnlab(*words)
    assert done.code == 2
    assert re.search(r"Try 'attnlab.* (-h|--help)' for help", done.err)  # click 8.1 proposes the short one


def test_wrong_usage_of_the_module_exits_with_2_without_a_traceback():
    done = process("-m", "attnlab_cli", "analyze", "--nope")
    assert done.code == 2
    assert "No such option" in done.err
    assert "Traceback" not in done.err


def test_list_runs_from_a_checkout():
    done = process("-m", "cli", "list", "attacks", cwd=CHECKOUT)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"attacks: {', '.join(other_names())}, fgsm, stepll, ")


def test_list_names_what_there_is(attnlab):
    out = attnlab("list").out
    for name in ("data: ", "models: ", "attacks: ", "defenses: ", "methods: ", "resizings: "):
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
    assert attnlab("list", "data").out.startswith(f"data: {', '.join(DATASETS)}\n")
    assert "stepll" not in attnlab("list", "data").out
    assert attnlab("list", "dataa").code == 2


def test_methods_are_listed_with_what_they_take_and_measures_with_what_they_are(attnlab):
    methods = dict(line.strip().split(": needs ", 1) for line in attnlab("list", "methods").out.splitlines()[1:])
    assert list(methods) == list(METHODS)
    layer = "maps at the layer's resolution"
    assert methods["grad-cam"] == f"its gradient: 0 to 1 passes; {layer}; Selvaraju et al. 2017"
    assert methods["eigen-cam"] == f"the pass alone; {layer}; Muhammad and Yeasin 2020"
    assert methods["score-cam"] == f"passes of its own: 1 a channel; {layer}; Wang et al. 2020"
    assert methods["captum:NAME"].startswith("passes of its own: as captum's; maps at the images' resolution; ")
    measures = attnlab("list", "measures").out.splitlines()[1:]
    assert [line.strip().partition(": ")[0] for line in measures] == list(MEASURES)


# ------------------------------------------------------------------ what goes right


def test_analysis_of_the_scenes_prints_three_tables_and_where_they_lie(analyze):
    done = analyze()
    assert done.code == 0
    assert [f"table{number}: " in done.out for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "8 of 8 images recorded" in done.out
    assert done.out.startswith("table1: ")  # nothing stands before the first numbers
    assert re.fullmatch(r"scenes val: 8 images of 4 classes; .*\n8 of 8 images, [\d.,]+ images/s\n", done.err)
    names = {path.name for path in Path("out").iterdir()} - {".lock"}
    assert names == {"checks.csv", "records", "run.json", "skipped.csv", "tables"}
    assert {path.name for path in Path("out/tables").iterdir()} == {
        f"{name}.{suffix}" for name in tables_of("analyze", MAPS, BOXES) for suffix in ("csv", "tex")
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
        (["--resize", "squish"], "expected ", "got 'squish'; did you mean 'squash'?"),
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


@pytest.mark.parametrize(
    ("former", "name", "value"), [("--geometry", "--resize", "crop"), ("--layout", "--memory-format", "contiguous")]
)
def test_an_option_is_understood_by_its_former_name_and_shown_by_its_new_one(attnlab, former, name, value):
    shown = attnlab("analyze", "--help").out
    assert name in shown
    assert former not in shown
    assert attnlab("analyze", "--limit", "2", former, value, "--out", "run").code == 0
    assert attnlab("analyze", "--limit", "2", name, value, "--out", "run").code == 0
    refused = attnlab("analyze", former, value, name, value)
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2,
        f"Error: expected {name} alone, got {former}, its former name, too",
    )
