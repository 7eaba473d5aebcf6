"""What a faulted process has about it: a count of its changes of files, a fault at one of them, another clock."""

import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

#: audit events of Python at a change of files; `open` is one too, where it may write
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ERRORS = {"full-disk": errno.ENOSPC, "read-only": errno.EROFS}
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "interrupt": signal.SIGINT}
FORKED = ".forked"  # behind the name of the file of events: the file of worker processes' numbers
COUNTED, STRUCK = b".", b"!"  # what a change, and the fault, add to the file of events


def install(place: str, events: str, fault: str, number: int, clock: float) -> None:
    """Begin to count; let the fault come at a change of a file below the place.

    Args:
        place: The folder in which the process works, as leader of a session of its own.
        events: File that gets COUNTED for each change and STRUCK for the fault.
        fault: A name in ERRORS, which are raised from then on, or in SIGNALS, which all of the session get; or "".
        number: Of the change, from 1.
        clock: Seconds by which the clock is set back; 0 leaves it.
    """
    multiprocessing.set_start_method(None, force=True)  # workers are made as ever, and not as this process was
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    os.setsid()
    os.chdir(place)
    if clock:
        set_back(clock)
    own, counted, within = os.getpid(), 0, place + os.sep
    forked = os.open(events + FORKED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.register_at_fork(after_in_child=lambda: os.write(forked, b"%d\n" % os.getpid()))
    log = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    lock = threading.RLock()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        if event not in CHANGES and not (event == "open" and arguments[2] & WRITING):
            return
        if os.getpid() != own or not _path(arguments[0]).startswith(within):
            return
        with lock:
            counted += 1
            os.write(log, STRUCK if counted == number and fault else COUNTED)
            if fault in SIGNALS and counted == number:
                os.killpg(own, SIGNALS[fault])
        removes = event in ("os.remove", "os.rmdir")
        if fault in ERRORS and counted >= number and not (removes and fault == "full-disk"):
            raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), _path(arguments[0]))

    sys.addaudithook(watch)


def _path(given: Any) -> str:
    return os.path.abspath(os.fsdecode(given)) if isinstance(given, str | bytes | os.PathLike) else ""


def set_back(seconds: float) -> None:
    """Let the time of day be an earlier one, wherever attnlab and its libraries ask Python for it."""
    from datetime import datetime, timedelta

    import attnlab.manifests

    real, real_ns = time.time, time.time_ns

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) - timedelta(seconds=seconds)

    time.time = lambda: real() - seconds
    time.time_ns = lambda: real_ns() - int(seconds * 1e9)
    attnlab.manifests.datetime = Earlier
