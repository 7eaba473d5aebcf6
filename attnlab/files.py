"""Files that are whole or not there, folders that one process works in at a time."""

import errno
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from attnlab.errors import UserError, printable

LOCK_PATIENCE = 8.0  # seconds that a folder may be held by the workers of a process that was killed
#: held by the process that works in a folder; it stays there, since removing it would let two processes hold it
LOCK = ".lock"
LONGEST_NAME = 255  # bytes of a file's name that file systems take
#: what a file is called until it is whole: its name's beginning, the host, the process
TEMPORARY = re.compile(r"\..*\.\d+\.tmp", re.DOTALL)
#: what begins a formula in a spreadsheet, which a number may begin with too
FORMULA = ("=", "+", "-", "@")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system that knows no locks


def write_whole(path: Path, content: bytes | memoryview, *, sync: bool = True) -> None:
    """Write a file, and the folders above it, so that it is there whole or not at all, whenever the process may end.

    With `sync` not even a power failure cuts it short; False is for files in numbers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name[:40]}.{platform.node()[:40]}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the name that means something to a user
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def safe_cell(text: str) -> str:
    """The text as a cell of a CSV file: control characters escaped, and `'` before what a spreadsheet would compute."""
    shown = printable(text)
    return f"'{shown}" if shown[:1] in FORMULA and not NUMBER.fullmatch(shown) else shown


def file_of(folder: Path, image_id: str, ending: str) -> Path:
    """Path of a file about an image, below the folder, or a UserError where the image's name leads elsewhere.

    A name too long for a file system is cut, and a hash of it keeps it apart from others.
    """
    if ".." in PurePosixPath(image_id).parts or PurePosixPath(image_id).is_absolute():
        raise UserError(f"expected names of images below their folder, got {image_id!r}")
    path = folder / f"{image_id}{ending}"
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        mark = f"~{hashlib.sha256(image_id.encode()).hexdigest()[:16]}{ending}"
        kept = path.name.encode()[: LONGEST_NAME - len(mark.encode())].decode(errors="ignore")
        path = path.with_name(kept + mark)
    return path


def is_vacant(folder: Path) -> bool:
    """Whether a folder may be taken: nothing is there, or only what a process that was killed at its start left."""
    if not folder.is_dir():
        return not folder.exists()
    return all(
        path.name == LOCK
        or TEMPORARY.fullmatch(path.name)
        or (path.name == "records" and path.is_dir() and is_vacant(path))
        for path in folder.iterdir()
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder that exists, where its file system knows locks, or raise a UserError.

    A lock that another process holds is waited for some seconds: workers of a process that was killed outlive it.
    """
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.1)
    except Timeout:
        raise UserError(f"another process works in {folder}; wait for its end, or choose another --out") from None
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
