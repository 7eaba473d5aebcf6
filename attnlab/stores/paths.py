"""Paths in a store: a list of files that is made once, and the methods of `pathlib.Path` that readers use."""

import errno
import io
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol


class Stat(NamedTuple):
    """What is known of a file."""

    st_size: int


class Store(Protocol):
    """Files by their names, paths with slashes below the store's top."""

    @property
    def shown(self) -> str:
        """What it is called in messages; credentials are left out."""

    @property
    def listing(self) -> "Listing":
        """Its files and folders."""

    def is_file(self, name: str) -> bool:
        """Whether it has that file."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """A whole file; raises OSError where the file is damaged, UserError where the store cannot be read."""

    def above(self) -> "StorePath | None":
        """The folder that it lies in, where that can be read."""


class Listing:
    """Names of files, in the store's order, and the folders that they make."""

    def __init__(self, names: Iterator[str]) -> None:
        self.names = dict.fromkeys(names)

    @cached_property
    def folders(self) -> dict[str, dict[str, None]]:
        """Folder -> names in it."""
        folders: dict[str, dict[str, None]] = {"": {}}
        for name in self.names:
            path = name
            while path:
                above, _, last = path.rpartition("/")
                known = above in folders
                folders.setdefault(above, {})[last] = None
                if known:
                    break
                path = above
        return folders


@dataclass(frozen=True, eq=False)
class StorePath:
    """A file or folder of a store; as far as it goes, it behaves as a `pathlib.Path` does."""

    store: Store
    inner: str = ""  # below the store's top, "" for the top itself

    def __str__(self) -> str:
        """How messages call it."""
        return f"{self.store.shown.rstrip('/')}/{self.inner}" if self.inner else self.store.shown

    def __repr__(self) -> str:
        """The same."""
        return str(self)

    def __eq__(self, other: object) -> bool:
        """Whether both are one file of one store."""
        return isinstance(other, StorePath) and (self.store, self.inner) == (other.store, other.inner)

    def __hash__(self) -> int:
        """Of its name."""
        return hash(self.inner)

    def __lt__(self, other: "StorePath") -> bool:
        """Order folder by folder, as paths on a disk are sorted."""
        return self.parts < other.parts

    def __truediv__(self, name: "str | PurePosixPath") -> "StorePath":
        """What lies below, or beside by `..`."""
        path = posixpath.normpath(posixpath.join(self.inner, name))
        return StorePath(self.store, "" if path == "." else path)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders that it lies in, below the store's top, and its own."""
        return tuple(self.inner.split("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.inner or self.store.shown).name

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
        """The folder that it lies in; of the store's top what lies above, where that can be read, else itself."""
        return StorePath(self.store, posixpath.dirname(self.inner)) if self.inner else self.store.above() or self

    def relative_to(self, other: "StorePath") -> PurePosixPath:
        """The path below another, for which ValueError is raised if it is not below."""
        return PurePosixPath(self.inner).relative_to(other.inner)

    def resolve(self) -> "StorePath":
        """Itself."""
        return self

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.store.is_file(self.inner)

    def is_dir(self) -> bool:
        """Whether it is a folder that holds files."""
        return self.inner in self.store.listing.folders

    def exists(self) -> bool:
        """Whether it is either."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator["StorePath"]:
        """What lies in the folder."""
        return (self / name for name in self.store.listing.folders.get(self.inner, ()))

    def files(self) -> Iterator[str]:
        """Paths of all files below the folder, relative to it."""
        start = f"{self.inner}/" if self.inner else ""
        return (name[len(start) :] for name in self.store.listing.names if name.startswith(start))

    def glob(self, pattern: str) -> Iterator["StorePath"]:
        """Files as many folders below as the pattern has slashes, whose parts fit its parts."""
        wanted = pattern.split("/")
        for name in self.files():
            parts = name.split("/")
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                yield self / name

    def rglob(self, pattern: str) -> Iterator["StorePath"]:
        """Files in whatever folder below, whose names fit the pattern."""
        return (self / name for name in self.files() if fnmatchcase(posixpath.basename(name), pattern))

    def stat(self) -> Stat:
        """Size of a file, as of `Path.stat`; raises FileNotFoundError."""
        if not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return Stat(self.store.size(self.inner))

    def read_bytes(self) -> bytes:
        """The file's content."""
        if not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return self.store.read(self.inner)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The file's content, as an open file."""
        if mode != "rb":
            raise ValueError(f"expected mode 'rb', got {mode!r}: what lies in a store is only read")
        return io.BytesIO(self.read_bytes())


class Damaged(OSError):  # noqa: N818 - named after what is the matter
    """A file that is there and whose bytes are not what they should be."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)

    def __reduce__(self) -> tuple[type["Damaged"], tuple[str]]:
        """Let it cross from a worker process."""
        return Damaged, (str(self.strerror),)
