"""Failures that are none of attnlab's own, each as one line: a network's code that raises, a worker that was killed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from traceback import walk_tb
from types import FrameType

from attnlab.errors import UserError

LISTED = 5  # image names that a message lists
OWN = ("attnlab.", "torch.nn.parallel")  # modules whose calls are attnlab's own, or wrap them


class NetworkFailed(UserError):  # noqa: N818 - named after what happened
    """The network's own code raised."""


class WorkerLost(UserError):  # noqa: N818
    """A worker process ended before its work was done."""


@contextmanager
def naming(what: str, names: Sequence[str] = ()) -> Iterator[None]:
    """Turn an error of the network's own code into NetworkFailed, whose one line says on what it was raised.

    Memory that ran out and errors of attnlab and of torch's compiler are passed on as they are.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, UserError) or _is_memory(error) or is_lost_worker(error) or _is_compilers(error):
            raise
        if not _is_networks(error):
            raise
        listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        raise NetworkFailed(f"the network failed on {f'{what} {listed}'.strip()} ({one_line(error)})") from error


@contextmanager
def keeping(folder: object = None, what: str = "what is finished") -> Iterator[None]:
    """Add to NetworkFailed and WorkerLost what is kept in a folder of records or steps, and how to resume."""
    behind = "" if folder is None else f"; {what} is kept in {folder}: repeat the command to resume"
    try:
        yield
    except (NetworkFailed, WorkerLost) as error:
        raise type(error)(f"{error}{behind}") from error
    except (RuntimeError, OSError, EOFError) as error:
        if not is_lost_worker(error):
            raise
        raise WorkerLost(f"{lost_worker(error)}{behind}") from error


def is_lost_worker(error: BaseException) -> bool:
    """Whether a process that reads images or cuts superpixels ended early, as the system does where memory runs out."""
    if isinstance(error, BrokenExecutor):
        return True
    if isinstance(error, RuntimeError):  # torch's own text, raised wherever the signal comes in
        return "DataLoader worker" in str(error)
    between = ("multiprocessing.", "torch.multiprocessing")
    return isinstance(error, OSError | EOFError) and any(_module(frame).startswith(between) for frame in _frames(error))


def lost_worker(error: BaseException) -> str:
    """The line for it; of an error raised by torch's signal after another lost worker, the line of that one."""
    earlier = error.__context__
    while earlier is not None:
        if isinstance(earlier, WorkerLost):
            return str(earlier)
        earlier = earlier.__context__
    return (
        f"a worker process ended before its work was done ({one_line(error)}), most often because the machine had too "
        "little memory: try fewer --workers (0 works without)"
    )


def one_line(error: BaseException) -> str:
    """An error of other people's code, as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({text}); keep what a script does below if __name__ == '__main__'"
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _is_compilers(error: BaseException) -> bool:
    return any(kind.__module__ == "torch._dynamo.exc" for kind in type(error).__mro__)


def _is_memory(error: BaseException) -> bool:
    from attnlab.hooks import out_of_memory  # knows torch, which workers do without

    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and out_of_memory(error))


def _is_networks(error: BaseException) -> bool:
    """Whether a module of the network, or torch's differentiation of one, raised it, or what it was made of."""
    for frame in _frames(error) + (_frames(error.__cause__) if error.__cause__ else []):
        of_network = not type(frame.f_locals.get("self")).__module__.startswith(OWN)
        if _module(frame).startswith("torch.autograd") or (frame.f_code.co_name == "_call_impl" and of_network):
            return True
    return False


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in walk_tb(error.__traceback__)]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
