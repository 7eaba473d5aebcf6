"""`benchmarks.robustness`: the commands it gives, and the tables it makes of what is there."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from attnlab.training import Defense
from attnlab.training.parse import parse_defense
from benchmarks import robustness, robustness_page
from benchmarks.trainings import READINGS


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
    code, message = block(*words)
    assert (code, message.splitlines()[-1]) == (1, f"Error: {Path('out').resolve()} holds no finished evaluation yet")
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
    message = Path("page.md").read_text().partition("IoU over 4 test images")[2]
    assert "| madry | 1 |" in message
    assert "| madry+aad | 1 |" in message
    assert "| madry+aad less madry | 1 |" in message


def test_attention_is_held_against_that_on_the_same_images():
    with_terms = {0: pd.DataFrame({"iou": [0.5, 0.7, math.nan]}), 1: pd.DataFrame({"iou": [0.1, 0.2, 0.3]})}
    without = {0: pd.DataFrame({"iou": [0.2, math.nan, 0.9]}), 1: pd.DataFrame({"iou": [0.1, 0.1, 0.1]})}
    rows = {"madry": without, "madry+aad --beta 1": with_terms, "alp+aad": with_terms, "trades": without}
    assert robustness_page.shifts(rows) == [["madry+aad --beta 1 less madry", "2", "+0.2000 ± 0.1414"]]  # .3 and .1


def defense_of(row: str) -> Defense:
    name, *words = row.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    options = {flag.strip("-").replace("-", "_"): value for flag, value in pairs}
    weights = {flag: float(value) for flag, value in options.items() if flag in ("alpha", "beta")}
    return parse_defense(name, **{**options, **weights})


def test_each_reading_has_the_base_that_differs_in_the_attention_terms_alone():
    lighter = "mixed+aad --attention-loss code --beta 0.1"
    bases = dict(robustness_page._pairs([*READINGS, lighter]))
    same = {"alpha": 0.0, "beta": 0.0, "attention_loss": "mean", "fill": "black"}
    for row in (*READINGS, lighter):
        ours = defense_of(row)
        assert ours.attends == (row in bases)
        if ours.attends:
            base = defense_of(bases[row])
            assert not base.attends
            assert replace(ours, **same) == replace(base, **same)


def test_a_zero_has_no_minus():
    assert robustness_page._spread(-0.001, math.nan, "+") == "+0.00"
