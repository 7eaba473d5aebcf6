"""`benchmarks.robustness`: the commands it gives, and the tables it makes of what is there."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from attnlab.records import read_records
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
    words = ["scenes", "--out", "out", "--tables", "--page", "page.md"]
    for defense in ("madry", "madry+aad"):
        folder = f"out/{defense}-0"
        evaluated = ["--model", folder, "--attacks", "clean,pgd2", "--out", f"{folder}-evaluate"]
        analyzed = ["--model", folder, "--split", "test", "--attack", "pgd2", "--out", f"{folder}-analyze"]
        assert attnlab("train", "--smoke", "--defense", defense, "--workers", 0, "--out", folder).code == 0
        assert attnlab("evaluate", "--smoke", "--workers", 0, *evaluated).code == 0
        if defense == "madry":
            assert block(*words)[0] == 0
            page = Path("page.md").read_text()
            assert "| madry | 1 |" in page
            assert "IoU" not in page
        assert attnlab("analyze", "--smoke", "--workers", 0, *analyzed).code == 0
    assert block(*words) == (0, "page.md: 2 of 18 trainings\n")
    told = Path("page.md").read_text().partition("IoU over 4 test images")[2]
    assert "| madry | 1 |" in told
    assert "| madry+aad | 1 |" in told
    first, second = (read_records(Path(f"out/{name}-0-analyze")) for name in ("madry+aad", "madry"))
    moved = (first["iou_att_gt"] - second["iou_att_gt"]).dropna().mean()
    row = next(line for line in told.splitlines() if line.startswith("| madry+aad less madry | 1 |"))
    assert float(row.split(" | ")[2]) == pytest.approx(moved, abs=5e-5)
