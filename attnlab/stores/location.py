"""What a user writes for a root: a path or a URL, and how it is shown and recorded."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from attnlab.errors import UserError, without_secrets

#: endings of the names of archives
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
#: what stands for several names, as in a shell
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}/]*,[^{}/]*)\}")
MOST = 100_000  # files that a pattern may stand for
#: protocols whose URLs may hold a user name and a password
SIGNED = ("http", "https", "ftp", "sftp", "ssh", "smb", "webhdfs", "dav", "davs")


@dataclass(frozen=True, repr=False)
class Url:
    """A URL of fsspec, which may be chained; shown without user name, password and query."""

    text: str

    def __str__(self) -> str:
        return without_secrets(self.text)

    __repr__ = __str__

    def below(self, name: str) -> "Url":
        """URL of what lies below."""
        first, chained, rest = self.text.partition("::")
        return Url(f"{first.rstrip('/')}/{name}{chained}{rest}")

    def above(self) -> "Url":
        """URL of the folder that it lies in."""
        first, chained, rest = self.text.rstrip("/").partition("::")
        return Url(f"{first.rpartition('/')[0]}{chained}{rest}")

    def resolve(self) -> "Url":
        """The same URL; a path on this machine behind a chain is made absolute."""
        first, chained, last = self.text.rpartition("::")
        return Url(f"{first}::{os.path.abspath(last)}") if chained and "://" not in last else self


def parse_root(text: str) -> Path | Url:
    """A path, or a URL, of which credentials are used and never recorded; a warning says so. `file://` is a path."""
    if "://" not in text:
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme in ("file", "local"):
        return Path(rest)
    url = Url(text)
    last = text.rpartition("::")[2].partition("://")[0]
    if str(url) != text and last not in SIGNED:
        raise UserError(
            f"expected {url} without user name and password, which no URL of {last} holds; put them into the "
            "environment, as docs/how-to/read-from-a-store.md shows"
        )
    if str(url) != text:
        warnings.warn(
            f"the URL of {url} holds a user name, a password or a query: it is used as given, but neither printed nor "
            "recorded; keep credentials in the environment instead",
            stacklevel=2,
        )
    return url


def is_pattern(root: object) -> bool:
    """Whether it stands for several files, as `{0000..0009}.tar` does, and is the name of none."""
    return bool(BRACES.search(str(root))) and not (isinstance(root, Path) and root.exists())


def expand(text: str) -> list[str]:
    """The texts that `{0000..0009}` and `{a,b}` in one stand for, as in a shell."""
    found = BRACES.search(text)
    if not found:
        return [text]
    first, last, names = found.groups()
    if names is None and abs(int(last) - int(first)) >= MOST:
        raise UserError(f"expected a pattern of at most {MOST} files, got {found[0]}")
    numbers = range(int(first), int(last) + 1) if names is None else ()
    inner = names.split(",") if names is not None else [f"{number:0{len(first)}d}" for number in numbers]
    before, behind = text[: found.start()], text[found.end() :]
    return [f"{before}{name}{rest}" for name in inner for rest in expand(behind)]


def is_archive(name: str) -> bool:
    """Whether a name ends as an archive's does that can be read in place."""
    return name.lower().endswith(ARCHIVES)
