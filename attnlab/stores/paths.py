"""Paths in a store: a list of files that is made once, and the methods of `pathlib.Path` that readers use."""

import errno
import io
import os
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from attnlab.errors import UserError
from attnlab.stores.location import Url

Answer = TypeVar("Answer")


class StoreLost(UserError):  # noqa: N818 - named after what happened
    """A store that answered before cannot be read any more."""


class Member(NamedTuple):
    """Where a store has a file, and its bytes, unpacked."""

    at: Any  # in a tar the place of its first byte; else what the store calls it
    size: int


@dataclass(frozen=True, eq=False)
class Store:
    """Files under a URL or in an archive; no open file is kept in it, so it may be copied to other processes."""

    where: Path | Url
    kind: str  # folder, zip, tar, tar.gz
    members: dict[str, Member] = field(repr=False)  # by their paths below the top, in the store's order

    @cached_property
    def folders(self) -> dict[str, dict[str, None]]:
        """Folder -> names in it."""
        folders: dict[str, dict[str, None]] = {"": {}}
        for name in self.members:
            path, known = name, False
            while path and not known:
                above, _, last = path.rpartition("/")
                known = above in folders
                folders.setdefault(above, {})[last] = None
                path = above
        return folders


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
        from attnlab.stores.remote import beside

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
