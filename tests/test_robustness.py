"""`benchmarks.robustness`: the commands it gives, and the tables it makes of what is there."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks import robustness


@pytest.fixture
def called(monkeypatch) -> list[list[str]]:
    """The commands of a block, none of which is run."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(robustness, "subprocess", SimpleNamespace(run=run))
    return commands


def block(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(robustness.main, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.output


def test_every_command_is_given_whatever_lies_there_for_it_refuses_other_options_itself(attnlab, called):
    assert attnlab("train", "--smoke", "--defense", "madry", "--out", "out/madry-0").code == 0  # finished
    words = ["scenes", "--rows", "madry,alp+aad", "--seeds", "0,1", "--out", "out", "--train", "--epochs 3"]
    code, told = block(*words)
    assert (code, told.splitlines()[-1]) == (1, f"Error: {Path('out').resolve()} holds no finished evaluation yet")
    assert [command[0] for command in called] == ["train", "evaluate", "analyze"] * 4
    first = called[0]
    assert first[:6] == ["train", "--data", "scenes", "--defense", "madry", "--seed"]
    assert first[6:9] == ["0", "--epochs", "3"]
    assert first[-1] == str(Path("out/madry-0").resolve())


def test_tables_are_made_of_what_is_there(attnlab):
    for command, ending in (("train", ""), ("evaluate", "-evaluate"), ("analyze", "-analyze")):
        more = ["--defense", "madry"] if command == "train" else ["--model", "out/madry-0"]
        more += ["--attacks", "clean,pgd2"] if command == "evaluate" else []
        more += ["--split", "test", "--attack", "pgd2"] if command == "analyze" else []
        assert attnlab(command, "--smoke", *more, "--workers", 0, "--out", f"out/madry-0{ending}").code == 0
        if command == "evaluate":
            words = ["scenes", "--out", "out", "--tables", "--page", "page.md"]
            assert block(*words)[0] == 0
            page = Path("page.md").read_text()
            assert "| madry | 1 |" in page
            assert "IoU" not in page
    assert block(*words) == (0, "page.md: 1 of 18 trainings\n")
    assert "| madry | 1 |" in Path("page.md").read_text().partition("IoU over 4 test images")[2]
