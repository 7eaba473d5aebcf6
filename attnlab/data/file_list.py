"""Files below a folder, wherever it lies."""

import os
from collections.abc import Iterator
from pathlib import Path

from attnlab.errors import UserError
from attnlab.stores import StorePath


def list_files(folder: Path | StorePath, *, links: bool = False) -> Iterator[str]:
    """Paths of all files below the folder, relative to it, with slashes, in no order.

    With `links` below linked folders too, and a folder that cannot be read is a UserError; else it is passed over.
    """
    if isinstance(folder, StorePath):
        yield from folder.files()
        return
    for here, folders, names in os.walk(folder, onerror=_refuse if links else None, followlinks=links):
        folders[:] = [name for name in folders if not _leads_back(here, name)] if links else folders
        below = Path(here).relative_to(folder).as_posix()
        yield from names if below == "." else (f"{below}/{name}" for name in names)


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename}: {error.strerror}")


def _leads_back(here: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in, or that the links on the way to it lead through."""
    path = os.path.join(here, name)
    if not os.path.islink(path):
        return False
    target = Path(path).resolve()
    return any(above.resolve().is_relative_to(target) for above in (Path(here), *Path(here).parents))
