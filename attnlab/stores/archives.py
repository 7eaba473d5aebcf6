"""Zip and tar archives, read in place by the ranges of their members, which are listed once."""

import bz2
import posixpath
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, cast

from attnlab.errors import UserError
from attnlab.stores.paths import Damaged, Listing, StorePath
from attnlab.stores.ranges import Bytes, GzipBytes, RangeFile
from attnlab.words import counted

#: what reading a damaged archive raises, of the readers of Python
FAULTS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
HEADER = struct.Struct("<4s5H3I2H")  # of a member of a zip archive
SLACK = 512  # bytes that its header's extra fields seldom go beyond
ENCRYPTED = 1


class Member(NamedTuple):
    """Where an archive has a file."""

    start: int  # of a tar: of the content; of a zip: of the member's header
    packed: int  # bytes in the archive
    size: int
    method: int = -1  # how a zip packs it; -1 in a tar
    check: int = 0  # CRC-32
    flags: int = 0


@dataclass(frozen=True, eq=False)
class Archive:
    """Files of an archive."""

    source: Bytes
    members: dict[str, Member] = field(repr=False)

    @property
    def shown(self) -> str:
        """Path or URL of the archive."""
        return self.source.shown

    @cached_property
    def listing(self) -> Listing:
        """Names of its files, in the archive's order."""
        return Listing(iter(self.members))

    def is_file(self, name: str) -> bool:
        """Whether it has that file."""
        return name in self.members

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked."""
        return self.members[name].size

    def read(self, name: str) -> bytes:
        """A whole file; raises Damaged where the archive does not hold it whole."""
        member = self.members[name]
        if member.method == -1:
            data = self.source.read(member.start, member.size)
        else:
            data = _content(member, self._packed(member))
            if zlib.crc32(data) != member.check:
                raise Damaged("damaged in its archive: its checksum is another one")
        if len(data) != member.size:
            raise Damaged(f"damaged in its archive: {len(data)} of {member.size} bytes are there")
        return data

    def _packed(self, member: Member) -> bytes:
        """What a zip archive holds of a member, behind the member's own header."""
        raw = self.source.read(member.start, HEADER.size + SLACK + member.packed)
        if len(raw) < HEADER.size or raw[:4] != b"PK\3\4":
            raise Damaged("damaged in its archive: no header where it should be")
        *_, name, extra = HEADER.unpack_from(raw)
        begin = HEADER.size + name + extra
        if begin + member.packed > len(raw):
            return self.source.read(member.start + begin, member.packed)
        return raw[begin : begin + member.packed]

    def above(self) -> None:
        """Nothing: what lies around an archive is not part of it."""


def _content(member: Member, packed: bytes) -> bytes:
    """A zip archive's member unpacked, never to more than its size says."""
    if member.flags & ENCRYPTED:
        raise Damaged("encrypted in its archive; unpack it, or make the archive again without a password")
    if member.method == zipfile.ZIP_STORED:
        return packed
    makers = {zipfile.ZIP_DEFLATED: lambda: zlib.decompressobj(-15), zipfile.ZIP_BZIP2: bz2.BZ2Decompressor}
    if member.method not in makers:
        raise Damaged(f"packed by method {member.method}; make the archive again with the usual one (deflate)")
    try:
        return cast(bytes, makers[member.method]().decompress(packed, member.size + 1))  # type: ignore[attr-defined]
    except (zlib.error, OSError, EOFError, ValueError) as error:
        raise Damaged(f"damaged in its archive: {error}") from None


def open_archive(source: Bytes) -> StorePath:
    """The top of an archive, whose first bytes say of which kind it is."""
    with whole(source):
        source, kind = unpacked(source)
        members = dict(_safe(source.shown, _of_zip(source) if kind == "zip" else _of_tar(source)))
    if not members:
        raise UserError(f"expected {source.shown} to hold files, got an archive of none")
    return StorePath(Archive(source, members))


def unpacked(source: Bytes) -> tuple[Bytes, str]:
    """An archive's bytes, of a tar.gz those that it unpacks to, and `zip` or `tar`, as its first bytes say."""
    first = source.read(0, 2)
    return (GzipBytes(source), "tar") if first == b"\x1f\x8b" else (source, "zip" if first == b"PK" else "tar")


@contextmanager
def whole(source: Bytes) -> Iterator[None]:
    """Turn what reading a damaged archive raises into a UserError."""
    try:
        yield
    except UserError:
        raise
    except FAULTS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"expected {source.shown} to be a whole archive of zip, tar or tar.gz, got one that cannot be read "
            f"({reason}); fetch it again"
        ) from None


def _safe(shown: str, members: Iterator[tuple[str, Member]]) -> Iterator[tuple[str, Member]]:
    """The members by their paths below the top; those that lead elsewhere are left out, which a warning says."""
    elsewhere = []
    for name, member in members:
        path = posixpath.normpath(name)
        if path.startswith(("/", "../")) or path in ("..", ".") or ".." in name.split("/"):
            elsewhere.append(name)
        else:
            yield path, member
    if elsewhere:
        warnings.warn(
            f"{shown} holds {counted(len(elsewhere), 'file')} that would lie outside of it, which attnlab ignores: "
            f"{', '.join(elsewhere[:3])}",
            stacklevel=4,
        )


def _of_zip(source: Bytes) -> Iterator[tuple[str, Member]]:
    with zipfile.ZipFile(RangeFile.buffered(source)) as archive:
        for info in archive.infolist():
            name = _name_in_zip(info)
            if not name.endswith("/"):
                yield (
                    name,
                    Member(
                        info.header_offset,
                        info.compress_size,
                        info.file_size,
                        info.compress_type,
                        info.CRC,
                        info.flag_bits,
                    ),
                )


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """A member's name: UTF-8 also where a program forgot to say so, with slashes also where Windows wrote it."""
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/") if info.create_system == 0 else name


def _of_tar(source: Bytes) -> Iterator[tuple[str, Member]]:
    for name, member, _ in scan_tar(source):
        yield name, member


def scan_tar(
    source: Bytes, wanted: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, Member, bytes | None]]:
    """Name and place of each file of a tar archive in its order, and the content of those wanted; links are followed.

    Raises:
        tarfile.TarError: If the archive ends early, or is none.
    """
    file = RangeFile.buffered(source)
    places: dict[str, Member] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else each header is kept
            if info.isreg() and not info.issparse():
                member = Member(info.offset_data, info.size, info.size)
            elif info.islnk() or info.issym():
                above = posixpath.dirname(info.name) if info.issym() else ""
                target = places.get(posixpath.normpath(posixpath.join(above, info.linkname)))
                if target is None:
                    continue
                member = target
            else:
                continue
            places[posixpath.normpath(info.name)] = member
            content = None
            if wanted(info.name):
                file.seek(member.start)
                content = file.read(member.size)
            yield info.name, member, content
        file.seek(archive.offset)
        rest = file.read(tarfile.BLOCKSIZE)
    if rest.strip(b"\0") or 0 < len(rest) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"no header at byte {archive.offset}, where the next file should begin")
    if not rest:
        warnings.warn(
            f"{source.shown} has no mark of its end: it may have been cut short between two files", stacklevel=2
        )
