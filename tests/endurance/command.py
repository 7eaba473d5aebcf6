"""The command line in this process, as a user calls it: its exit code and what it printed."""

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from endurance.cases import MOST, check_message

import attnlab_cli

USAGE = 2  # exit code of wrong usage


class Printed(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def notes(self) -> list[str]:
        """Lines of standard error that say something, bars of progress aside."""
        return [line for line in self.err.splitlines() if line.strip()]


def attnlab(folder: Path, words: Sequence[str]) -> Printed:
    """Run a command in a folder; what it raises beyond its own errors is raised here too."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    shown = mock.patch.multiple(sys, argv=["attnlab", *words], stdout=out, stderr=err)
    with contextlib.chdir(folder), shown, warnings.catch_warnings():
        try:
            attnlab_cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    printed = Printed(code, out.getvalue(), err.getvalue())
    _check(printed)
    return printed


def _check(printed: Printed) -> None:
    """Hold a command that failed to one line that says why."""
    assert "Traceback" not in printed.err, printed.err[-300:]
    assert printed.code in (0, 1, USAGE), f"exit code {printed.code}"
    errors = [line for line in printed.notes if line.startswith("Error: ")]
    if printed.code:
        assert len(errors) == 1, printed.err[-300:]
        check_message(errors[0] if printed.code == 1 else errors[0][:MOST])  # click quotes all of a wrong value
        assert printed.code == USAGE or printed.notes[-1] == errors[0], printed.err[-300:]
