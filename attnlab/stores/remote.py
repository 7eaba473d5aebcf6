"""Files under a URL by fsspec, in archives by zipfile and tarfile over its files; loaded where a store is opened."""

import gzip
import os
import posixpath
import re
import struct
import tarfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.core import url_to_fs

from attnlab.errors import UserError, without_secrets
from attnlab.failures import one_line
from attnlab.stores.location import Url
from attnlab.stores.store import Member, Store, StoreLost
from attnlab.words import counted

Answer = TypeVar("Answer")

PATIENCE = 30.0  # seconds that a store may take for its first answer
TRIES = 3  # of a read, since networks fail now and then
BLOCK = 1 << 20  # bytes that are asked of a far archive at a time
UNSORTED = 500  # files from which on it matters that those of a tar.gz are quick in its own order alone
#: protocol -> attnlab's extra that installs what reads it
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf", "http": "http", "https": "http"}
#: what zipfile, tarfile and gzip raise of a damaged archive
FAULTS = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, struct.error)


class Damaged(OSError):  # noqa: N818 - named after what is the matter
    """A member of an archive whose bytes are not what they should be."""


@lru_cache(maxsize=64)
def _file_system(where: Path | Url, _process: int) -> tuple[Any, str]:
    return url_to_fs(where.text) if isinstance(where, Url) else (fsspec.filesystem("file"), str(where))


def file_system(where: Path | Url) -> tuple[Any, str]:
    """Fsspec's file system of a place, and the path in it; each process has its own, since none survives a fork."""
    return _file_system(where, os.getpid())


@lru_cache(maxsize=64)
def _opened(where: Path | Url, kind: str, _process: int) -> tuple[Any, threading.Lock]:
    """A zip archive or what a gzip file unpacks to, to be read by one thread at a time."""
    files, path = file_system(where)
    file = files.open(path, "rb", block_size=BLOCK)
    return zipfile.ZipFile(file) if kind == "zip" else gzip.GzipFile(fileobj=file), threading.Lock()


@contextmanager
def one_answer(where: Path | Url, what: str = "--root") -> Iterator[None]:
    """Turn what is raised in opening and listing a store, whatever its client raises, into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each store's client has errors of its own
        raise UserError(_why(error, where, what)) from None


def _why(error: Exception, where: Path | Url, what: str) -> str:
    reason = without_secrets(one_line(error))
    if isinstance(error, FAULTS):
        archive = "a whole archive of zip, tar or tar.gz"
        return f"expected {where} to be {archive}, got one that cannot be read ({reason}); fetch it again"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer within {PATIENCE:.0f} s; check the address, the network and the proxy"
    if isinstance(error, ImportError) and isinstance(where, Url):
        extra = next((EXTRAS[kind] for kind in re.findall(r"(\w+)://", where.text) if kind in EXTRAS), "")
        return f"reading {where} needs a package that is not there; pip install 'attnlab[{extra}]'" if extra else reason
    if isinstance(error, FileNotFoundError | NotADirectoryError):  # some clients raise it where no server answers, too
        cause = f" ({without_secrets(one_line(error.__cause__))})" if error.__cause__ else ""
        return f"expected {what} to be an existing folder, archive or bucket, got {str(where)!r}{cause}"
    if "Protocol not known" in reason:
        return f"expected {what} to be a folder, an archive or a URL of {', '.join(sorted(EXTRAS))}, got {str(where)!r}"
    hint = "; see docs/how-to/read-from-a-store.md for credentials" if isinstance(where, Url) else ""
    return f"cannot read {where} ({reason}){hint}"


def _look(where: Path | Url, what: str) -> None:
    """Ask a store for what nothing is known of yet; a client may wait for an answer longer than a user does."""
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            files, path = file_system(where)
            files.invalidate_cache()  # of what was listed before, in the same process
            answer.set_result(files.info(path))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    with one_answer(where, what):
        answer.result(PATIENCE)


def open_folder(url: Url, what: str, depth: int | None = None) -> Store:
    """What lies under a URL, listed once, as deep as is said."""
    _look(url, what)
    files, path = file_system(url)
    start = f"{path.strip('/')}/"
    found = _fetch(str(url), lambda: files.find(path, maxdepth=depth, detail=True))
    inside = {full: info.get("size") for full, info in found.items() if full.strip("/").startswith(start)}
    sizes = {full: size for full, size in inside.items() if found[full]["type"] == "file" and full[-1] != "/"}
    if not sizes:
        raise UserError(f"expected {what} to hold files, got none in {url}")
    unknown = [full for full, size in sizes.items() if size is None]  # such as of a web server's list
    sizes.update(zip(unknown, _fetch(str(url), lambda: files.sizes(unknown)), strict=True))
    members = ((full.strip("/")[len(start) :], Member(full, size or 0)) for full, size in sizes.items())
    return Store(url, "folder", _inside(url, members))


def open_archive(where: Path | Url, what: str) -> Store:
    """An archive, whose members are listed once; a damaged one is refused."""
    with one_answer(where, what):
        kind = kind_of(where, what)
        found: Iterable[tuple[str, Member | None]]
        if kind == "zip":
            infos = _opened(where, kind, os.getpid())[0].infolist()
            found = ((info.filename, Member(info.filename, info.file_size)) for info in infos if not info.is_dir())
        else:
            found = ((name, member) for name, member, _ in scan_tar(where, kind))
        members = _inside(where, found)
    if not members:
        raise UserError(f"expected {where} to hold files, got an archive of none")
    if kind == "tar.gz" and len(members) > UNSORTED and list(members) != sorted(members):
        text = "a file behind which another has been read is reached from the beginning; .zip and .tar are quicker"
        warnings.warn(f"{where} holds its files in another order than that of their names: {text}", stacklevel=4)
    return Store(where, kind, members)


def kind_of(where: Path | Url, what: str = "--root") -> str:
    """Of what kind an archive is that nothing is known of yet, as its first bytes say."""
    _look(where, what)
    _opened.cache_clear()  # it may be another file of the same name than before
    files, path = file_system(where)
    with files.open(path, "rb", block_size=BLOCK) as file:
        return {b"PK": "zip", b"\x1f\x8b": "tar.gz"}.get(file.read(2), "tar")


def _inside(where: Path | Url, found: Iterable[tuple[str, Member | None]]) -> dict[str, Member]:
    """Members by their paths below the top; those that lead elsewhere are left out, which a warning says."""
    members, elsewhere = {}, []
    for name, member in found:
        path = posixpath.normpath(name)
        if member is None or path.startswith("/") or path == "." or ".." in name.split("/"):
            elsewhere.append(name)
        else:
            members[path] = member
    if elsewhere:
        listed = ", ".join(elsewhere[:3])
        text = "that would lie outside of it, or link what it does not hold before them, which attnlab ignores"
        warnings.warn(f"{where} holds {counted(len(elsewhere), 'file')} {text}: {listed}", stacklevel=4)
    return members


def scan_tar(
    where: Path | Url, kind: str, wanted: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, Member | None, bytes]]:
    """Name and place of each file of a tar archive in its order, and the content of those wanted.

    A link has the place of the file before it that it links, None where there is none. Raises what FAULTS lists where
    the archive ends early, or is none.
    """
    files, path = file_system(where)
    places: dict[str, Member] = {}
    with files.open(path, "rb", block_size=BLOCK) as raw:
        file = gzip.GzipFile(fileobj=raw) if kind == "tar.gz" else raw
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - closed with the file
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else each header is kept
            if info.islnk() or info.issym():
                above = posixpath.dirname(info.name) if info.issym() else ""
                member = places.get(posixpath.normpath(posixpath.join(above, info.linkname)))
            elif info.isreg() and not info.issparse():
                member = Member(info.offset_data, info.size)
            else:
                continue
            content = b""
            if member:
                places[posixpath.normpath(info.name)] = member
                if wanted(info.name):
                    file.seek(member.at)
                    content = file.read(member.size)
            yield info.name, member, content
        file.seek(archive.offset)
        end = file.read(tarfile.BLOCKSIZE)
        while kind == "tar.gz" and file.read(BLOCK):  # to the end, where its checksum is
            pass
    if end.strip(b"\0") or 0 < len(end) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"no header at byte {archive.offset}, where the next file should begin")
    if not end:
        warnings.warn(f"{where} has no mark of its end: it may have been cut short between two files", stacklevel=2)


def read(store: Store, shown: str, member: Member) -> bytes:
    """A file of a store; raises Damaged where its archive does not hold it whole, StoreLost."""
    return _fetch(shown, lambda: _read(store, *member), FileNotFoundError if store.kind == "folder" else Damaged)


def _fetch(shown: str, question: Callable[[], Answer], blamed: type[Exception] = FileNotFoundError) -> Answer:
    """What a store answers, asked again where the network fails; raises StoreLost, or what one file is blamed for."""
    for attempt in range(TRIES):
        try:
            return question()
        except blamed:
            raise
        except Exception as error:  # each store's client has errors of its own
            if attempt == TRIES - 1 or isinstance(error, PermissionError):
                reason = without_secrets(one_line(error))
                raise StoreLost(f"cannot read {shown} any more ({reason}); repeat the command to resume") from None
        _opened.cache_clear()
        time.sleep(2.0**attempt)
    raise AssertionError


def _read(store: Store, at: Any, size: int) -> bytes:
    files, path = file_system(store.where)
    if store.kind == "folder":
        return bytes(files.cat_file(at))
    if store.kind == "tar":
        data = files.cat_file(path, start=at, end=at + size) if size else b""
    else:
        archive, lock = _opened(store.where, store.kind, os.getpid())
        with lock:
            if store.kind == "zip":
                try:
                    data = archive.read(at)
                except (*FAULTS, NotImplementedError) as error:
                    raise Damaged(f"damaged in its archive: {one_line(error)}") from None
            else:
                archive.seek(at)
                data = archive.read(size)
    if len(data) != size:
        raise OSError(f"got {len(data)} bytes instead of {size}; its server may send no ranges of files")
    return bytes(data)
