"""Fixtures and settings of all tests."""

import gc
import sys
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

pytest.register_assert_rewrite("trainings", "twins")

# a busy machine is no failure: no example has to end, and none to be found, within a time
hypothesis.settings.register_profile("attnlab", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("attnlab")


def pytest_configure(config: pytest.Config) -> None:
    """Import what tests share, but for the process that hands them out, whose workers would wait for it.

    Search for no garbage while tests are imported: there is none, and the search takes seconds.
    """
    gc.disable()
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_finish() -> None:
    """Search from now on, but not among what was imported: tests that count objects look through theirs alone."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Let `make coverage` see what follows a test that ends all tracing, as pyautoattack does."""
    tracer = sys.gettrace()
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


def pytest_sessionfinish() -> None:
    """Write what `make coverage` saw in this process: pytest-xdist kills it ten seconds after its last test."""
    if (coverage := sys.modules.get("coverage")) and (measured := coverage.Coverage.current()):
        measured.save()
