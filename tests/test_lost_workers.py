"""Worker processes that are killed: what each command reports, and what counts as a lost worker."""

import os
import signal
from concurrent.futures import BrokenExecutor

import pytest
import torch
from common import error_of, last

from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.failures import WorkerLost, is_lost_worker, keeping, lost_worker
from attnlab.superpixels import segmenting


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
