"""Paths in a store: a list of files that is made once, and the methods of `pathlib.Path` that readers use."""

import errno
import io
import os
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, TypeVar

from attnlab.errors import UserError
from attnlab.stores.location import Url
from attnlab.stores.store import Member, Store

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StorePath:
    """A file or folder of a store; as far as it goes, it behaves as a `pathlib.Path` does."""

    store: Store
    inner: str = ""  # below the store's top, "" for the top itself

    def __str__(self) -> str:
        return f"{str(self.store.where).rstrip('/')}/{self.inner}" if self.inner else str(self.store.where)

    __repr__ = __str__

    def __lt__(self, other: "StorePath") -> bool:  # folder by folder, as paths on a disk are sorted
        return self.parts < other.parts

    def __truediv__(self, name: "str | PurePosixPath") -> "StorePath":
        path = posixpath.normpath(posixpath.join(self.inner, name))
        return StorePath(self.store, "" if path == "." else path)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders that it lies in, below the store's top, and its own."""
        return tuple(self.inner.split("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.inner or str(self.store.where)).name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "StorePath":
        """The folder that it lies in; of a URL's top the files beside it, where they can be listed, else itself."""
        if self.inner:
            return StorePath(self.store, posixpath.dirname(self.inner))
        above = beside(self.store.where) if self.store.kind == "folder" else None
        return above if isinstance(above, StorePath) else self

    def relative_to(self, other: "StorePath") -> PurePosixPath:
        """The path below another, for which ValueError is raised if it is not below."""
        return PurePosixPath(self.inner).relative_to(other.inner)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.inner in self.store.members

    def is_dir(self) -> bool:
        """Whether it is a folder that holds files."""
        return self.inner in self.store.folders

    def iterdir(self) -> Iterator["StorePath"]:
        """What lies in the folder."""
        return (self / name for name in self.store.folders.get(self.inner, ()))

    def files(self) -> Iterator[str]:
        """Paths of all files below the folder, relative to it."""
        start = f"{self.inner}/" if self.inner else ""
        return (name[len(start) :] for name in self.store.members if name.startswith(start))

    def glob(self, pattern: str) -> Iterator["StorePath"]:
        """Files that fit the pattern, as many folders below as it has slashes."""
        return (path for path in self.rglob(pattern) if len(path.relative_to(self).parts) == pattern.count("/") + 1)

    def rglob(self, pattern: str) -> Iterator["StorePath"]:
        """Files that fit the pattern, in whatever folder below."""
        return (self / name for name in self.files() if PurePosixPath(name).match(pattern))

    def stat(self) -> SimpleNamespace:
        """Size of a file as `st_size`; raises FileNotFoundError."""
        return SimpleNamespace(st_size=self._member().size)

    def read_bytes(self) -> bytes:
        """The file's content; raises OSError where the file is damaged, StoreLost where the store cannot be read."""
        from attnlab.stores.remote import read

        return read(self.store, str(self), self._member())

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The file's content, as an open file; nothing is written to a store."""
        assert mode == "rb"
        return io.BytesIO(self.read_bytes())

    def _member(self) -> Member:
        if not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return self.store.members[self.inner]


def each(function: Callable[[Any], Answer], paths: list[Any]) -> list[Answer]:
    """The function of every path; of a store's files many at once, since each waits for an answer."""
    if not any(isinstance(path, StorePath) for path in paths[:1]):
        return list(map(function, paths))
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(function, paths))


def file_of(named: Path | Url | StorePath) -> Path | Url:
    """A file that a store of files or this machine holds, to be read as an archive."""
    if isinstance(named, StorePath):
        if named.store.kind != "folder" or not isinstance(named.store.where, Url):
            raise UserError(f"expected an archive that lies in no other, got {named}; unpack the outer one")
        return named.store.where.below(named.inner)
    if isinstance(named, Path) and not named.is_file():
        raise UserError(f"expected --root to name existing files, got {str(named)!r}")
    return named


def beside(where: Path | Url) -> Path | StorePath | None:
    """The folder that a file or folder lies in, with what lies directly in it; None where that cannot be listed."""
    if isinstance(where, Path):
        return where.parent
    from attnlab.stores.remote import open_folder

    try:
        return StorePath(open_folder(where.above(), "--root", 1))
    except UserError:  # such as where only the folder below may be read
        return None
