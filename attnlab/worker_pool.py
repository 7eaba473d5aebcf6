"""Worker processes for what numpy does, such as cutting superpixels or writing pictures."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

from attnlab.failures import keeping

AHEAD = 8  # calls on their way to each worker process: enough that none waits, few enough to hold in memory


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave interrupts to this one, drop what they have not begun when it raises, and end with it.

    Where one was killed, WorkerLost is raised.
    """
    # as Python starts processes here, or the user says: by fork on Linux, which shares what is loaded, else by spawn
    with keeping(), ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def call_in_workers(workers: int, calls: Iterable[Callable[[], None]]) -> int:
    """Make calls that can be pickled in so many processes, and return how many there were."""
    waiting: deque[Future[None]] = deque()
    count = 0
    with worker_pool(workers) as pool:
        for call in calls:
            waiting.append(pool.submit(call))
            count += 1
            while len(waiting) > AHEAD * workers:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return count


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end when it ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # with which a pool ends the others where one was lost
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
