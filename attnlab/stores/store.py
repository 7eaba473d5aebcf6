"""What is known of a store: where it is, of what kind, and its files, listed once."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.errors import UserError
from attnlab.stores.location import Url


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
