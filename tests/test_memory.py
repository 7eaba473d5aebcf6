"""Memory that a process has freed and keeps."""

import os
import platform
import subprocess
import sys

import pytest

from attnlab.pipelines.memory import keep_freed

BATCHES = """
import resource, numpy as np
from attnlab.pipelines.memory import keep_freed
kept = keep_freed()
faults = []
for _ in range(20):
    batch = [np.ones(1 << 20, np.float32) for _ in range(6)]
    del batch
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(kept, faults[-1] - faults[0])
"""


def faults(environment: dict[str, str]) -> tuple[bool, int]:
    """Whether memory is kept, and new pages of 19 batches after the first."""
    output = subprocess.run(
        [sys.executable, "-c", BATCHES], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    return output[0] == "True", int(output[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has these settings")
def test_a_batch_takes_the_pages_of_the_last_one():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept, few = faults(plain)
    assert kept
    asked, many = faults(plain | {"MALLOC_TRIM_THRESHOLD_": "131072"})
    assert not asked
    assert few < 1_000 < many  # 6 MB x 4 / 4 KiB are 6,144 pages a batch


def test_settings_of_the_environment_stay(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed()
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    assert not keep_freed()


def test_another_malloc_stays_as_it_is(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())  # such as musl's, which has no mallopt
    assert not keep_freed()
