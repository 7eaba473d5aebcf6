"""Signals: a lost interrupt comes again, SIGTERM is a Ctrl-C, a second one leaves no traceback."""

import multiprocessing
import os
import signal
import threading

import pytest
from processes import start

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.training import signals

#: `attnlab`, with work that ends by a signal alone
WORK = """
import os, signal, time
from importlib import import_module

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

class Half:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        self.workers = []

    def __del__(self):
        self.workers.clear()

def work(**_):
    {}
    time.sleep(20)

# whatever the processes before this one ignore, as a shell's background job does Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
import_module("attnlab_cli.app").app.main = work
"""
SECOND = """echo = import_module("click").echo
    def twice(text, **how):
        os.kill(os.getpid(), signal.SIGINT)
        echo(text, **how)
    import_module("click").echo = twice
    os.kill(os.getpid(), signal.SIGINT)"""
LAST = """module = import_module("attnlab_cli.app")
    def slowly():
        module._ignore_signals = ignore
        os.kill(os.getpid(), signal.SIGTERM)
        ignore()
    ignore, module._ignore_signals = module._ignore_signals, slowly
    raise module.UserError("expected a, got b")"""


@pytest.mark.parametrize(
    "what",
    ["Deleted()", "os.kill(os.getpid(), signal.SIGTERM)", SECOND, "Half()"],
    ids=["an interrupt where Python loses it", "SIGTERM", "a second Ctrl-C", "an object left half made"],
)
def test_a_signal_ends_a_command_with_one_line(what):
    command = start("list", code=WORK.format(what))
    assert command.wait() == 130
    assert command.said == "Interrupted.\n"


def test_a_signal_behind_the_last_line_of_a_command_changes_nothing():
    command = start("list", code=WORK.format(LAST))
    assert command.wait() == 1
    assert command.said == "Error: expected a, got b\n"


def test_processes_that_read_go_on_after_the_sigterm_that_clusters_send_to_all():
    before = set(multiprocessing.active_children())  # of tests that ended
    batches = load_batches(ResizedDataset(load_dataset("scenes"), (64, 64)), [[index] for index in range(12)], 1)
    (reader,) = set(multiprocessing.active_children()) - before
    next(batches)
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGTERM)
    assert sum(len(batch.positions) for batch in batches) == 11


def test_a_second_interrupt_is_obeyed_at_once_but_not_one_passed_on_twice(monkeypatch):
    now = iter([10.0, 10.5, 10.5, 11.5])
    monkeypatch.setattr(signals, "monotonic", lambda: next(now))
    before = signal.getsignal(signal.SIGTERM)
    with signals.interruptions() as interrupted:
        assert not interrupted()
        for _ in range(2):  # at 10 s, and half a second later
            signal.raise_signal(signal.SIGTERM)
            assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_is_listened_to():
    seen: list[object] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with signals.interruptions() as interrupted:
            seen.extend([interrupted(), signal.getsignal(signal.SIGTERM) == before])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]
