"""The command line in this process, as a user calls it: its exit code and what it printed."""

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from common import Printed, run_here
from endurance.cases import MOST, check_message

USAGE = 2  # exit code of wrong usage


def notes(printed: Printed) -> list[str]:
    """Lines of standard error that say something, bars of progress aside."""
    return [line for line in printed.err.splitlines() if line.strip()]


def attnlab(folder: Path, words: Sequence[str]) -> Printed:
    """Run a command in a folder; what it raises beyond its own errors is raised here too."""
    out, err = io.StringIO(), io.StringIO()
    shown = mock.patch.multiple(sys, stdout=out, stderr=err)
    with contextlib.chdir(folder), shown, warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a process of its own
        code = run_here(words)
    printed = Printed(code, out.getvalue(), err.getvalue())
    _check(printed)
    return printed


def _check(printed: Printed) -> None:
    """Hold a command that failed to one line that says why."""
    assert "Traceback" not in printed.err, printed.err[-300:]
    assert printed.code in (0, 1, USAGE), f"exit code {printed.code}"
    errors = [line for line in notes(printed) if line.startswith("Error: ")]
    if printed.code:
        assert len(errors) == 1, printed.err[-300:]
        check_message(errors[0] if printed.code == 1 else errors[0][:MOST])  # click quotes all of a wrong value
        assert printed.code == USAGE or notes(printed)[-1] == errors[0], printed.err[-300:]
