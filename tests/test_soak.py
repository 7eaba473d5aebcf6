"""Ten cases of `make soak`: a faulted command, repeated, leaves the same bytes as one that nothing interrupts."""

import sys

import pytest
from endurance.case import Bench
from endurance.commands import prepare_environment
from endurance.faults import FAULTS, drawn
from endurance.results import differences

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")

#: analyses, LIME, evaluations and an attack, in one process and in shards, with one fault each
SEEDS = (2, 9, 16, 22, 34, 56, 58, 62, 63, 64)


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """Uninterrupted commands, made once."""
    with pytest.MonkeyPatch.context() as patch:
        prepare_environment(patch.setenv)
        yield Bench(tmp_path_factory.mktemp("soak"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_faulted_command_that_is_repeated_leaves_the_same_bytes_as_an_uninterrupted_one(bench, seed):
    outcome = bench.try_case(seed)
    assert outcome.wrong == []
    assert not outcome.missed


def test_ten_cases_have_every_fault_but_the_disk_that_needs_root():
    assert len(SEEDS) == 10
    assert {fault.kind for seed in SEEDS for fault in drawn(seed)[1]} == FAULTS.keys() - {"small-disk"}


def test_differences_name_what_is_missing_left_over_and_changed(tmp_path):
    whole, made = tmp_path / "whole", tmp_path / "made"
    for folder, files in ((whole, {"a": "1", "b": "2", "c": "3"}), (made, {"b": "2", "c": "4", ".c.tmp": ""})):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    (whole / "run.json").write_text(
        '{"finished": "now", "started": "then", "seed": 1, "sessions": [{"parts": [0, 1]}]}'
    )
    (made / "run.json").write_text('{"finished": null, "started": "later", "seed": 2, "sessions": [{"parts": [1]}]}')
    assert differences(whole, made) == [
        "a is missing",
        ".c.tmp is left over",
        "c: 1 bytes, not the 1 of an uninterrupted run",
        "run.json: seed was 1, is 2",
        "run.json: finished is None",
        "run.json: its sessions name the parts [1], not [0, 1]",
    ]


def test_another_fault_of_a_seed_is_another_case():
    assert drawn(7) == drawn(7)
    assert len({str(drawn(seed)) for seed in range(300)}) == 300
