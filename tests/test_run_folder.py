"""The run folder: begun in one go, worked in by one process, of one batch size, refused when it is removed."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from errno import ENOSPC
from pathlib import Path

import pytest
from common import analyze_images, begun_run, error_of

from attnlab import files
from attnlab.attacks.parse import parse_attacks
from attnlab.config import AttackConfig, EvaluateConfig
from attnlab.data import load_dataset
from attnlab.files import alone_in, is_vacant
from attnlab.models import Classifier
from attnlab.pipelines.evaluate import evaluate
from attnlab.report.figures.run import draw_run
from attnlab.report.page.write import write_report
from attnlab.report.tables.export import write_tables
from attnlab.runs import Run


class Killed(BaseException):
    """Stands in for a signal: nobody catches it."""


#: what a process does to files while it begins a run
OPERATIONS = [(os, "mkdir"), (os, "fsync"), (os, "replace"), (os, "unlink"), (Path, "open")]


@pytest.mark.parametrize("error", [Killed(), OSError(ENOSPC, "No space left on device")])
def test_a_run_that_ends_at_any_file_operation_of_its_beginning_is_begun_by_the_same_command(tmp_path, error):
    at = 0
    ended = True
    while ended:
        folder, calls, ended = tmp_path / f"run {at}", iter(range(1000)), False
        with pytest.MonkeyPatch.context() as patch:

            def counted(operation, last=at, calls=calls):
                def call(*arguments, **options):
                    nonlocal ended
                    if next(calls) == last:
                        ended = True
                        raise error
                    return operation(*arguments, **options)

                return call

            for owner, name in OPERATIONS:
                patch.setattr(owner, name, counted(getattr(owner, name)))
            with suppress(Killed, OSError):
                begun_run(folder)  # which may do without: what others left need not be removed
        assert begun_run(folder).manifest["finished"] is None
        at += 1
    assert at > 4


@pytest.mark.parametrize(
    "left", ["records/", ".lock", ".run.json.host.12.tmp", "records/.part-00000.parquet.host.12.tmp"]
)
def test_what_a_killed_process_left_before_run_json_is_taken_over(tmp_path, left):
    path = tmp_path / "run" / left
    path.mkdir(parents=True) if left.endswith("/") else path.parent.mkdir(parents=True)
    if not left.endswith("/"):
        path.touch()
    assert is_vacant(tmp_path / "run")
    begun_run(tmp_path / "run")


@pytest.mark.parametrize("mine", ["thesis.tex", "records/part-00000.parquet", ".hidden"])
def test_what_is_somebody_elses_is_not(tmp_path, mine):
    path = tmp_path / "run" / mine
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert error_of(begun_run, tmp_path / "run") == f"{tmp_path / 'run'} exists and is no run; choose another --out"


# ------------------------------------------------------------------ one process


@pytest.mark.parametrize("command", ["analyze", "evaluate", "attack"])
def test_a_second_process_in_a_run_folder_is_refused(attnlab, monkeypatch, command):
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.0)
    words = [command, "--limit", 2, "--workers", 0, "--out", "out", *(["--attacks", "clean"] * (command == "evaluate"))]
    Path("out").mkdir()
    with alone_in(Path("out")):
        error = attnlab(*words).error
    assert error == "another process works in out; wait for its end, or choose another --out"
    assert attnlab(*words).code == 0
    with alone_in(Path("out")):
        assert attnlab("tables", "out").code == 0, "reading needs no lock"


def test_an_interruption_gives_the_folder_back(tmp_path, resnet8):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", positions=[0], progress=interrupt)
    with alone_in(tmp_path / "run"):
        pass


@pytest.mark.parametrize("reason", files.WITHOUT_LOCKS)
def test_where_the_file_system_knows_no_locks_work_goes_on(tmp_path, monkeypatch, reason):
    def none(*_: object) -> None:
        raise OSError(reason, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / files.LOCK).touch()  # as another process may have left it
    with ExitStack() as both:
        both.enter_context(alone_in(tmp_path))
        both.enter_context(alone_in(tmp_path))


# ------------------------------------------------------------------ one batch size


def test_another_batch_size_is_refused_and_the_runs_own_is_the_default(attnlab):
    words = ["analyze", "--limit", 6, "--workers", 0, "--out", "out"]
    assert attnlab(*words, "--batch-size", 2).code == 0
    assert attnlab(*words, "--batch-size", 3).error == (
        "out holds a run with other options (batch_size was 2, is 3); choose another --out"
    )
    Path("out/records/part-00000.parquet").unlink()
    done = attnlab(*words)
    assert done.code == 0, done.err
    manifest = json.loads(Path("out/run.json").read_text())
    assert manifest["batch_size"] == 2
    assert [session["parts"] for session in manifest["sessions"]] == [[0], [0]]


def test_other_threads_are_warned_of_and_noted_with_the_parts_they_made(tmp_path, resnet8, monkeypatch):
    images, out = load_dataset("scenes"), tmp_path / "run"
    analyze_images(resnet8, images, out, positions=range(4), part_size=2)
    Run(out).part(1).unlink()
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    with pytest.warns(UserWarning, match="was begun in other surroundings: threads was .*, is 77"):
        analyze_images(resnet8, images, out, positions=range(4), part_size=2)
    first, second = Run(out).manifest["sessions"]
    assert (first["parts"], second["parts"], second["threads"]) == ([0, 1], [1], 77)
    analyze_images(resnet8, images, out, positions=range(4), part_size=2)
    assert len(Run(out).manifest["sessions"]) == 2, "what computes nothing is no session"


def test_another_batch_size_is_taken_where_nothing_was_computed_with_the_first(tmp_path, resnet8):
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    images, out = load_dataset("scenes"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        analyze_images(resnet8, images, out, positions=[0], batch_size=8, progress=stop)
    assert analyze_images(resnet8, images, out, positions=[0], batch_size=4).manifest["batch_size"] == 4


# ------------------------------------------------------------------ a folder that goes away


@pytest.mark.parametrize("save", [False, True])
def test_a_folder_that_is_removed_meanwhile_is_told_and_nothing_is_left(tmp_path, resnet8, save):
    out = tmp_path / "run"
    removed = iter((False, True, False, False))

    def remove(_: int) -> None:
        if next(removed):
            shutil.rmtree(out)

    if save:
        config = AttackConfig.of(attack="pgd1", limit=6, batch_size=2, workers=0, out=out, device="cpu")
    else:
        config = EvaluateConfig.of(attacks="pgd1", limit=6, batch_size=2, workers=0, out=out, device="cpu")
    message = error_of(lambda: evaluate(config, progress=remove))
    assert message.startswith(f"{out} was removed while this command worked in it")
    assert not out.exists()
    assert evaluate(config.having(limit=2)).manifest


def test_a_full_disk_under_attack_is_one_line_that_says_what_is_kept(attnlab, monkeypatch):
    from attnlab.pipelines import accuracy_records

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))

    monkeypatch.setattr(accuracy_records, "write_whole", full)
    assert attnlab("attack", "--limit", 2, "--workers", 0, "--out", "out").error == (
        "No space left on device: out/arrays/test-00000.npy; finished parts are kept: make room and repeat the "
        "command to resume"
    )


def test_an_error_of_a_library_without_a_reason_is_one_line(attnlab, monkeypatch):
    from attnlab.pipelines import accuracy_records

    def refuse(*_: object, **__: object) -> None:
        raise OSError("6 requested and 0 written")

    monkeypatch.setattr(accuracy_records, "write_whole", refuse)
    assert attnlab("attack", "--limit", 2, "--workers", 0, "--out", "out").error == "6 requested and 0 written"


@pytest.mark.parametrize("content", [b"", b"model,found\na,b,c\n"])
def test_a_damaged_checks_file_breaks_nothing_and_is_made_again(attnlab, content):
    words = ["evaluate", "--limit", 4, "--workers", 0, "--attacks", "clean,fgsm", "--out", "out"]
    assert attnlab(*words).code == 0
    whole = Path("out/checks.csv").read_bytes()
    Path("out/checks.csv").write_bytes(content)
    done = attnlab("tables", "out")
    assert done.code == 0
    assert "checks.csv is damaged: the command that made this run makes it again" in done.out
    assert attnlab(*words).code == 0
    assert Path("out/checks.csv").read_bytes() == whole


# ------------------------------------------------------------------ from Python, and odd streams


def test_an_analysis_and_an_evaluation_made_from_python_have_tables_figures_and_pages(tmp_path, resnet8: Classifier):
    images = load_dataset("scenes")
    analyze_images(resnet8, images, tmp_path / "analysis", positions=range(12))
    attacks = parse_attacks("clean,pgd1,pgd2", "scenes")
    config = EvaluateConfig.of(attacks=attacks, out=tmp_path / "evaluation", limit=4)
    evaluate(config, {"a": resnet8, "b": resnet8}, images)
    analysis, evaluation = (write_tables(tmp_path / name) for name in ("analysis", "evaluation"))
    assert ", scenes, n = " in analysis.captions["table1"]
    assert evaluation.frames["table6"]["model"].unique().tolist() == ["a", "b"]
    assert evaluation.frames["table6"]["defense"].unique().tolist() == ["none"]
    for name in ("analysis", "evaluation"):
        drawn = draw_run(tmp_path / name, only=["iou-distributions"] if name == "analysis" else [])
        assert drawn.captions
        assert write_report(tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize("closed", [">&- 2>&- <&-", "> /dev/full"])
def test_closed_streams_end_no_command_with_a_traceback(run, tmp_path, closed):
    copied = shutil.copytree(run, tmp_path / "run")
    line = f"{sys.executable} -m attnlab_cli tables {copied} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    if closed == "> /dev/full":
        assert done.returncode == 1
        assert done.stderr.startswith("Error: No space left on device")


@pytest.mark.parametrize(("name", "line"), [("a\0b", "expected --out to be a path"), ("x" * 300, "File name too long")])
def test_an_out_that_is_no_path_is_one_line(tmp_path, resnet8, name, line):
    with pytest.raises((ValueError, OSError), match=line):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / name, positions=[0])


def test_overlays_are_written_where_no_figure_can_be_drawn(attnlab, monkeypatch):
    from attnlab.report.figures import drawing
    from attnlab.report.figures import run as drawn

    def nothing(*_: object, **__: object) -> None:
        raise drawing.NothingDrawn("nothing can be drawn of out: no image is classified correctly")

    assert attnlab("analyze", "--limit", 2, "--workers", 0, "--out", "out").code == 0
    monkeypatch.setattr(drawn, "draw_run", nothing)
    done = attnlab("figures", "out", "--overlays")
    assert done.code == 0, done.err
    assert "out/figures/overlays: 4 pictures" in done.out
    assert len(list(Path("out/figures/overlays").iterdir())) == 4
