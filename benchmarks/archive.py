"""A folder in files small enough to be carried: a tar cut into pieces, written anew whole before the old one goes."""

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Collection
from pathlib import Path

from attnlab.errors import UserError
from attnlab.files import write_whole

PIECE = 15 * 2**20  # bytes of a piece
HELD = ".packed"  # in the folder: the hash of the pieces that it came from or went into
#: trainings-HASH-1-of-4.part
NAME = re.compile(r"trainings-(?P<hash>[0-9a-f]{12})-(?P<number>\d+)-of-(?P<count>\d+)\.part")


def pack(out: Path, work: Path, leave: Collection[Path] = ()) -> None:
    """Write the folder `work` as pieces into `out`, in place of those that are there.

    Args:
        out: Where the pieces go.
        work: What they hold.
        leave: Files in it that stay behind.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(work.rglob("*")):
            if path.is_file() and path.name != HELD and path not in leave:
                archive.add(path, str(path.relative_to(work)))
    whole = content.getvalue()
    before = [path for path in out.iterdir() if NAME.fullmatch(path.name)]
    digest = hashlib.sha256(whole).hexdigest()[:12]
    pieces = [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]
    names = [f"trainings-{digest}-{number}-of-{len(pieces)}.part" for number in range(1, len(pieces) + 1)]
    for name, piece in zip(names, pieces, strict=True):
        write_whole(out / name, piece)
    write_whole(work / HELD, digest.encode())
    for path in before:
        if path.name not in names:
            path.unlink()


def unpack(out: Path, work: Path) -> None:
    """Bring back what `pack` wrote, unless `work` goes on from it already.

    Raises:
        UserError: If pieces are missing or damaged.
    """
    sets: dict[tuple[str, int], dict[int, Path]] = {}
    for path in out.iterdir():
        if found := NAME.fullmatch(path.name):
            sets.setdefault((found["hash"], int(found["count"])), {})[int(found["number"])] = path
    if not sets:
        return
    for (digest, count), pieces in sets.items():
        if len(pieces) < count:
            continue
        whole = b"".join(pieces[number].read_bytes() for number in range(1, count + 1))
        if hashlib.sha256(whole).hexdigest()[:12] == digest:
            if (work / HELD).exists() and (work / HELD).read_text() == digest:
                return
            shutil.rmtree(work, ignore_errors=True)
            with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
                archive.extractall(work, filter="data")
            write_whole(work / HELD, digest.encode())
            return
    raise UserError(f"expected all pieces of trainings-*.part in {out}, got a part of them or damaged ones")
