"""Interruptions that wait for the end of a step, since half a step cannot be resumed."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

IMPATIENCE = 1.0  # seconds after which a second Ctrl-C is obeyed at once: some launchers pass the first one on twice


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C, and the request to end that clusters send before they kill, instead of obeying at once.

    Yields whether there was one: always False outside the main thread, where Python lets no one listen to signals.
    """
    noted: list[float] = []

    def note(_number: int, _frame: object) -> None:
        if noted and monotonic() - noted[0] > IMPATIENCE:
            raise KeyboardInterrupt
        noted.append(monotonic())

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
