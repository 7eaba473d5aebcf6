"""Worker processes: what each command reports of one that is killed, what counts as lost, and that they end."""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import pytest
import torch
from common import error_of, last
from PIL import Image

from attnlab.data.base import Example
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.errors import UserError
from attnlab.failures import WorkerLost, is_lost_worker, keeping, lost_worker
from attnlab.superpixels import segmenting


class Lost:
    """Images of which the second cannot be read, which no image is to blame for."""

    name, channels, has_boxes, classes = "lost", 3, False, ()
    image_ids = tuple("abcd")

    def read(self, index):
        if index == 1:
            raise UserError("the store is gone")
        return Example(Image.new("RGB", (8, 8)), 0, torch.empty(0, 4))


class Deadly:
    """Images whose reading kills the process that reads them."""

    name, channels, has_boxes, classes = "deadly", 3, False, ()
    image_ids = tuple("abcd")

    def read(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_while_it_reads_images_is_one_line():
    batches = load_batches(ResizedDataset(Deadly(), (8, 8)), [[0], [1]], workers=1)
    line = error_of(list, batches)
    assert line.startswith("a worker process ended before its work was done (")
    assert line.endswith("most often because the machine had too little memory: try fewer --workers (0 works without)")


@pytest.mark.parametrize("end", ["an error", "no more interest", "the caller's own error"])
def test_the_processes_that_read_end_with_the_reading_however_that_ends(end):
    before = set(multiprocessing.active_children())  # of tests that ended
    batches = load_batches(ResizedDataset(Lost(), (8, 8)), [[0], [1], [2], [3]], workers=2)
    first = next(batches)
    assert (first.positions, len(set(multiprocessing.active_children()) - before)) == ([0], 2)
    if end == "an error":
        assert error_of(list, batches) == "the store is gone"
    elif end == "no more interest":
        batches.close()
    else:
        with pytest.raises(KeyError):
            batches.throw(KeyError("mine"))
    assert set(multiprocessing.active_children()) <= before


LEFT = """
import test_lost_workers as tests
batches = tests.load_batches(tests.ResizedDataset(tests.Lost(), (8, 8)), [[0], [2], [3]] * 4, workers=2)
unread = tests.load_batches(tests.ResizedDataset(tests.Lost(), (8, 8)), [[0], [2]], workers=2)
print(next(batches).positions)
"""


def test_a_program_that_leaves_batches_unread_ends():
    code = [sys.executable, "-c", LEFT]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60, check=False, cwd=os.path.dirname(__file__))
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0]\n", "")


def kill(_image, _seed):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_while_it_cuts_superpixels_is_one_line(monkeypatch):
    monkeypatch.setitem(segmenting.__wrapped__.__globals__["SEGMENTERS"], "grid", kill)
    with pytest.raises(WorkerLost, match="try fewer --workers"), segmenting(1) as cut:
        cut(torch.rand(3, 8, 8).numpy(), "grid", 0).result()


def test_a_second_signal_of_a_lost_worker_hides_nothing_of_what_the_first_is_told_as():
    gone = "DataLoader worker (pid {}) is killed by signal: Killed. "

    def end() -> None:
        try:
            with keeping("out"):
                raise RuntimeError(gone.format(7))
        finally:
            raise RuntimeError(gone.format(8))

    with pytest.raises(RuntimeError, match="pid 8") as caught:
        end()
    line = lost_worker(caught.value)
    assert "(pid 7)" in line
    assert line.endswith("; what is finished is kept in out: repeat the command to resume")


@pytest.mark.parametrize("workers", [1])
def test_an_analysis_whose_workers_are_killed_says_what_is_kept(attnlab, monkeypatch, workers):
    from attnlab.data.digit_scenes import Scenes

    parent, read = os.getpid(), Scenes.read

    def deadly(self, index):
        if os.getpid() != parent and index > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    monkeypatch.setattr(Scenes, "read", deadly)
    answer = attnlab("analyze", "--limit", 12, "--batch-size", 2, "--workers", workers, "--out", "out")
    line = last(answer)
    assert line.startswith("a worker process ended before its work was done (")
    assert line.endswith("; what is finished is kept in out: repeat the command to resume")
    monkeypatch.setattr(Scenes, "read", read)
    assert attnlab("analyze", "--limit", 12, "--batch-size", 2, "--workers", workers, "--out", "out").code == 0


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), True),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), True),
        (BrokenExecutor("A process in the process pool was terminated abruptly"), True),
        (ConnectionResetError(104, "Connection reset by peer"), False),  # of whom is not known
        (RuntimeError("something else"), False),
        (EOFError(), False),
    ],
)
def test_what_counts_as_a_lost_worker(error, lost):
    assert is_lost_worker(error) is lost


def test_a_connection_that_a_worker_dropped_counts_as_a_lost_worker():
    from multiprocessing import Pipe

    ours, theirs = Pipe()
    theirs.close()
    with (
        pytest.raises(WorkerLost, match=r"\(EOFError\).*; all is kept in out: repeat the command to resume$"),
        keeping("out", "all"),
    ):
        ours.recv()
