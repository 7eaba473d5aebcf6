"""Files that are whole or not there, folders that one process works in at a time, or several on their shards."""

import errno
import hashlib
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from secrets import token_hex

from filelock import FileLock, Timeout

from attnlab.errors import UserError, printable
from attnlab.shards import WHOLE, Shard

LOCK_PATIENCE = 8.0  # seconds that a folder may be held by the workers of a process that was killed
#: held by the process that works in a folder; it stays there, since removing it would let two processes hold it
LOCK = ".lock"
#: held by the process that computes a shard, behind it the shard's number and how many there are
SHARD_LOCK = ".lock-{}-of-{}"
ATTEMPTS = 5  # at a file whose temporary name another process removes, see `runs.LEFTOVERS`
LONGEST_NAME = 255  # bytes of a file's name that file systems take
WINDOWS = os.name == "nt"
#: what Windows allows in no name: some characters, a dot or space at the end, and the names of devices
UNFIT = re.compile(
    r'[<>:"|?*\x00-\x1f]|[. ]$|^(?:CON|PRN|AUX|NUL|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])(?= *(?:\.|$))', re.IGNORECASE
)
#: what a file is called until it is whole: its name's beginning, host and process, and, as containers may have one
#: name, what no other has
TEMPORARY = re.compile(r"\..*\.[0-9a-f]+\.tmp", re.DOTALL)
#: what begins a formula in a spreadsheet, which a number may begin with too
FORMULA = ("=", "+", "-", "@")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system that knows no locks
WITHOUT_LINKS = (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)  # ... or no hard links


def make_folder(folder: Path) -> None:
    """Make the folder that --out names, and those above it; raises UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another --out") from None


def write_whole(path: Path, content: bytes | memoryview, *, sync: bool = True) -> None:
    """Write a file, and the folders above it, so that it is there whole or not at all, whenever the process may end.

    With `sync` not even a power failure cuts it short; False is for files in numbers, whose folder `remove_leftovers`
    has to clear.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with _beside(path, content, sync=sync) as written:
                written.replace(path)
            break
        except FileNotFoundError:
            if attempt == ATTEMPTS:
                raise
    if sync:
        remove_leftovers(path.parent, path.name)


def create_whole(path: Path, content: bytes) -> bool:
    """Write a file that is not there yet, whole or not at all; False where another process was the first to do so."""
    with _beside(path, content) as written:
        try:
            os.link(written, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            if path.exists():
                return False
            written.replace(path)
    return True


@contextmanager
def _beside(path: Path, content: bytes | memoryview, *, sync: bool = True) -> Iterator[Path]:
    """Write content to a temporary file beside a path, for the time of the context."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name[:40]}.{platform.node()[:40]}.{os.getpid()}.{token_hex(4)}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        yield unfinished
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the name that means something to a user
        raise
    finally:
        with suppress(OSError):  # where nothing can be removed either, the error above is what counts
            unfinished.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what killed processes of this machine left below a folder of files that were not whole.

    With a file's `name` those of that file alone, beside it. Living processes keep theirs.
    """
    mine = re.compile(
        rf"{re.escape(f'.{name[:40]}')}.*{re.escape(f'.{platform.node()[:40]}.')}(\d+)\.[0-9a-f]+\.tmp", re.DOTALL
    )
    with suppress(OSError):
        for path in folder.glob(".*.tmp") if name else folder.rglob(".*.tmp"):
            if (found := mine.fullmatch(path.name)) and _is_dead(int(found[1])):
                path.unlink(missing_ok=True)


def _is_dead(process: int) -> bool:
    """Whether no process has this number; False where that cannot be asked without harm."""
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def safe_cell(text: str) -> str:
    """The text as a cell of a CSV file: control characters escaped, and `'` before what a spreadsheet would compute."""
    shown = printable(text)
    return f"'{shown}" if shown[:1] in FORMULA and not NUMBER.fullmatch(shown) else shown


def file_of(folder: Path, image_id: str, ending: str) -> Path:
    """Path of a file about an image, below the folder, or a UserError where the image's name leads elsewhere.

    A name too long for a file system is cut, characters that Windows allows in no name are `_` there, and a hash of
    the name keeps it apart from others.
    """
    if ".." in PureWindowsPath(image_id).parts or PurePosixPath(image_id).is_absolute():
        raise UserError(f"expected names of images below their folder, got {image_id!r}")
    *above, name = re.split(r"[/\\]" if WINDOWS else "/", image_id)
    return folder.joinpath(*(_held(part, "", part) for part in above), _held(name, ending, image_id))


def _held(name: str, ending: str, whole: str) -> str:
    """A file's name that file systems here hold; a hash of `whole` marks one that was changed."""
    fit = UNFIT.sub("_", name) if WINDOWS else name
    if fit == name and len(os.fsencode(name + ending)) <= LONGEST_NAME:
        return name + ending
    mark = f"~{hashlib.sha256(whole.encode()).hexdigest()[:16]}{ending}"
    return fit.encode()[: LONGEST_NAME - len(mark.encode())].decode(errors="ignore") + mark


def is_vacant(folder: Path) -> bool:
    """Whether a folder may be taken: nothing is there, or only what a process that was killed at its start left."""
    try:
        inside = list(folder.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return not folder.exists()
    return all(
        path.name.startswith(LOCK)
        or TEMPORARY.fullmatch(path.name)
        or (path.name == "records" and path.is_dir() and is_vacant(path))
        for path in inside
    )


@contextmanager
def alone_in(folder: Path, shard: Shard = WHOLE) -> Iterator[None]:
    """Hold a lock on a folder that exists, where its file system knows locks, or raise a UserError.

    It is exclusive, or of several shards each its own. A lock that another process holds is waited for some seconds:
    workers of a process that was killed outlive it.
    """
    own = LOCK if shard.whole else SHARD_LOCK.format(shard.number + 1, shard.count)
    with _lock(folder / own, folder, "" if shard.whole else f" on shard {shard}"):
        # each side takes its own lock before it looks at the other's, so that of two at least one sees the other
        for other in sorted(folder.glob(SHARD_LOCK.format("*", "*"))) if shard.whole else [folder / LOCK]:
            with _lock(other, folder):
                pass
        yield


@contextmanager
def _lock(path: Path, folder: Path, at: str = "") -> Iterator[None]:
    # a soft lock, a file that is there or not, would outlive a process that was killed
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.1)
    except Timeout:
        raise UserError(f"another process works in {folder}{at}; wait for its end, or choose another --out") from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
