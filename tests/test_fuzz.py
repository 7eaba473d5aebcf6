"""A sample of the generated cases of `make fuzz`; hypothesis draws what decides them, and shrinks one that fails."""

import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from endurance.cases import ACCEPTED, REFUSED, Skipped
from endurance.fuzz import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st

#: kind -> cases; runs and trainings, to be damaged, take seconds to make and are left to `make fuzz`
EXAMPLES = {"images": 50, "csv": 40, "voc": 25, "coco": 40, "yolo": 25, "imagenet": 20, "options": 10, "networks": 5}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_no_generated_case_ends_but_accepted_and_right_or_refused_in_one_line(kind):
    case = KINDS[kind].load()

    @settings(max_examples=EXAMPLES[kind], derandomize=True, database=None)
    @given(st.randoms(use_true_random=False))
    def hold(draw):
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(Skipped):
                assert case(draw, Path(folder)) in (ACCEPTED, REFUSED)

    hold()
