"""Ranges of bytes of one file, on this machine, in a store, or within a gzip file; and an open file made of them."""

import io
import os
import threading
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from attnlab.errors import UserError, without_secrets
from attnlab.stores.location import Url
from attnlab.stores.paths import Damaged, StorePath
from attnlab.stores.remote import RemoteStore, ask, fetch

Mark = tuple[int, int, Any]  # unpacked and packed bytes before it, and the unpacker there


class Bytes(Protocol):
    """A file of which ranges can be read, at once by several threads and processes."""

    @property
    def shown(self) -> str:
        """What it is called in messages."""

    @property
    def block(self) -> int:
        """Bytes that are worth reading at a time."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def read(self, start: int, length: int) -> bytes:
        """That range, shorter at the file's end."""

    def beside(self) -> Path | StorePath | None:
        """The folder that it lies in."""


@dataclass(frozen=True)
class LocalBytes:
    """A file on this machine."""

    path: Path
    block: int = 1 << 13

    @property
    def shown(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Its length."""
        return self.path.stat().st_size

    def read(self, start: int, length: int) -> bytes:
        """A range; the file is opened each time, which takes less than a thousandth of decoding an image."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            parts = []
            while length > 0 and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def beside(self) -> Path:
        """Its folder."""
        return self.path.parent


@dataclass(frozen=True)
class RemoteBytes:
    """A file under a URL."""

    url: str = field(repr=False)
    block: int = 1 << 16

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return without_secrets(self.url)

    @cached_property
    def size(self) -> int:
        """Its length."""
        size = ask(self.url, lambda files, path: files.info(path)["size"], "--root")
        if size is None:
            raise UserError(f"expected {self.shown} to have a size, got none from its server; download it first")
        return int(size)

    def read(self, start: int, length: int) -> bytes:
        """A range, by one request."""
        end = min(start + length, self.size)
        if end <= start:
            return b""
        data: bytes = fetch(self.url, self.shown, lambda files, path: files.cat_file(path, start=start, end=end))
        if len(data) > end - start:
            raise UserError(f"the server of {self.shown} sends whole files alone, no ranges of them; download it first")
        return data

    def beside(self) -> StorePath | None:
        """Its folder."""
        return RemoteStore(Url(self.url)).above()


class GzipBytes:
    """What a gzip file unpacks to, of which ranges are read by unpacking on from the nearest of many marks.

    A mark is a copy of the unpacker, about 40 KB; there are at most MARKS, so an image of a file of some GB takes a few
    milliseconds of unpacking. They are made as the file is first gone through; another process makes its own.
    """

    MARKS = 1024
    STEP = 1 << 16  # bytes of the packed file that are unpacked at a time

    def __init__(self, packed: Bytes) -> None:
        self.packed, self.shown, self.block = packed, packed.shown, 1 << 16
        self._marks: list[Mark] = [(0, 0, zlib.decompressobj(31))]
        self._now: Mark | None = None
        self._spacing = 1 << 20
        self._chunk = (0, b"")
        self._process, self._lock = os.getpid(), threading.Lock()

    def __getstate__(self) -> Any:
        """What another process needs: marks cannot be copied."""
        return self.packed

    def __setstate__(self, packed: Any) -> None:
        """Start without marks."""
        self.__init__(packed)  # type: ignore[misc]

    @property
    def size(self) -> int:
        """Not known before all is unpacked."""
        raise io.UnsupportedOperation("the length of what a gzip file unpacks to")

    def beside(self) -> Path | StorePath | None:
        """The packed file's folder."""
        return self.packed.beside()

    def read(self, start: int, length: int) -> bytes:
        """A range; raises Damaged where the file cannot be unpacked so far."""
        if self._process != os.getpid():  # marks are plain memory and survive a fork; a lock may not
            self._now, self._process, self._lock = None, os.getpid(), threading.Lock()
        with self._lock:
            return self._read(start, start + length)

    def _read(self, start: int, end: int) -> bytes:
        at, inside, unpacker = max((mark for mark in self._marks if mark[0] <= start), key=itemgetter(0))
        if self._now and at <= self._now[0] <= start:
            at, inside, unpacker = self._now
        else:
            unpacker = unpacker.copy()
        parts = []
        while at < end:
            packed = self._packed(inside)
            if unpacker.eof:  # of one of several members of a gzip file
                behind = packed.lstrip(b"\0")  # padding
                inside += len(packed) - len(behind)
                if not packed:
                    break
                if not behind:
                    continue
                packed, unpacker = behind, zlib.decompressobj(31)
            if not packed:
                raise Damaged(f"{self.shown} ends too early")
            try:
                data = unpacker.decompress(packed, min(1 << 20, end - at))
            except zlib.error as error:
                self._now = None
                raise Damaged(f"{self.shown} cannot be unpacked ({error})") from None
            inside += len(packed) - len(unpacker.unconsumed_tail) - len(unpacker.unused_data)
            if at + len(data) > start:
                parts.append(data[max(0, start - at) :])
            at += len(data)
            self._now = (at, inside, unpacker)
            if at >= self._marks[-1][0] + self._spacing:
                self._marks.append((at, inside, unpacker.copy()))
            if len(self._marks) > self.MARKS:
                self._marks, self._spacing = self._marks[::2], self._spacing * 2
        return b"".join(parts)

    def _packed(self, start: int) -> bytes:
        """Some of the packed file from there on, of which several steps' worth is read at once."""
        known, chunk = self._chunk
        if not known <= start < known + len(chunk):
            known, chunk = self._chunk = start, self.packed.read(start, max(self.STEP, 16 * self.packed.block))
        return chunk[start - known : start - known + self.STEP]


class RangeFile(io.RawIOBase):
    """An open file of ranges, for readers of archives; behind a buffer, so that a block is read at a time."""

    def __init__(self, source: Bytes) -> None:
        self.source, self.position = source, 0

    @classmethod
    def buffered(cls, source: Bytes) -> io.BufferedReader:
        """One with a buffer of the source's block."""
        return io.BufferedReader(cls(source), source.block)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position}.get(whence)
        self.position = offset + (self.source.size if start is None else start)
        return self.position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes."""
        data = self.source.read(self.position, len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
