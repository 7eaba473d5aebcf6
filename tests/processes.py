"""Commands in processes of their own, which start at once: forked from one that has everything imported."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

LOADED = ["attnlab_cli", "attnlab.pipelines.analyze", "attnlab.pipelines.evaluate", "attnlab.report.tables.export"]
PATIENCE = 300  # seconds
#: an analysis of several parts, and of several batches each
ANALYZE = ("analyze", "--limit", "22", "--part-size", "4", "--batch-size", "3", "--workers", "0")


def prepare() -> None:
    """Let whatever starts by `forkserver` from now on have everything imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    multiprocessing.set_forkserver_preload(LOADED)


class Started:
    """A command that runs."""

    def __init__(self, words: list[str], code: str, environment: dict[str, str]) -> None:
        prepare()
        context: Any = multiprocessing.get_context("forkserver")
        self.folder = tempfile.TemporaryDirectory()
        self.told = Path(self.folder.name) / "told"
        self.process = context.Process(target=_run, args=(words, code, environment, self.told))
        self.process.start()

    @property
    def said(self) -> str:
        """What it wrote to both streams."""
        return self.told.read_text() if self.told.exists() else ""

    def wait(self) -> int:
        """Its exit status; that of a signal is negative."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, self.said
        return int(self.process.exitcode)


def start(*words: object, code: str = "", **environment: object) -> Started:
    """Start attnlab with these words, once the code has run, with these environment variables."""
    return Started([str(word) for word in words], code, {name: str(value) for name, value in environment.items()})


def ended(process: Started) -> str:
    """What a process said, once it ended well."""
    assert process.wait() == 0, process.said
    return process.said


def _run(words: list[str], code: str, environment: dict[str, str], told: Path) -> None:
    from attnlab_cli import main

    with told.open("wb", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    os.environ.update(environment)
    sys.argv = ["attnlab", *words]
    exec(code, {})  # the test's own
    main()
