"""`benchmarks.gpu` and `benchmarks.gpu_cifar`: pieces of limited time that resume. The GPU's own commands run there."""

import importlib
import json

import pytest
from click.testing import CliRunner
from common import error_of

from attnlab.training.checkpointing import FILE as STATE
from benchmarks import gpu, gpu_cifar
from benchmarks.archive import PIECE, pack, unpack
from benchmarks.pieces import Results, Step, environment, run, run_all
from benchmarks.trainings import Training


def python(name: str, code: str, seconds: float = 30) -> Step:
    return Step(name, ("-c", code), seconds)


def test_a_step_that_succeeded_is_not_run_again_and_one_that_failed_comes_last(tmp_path):
    results, lines = Results(tmp_path / "gpu.jsonl"), []
    steps = [python("fails", "print('bad'); raise SystemExit(3)"), python("works", "print('good')")]
    assert not run_all(steps, results, 1, lines.append)
    assert [(line["step"], line["rc"], line["output"]) for line in results.lines()] == [
        ("fails", 3, "bad\n"),
        ("works", 0, "good\n"),
    ]
    new = python("new", "pass")
    assert not run_all([*steps, new], results, 1, lines.append)
    assert [line["step"] for line in results.lines()] == ["fails", "works", "new", "fails"]
    assert lines[-1] == "the same command tries again: fails"
    assert run_all([steps[1], new], results, 1, lines.append)
    assert len(results.lines()) == 4  # nothing was run


def test_a_step_past_its_time_is_interrupted_may_save_and_is_not_done(tmp_path):
    code = (
        "import time\ntry:\n    print('begun', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('saved')\n    raise SystemExit(130)"
    )
    results, step, lines = Results(tmp_path / "gpu.jsonl"), python("long", code), []
    with environment() as variables:
        assert run(step, 2, variables, results, lines.append) is None
    # on a busy machine it may not have begun by then
    assert (lines, results.lines()[0]["rc"]) == (["begun", "saved"], 130) or "begun" not in lines
    assert (results.lines()[0]["timed_out"], results.done(step)) == (True, False)


def test_steps_find_the_trees_packages_without_an_installation(tmp_path):
    results = Results(tmp_path / "gpu.jsonl")
    code = "import attnlab_cli, attnlab, benchmarks; print(attnlab_cli.__file__)"
    with environment() as variables:
        assert run(Step("import", ("-c", code), 30), 30, variables, results, print) == 0
    assert "/attnlab_cli/__init__.py" in results.lines()[0]["output"]


def test_a_line_of_results_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "gpu.jsonl"
    path.write_text(json.dumps({"step": "works", "words": ["-c", "pass"], "rc": 0}) + '\n{"step": "wor')
    assert Results(path).done(python("works", "pass"))


def test_a_folder_in_pieces_comes_back_whole_on_another_machine(tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"
    for name in ("madry-0", "none-0"):
        (work / name).mkdir(parents=True)
        (work / name / "state.safetensors").write_bytes(name.encode() * (PIECE // 6))
        (work / name / "log.jsonl").write_text(name)
    out.mkdir()
    pack(out, work, leave={work / "none-0" / "state.safetensors"})
    assert len(list(out.iterdir())) == 2
    assert all(path.stat().st_size <= PIECE for path in out.iterdir())
    unpack(out, tmp_path / "there")
    found = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*.*") if path.is_file()}
    assert found == {".packed", "madry-0/state.safetensors", "madry-0/log.jsonl", "none-0/log.jsonl"}
    assert (tmp_path / "there/madry-0/state.safetensors").read_bytes() == b"madry-0" * (PIECE // 6)
    (work / "madry-0" / "log.jsonl").write_text("further")
    unpack(out, work)  # which goes on from these pieces, and has come further
    assert (work / "madry-0" / "log.jsonl").read_text() == "further"
    pack(out, work, leave=set(work.rglob("*.safetensors")))
    assert len(list(out.iterdir())) == 1  # the earlier pieces are gone
    unpack(out, tmp_path / "there")
    assert (tmp_path / "there/madry-0/log.jsonl").read_text() == "further"


def test_what_is_carried_of_two_trainings_at_once_is_no_more_than_they_need(tmp_path, monkeypatch):
    training = Training("cifar10", "madry", 0, tmp_path)
    (training.folder / "last").mkdir(parents=True)
    best, last, state = (training.folder / name for name in ("model.safetensors", "last/model.safetensors", STATE))
    for path in (best, last, state):
        path.write_text("")
    results = Results(tmp_path / "gpu.jsonl")
    assert gpu_cifar.unneeded(training, results) == {last}  # a training resumes from its state
    results.add(Step("madry-0", ("elsewhere",), 1), 0, 1.0, False, "")
    assert gpu_cifar.unneeded(training, results) == {last, state}  # it is done; the best weights are to be evaluated
    monkeypatch.setattr(gpu_cifar, "recorded", lambda folder: folder == training.evaluation)
    assert gpu_cifar.unneeded(training, results) == {best, last, state}


def test_pieces_of_which_one_is_missing_are_refused(tmp_path):
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    (work / "weights").write_bytes(bytes(PIECE + 1))
    pack(out, work)
    sorted(out.iterdir())[0].unlink()
    assert error_of(unpack, out, tmp_path / "there").startswith("expected all pieces of trainings-*.part in")


def test_every_command_of_the_gpu_script_exists():
    for step in (*gpu.steps_on("cuda"), *gpu.smoke_steps()):
        assert step.words[0] == "-m"
        if step.words[1].startswith("benchmarks."):
            command = importlib.import_module(step.words[1]).main
            command.make_context(step.name, list(step.words[2:]))  # its options are those of the benchmark


def test_cifar_without_its_files_says_what_to_give(tmp_path):
    found = CliRunner().invoke(gpu_cifar.main, ["--out", str(tmp_path)])
    assert (found.exit_code, "expected --root DIR" in found.output) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["gpu", "gpu_cifar"])
def test_the_gpu_script_runs_on_a_cpu_at_tiny_sizes(tmp_path, module):
    step = Step("smoke", ("-m", f"benchmarks.{module}", "--smoke", "--out", str(tmp_path / "out")), 900)
    results = Results(tmp_path / "smoke.jsonl")
    with environment() as variables:
        code = run(step, step.seconds, {**variables, "OMP_NUM_THREADS": "1"}, results, print)
    assert code == 0, results.lines()[0]["output"]
