"""What lies under a URL, by fsspec: the one place that calls it."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from attnlab.errors import UserError, without_secrets
from attnlab.failures import one_line
from attnlab.stores.location import Url
from attnlab.stores.paths import Listing, StorePath

PATIENCE = 30.0  # seconds that a store may take for its first answer
TRIES = 3  # of a read, since networks fail now and then
#: protocol -> attnlab's extra that installs what reads it
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf", "http": "http", "https": "http"}
Answer = TypeVar("Answer")


class StoreLost(UserError):  # noqa: N818 - named after what happened
    """A store that answered before cannot be read any more."""


@lru_cache(maxsize=64)
def _opened(url: str, _process: int) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(url)  # type: ignore[no-any-return]


def file_system(url: str) -> tuple[Any, str]:
    """Fsspec's file system of a URL, and the path in it; each process has its own, since none survives a fork."""
    return _opened(url, os.getpid())


def ask(url: str, question: Callable[[Any, str], Answer], what: str = "--root") -> Answer:
    """Answer of a file system about a path that nothing is known of yet; UserError says in a line why there is none."""
    shown, answers = without_secrets(url), list[Answer | Exception]()

    def work() -> None:
        try:
            answers.append(question(*file_system(url)))
        except Exception as error:  # each store's client has errors of its own
            answers.append(error)

    thread = threading.Thread(target=work, daemon=True)  # a client may wait longer than a user does
    thread.start()
    thread.join(PATIENCE)
    if not answers:
        raise UserError(f"{shown} did not answer within {PATIENCE:.0f} s; check the address, the network and the proxy")
    answer = answers[0]
    if isinstance(answer, Exception):
        raise UserError(_why(answer, url, shown, what)) from None
    return answer


def _why(error: Exception, url: str, shown: str, what: str) -> str:
    """Why a store gave no answer, in one line."""
    extra = next(
        (EXTRAS[part.partition("://")[0]] for part in url.split("::") if part.partition("://")[0] in EXTRAS), ""
    )
    reason = without_secrets(one_line(error))
    if isinstance(error, ImportError):
        return f"reading {shown} needs a package that is not there; pip install 'attnlab[{extra}]'" if extra else reason
    if isinstance(error, FileNotFoundError | NotADirectoryError):  # some clients raise it where no server answers, too
        cause = f" ({without_secrets(one_line(error.__cause__))})" if error.__cause__ else ""
        return f"expected {what} to be an existing folder, archive or bucket, got {shown!r}{cause}"
    if isinstance(error, PermissionError) or "Credentials" in reason:
        return f"access to {shown} was refused ({reason}); see docs/how-to/read-from-a-store.md for credentials"
    if "Protocol not known" in str(error):
        return f"expected {what} to be a folder, an archive or a URL of {', '.join(sorted(EXTRAS))}, got {shown!r}"
    return f"cannot read {shown} ({reason})"


def fetch(url: str, shown: str, question: Callable[[Any, str], Answer]) -> Answer:
    """Answer about what a store has, asked again where the network fails; raises StoreLost or FileNotFoundError."""
    for attempt in range(TRIES):
        try:
            return question(*file_system(url))
        except FileNotFoundError:
            raise
        except Exception as error:  # each store's client has errors of its own
            if attempt == TRIES - 1 or isinstance(error, PermissionError):
                reason = without_secrets(one_line(error))
                raise StoreLost(f"cannot read {shown} any more ({reason}); repeat the command to resume") from None
        time.sleep(2.0**attempt)
    raise AssertionError


@dataclass(frozen=True, eq=False)
class RemoteStore:
    """Files under a URL; `listed` says whether they are listed once, or each is asked for."""

    url: Url
    listed: bool = True
    _sizes: dict[str, int | None] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The URL without credentials."""
        return str(self.url)

    @cached_property
    def listing(self) -> Listing:
        """Names of its files."""
        return Listing(iter(self._sizes))

    def _list(self) -> None:
        """Learn the names and sizes of all files."""
        _, path = file_system(self.url.text)
        start = f"{path.strip('/')}/"
        found = fetch(self.url.text, self.shown, lambda files, path: files.find(path, detail=True))
        for full, info in found.items():
            name = full.strip("/")
            if name.startswith(start) and info.get("type") == "file" and not full.endswith("/"):
                self._sizes[name[len(start) :]] = info.get("size")

    def where(self, name: str) -> str:
        """URL of a file, with credentials."""
        first, chained, rest = self.url.text.partition("::")
        return f"{first.rstrip('/')}/{name}{chained}{rest}"

    def _path(self, path: str, name: str) -> str:
        return f"{path.rstrip('/')}/{name}"

    def is_file(self, name: str) -> bool:
        """Whether it has that file."""
        if self.listed:
            return name in self._sizes
        try:
            return ask(self.url.text, lambda files, path: bool(files.isfile(self._path(path, name))))
        except UserError:  # such as where only the folder below may be read
            return False

    def size(self, name: str) -> int:
        """Bytes of a file, asked for where the list did not say it."""
        known = self._sizes.get(name)
        if known is None:
            known = fetch(self.url.text, self.shown, lambda files, path: int(files.size(self._path(path, name)) or 0))
            self._sizes[name] = known if self.listed else None
        return known

    def read(self, name: str) -> bytes:
        """A whole file."""
        shown = f"{self.shown.rstrip('/')}/{name}"
        return fetch(self.url.text, shown, lambda files, path: bytes(files.cat_file(self._path(path, name))))

    def above(self) -> StorePath | None:
        """The folder that the URL lies in."""
        first, chained, rest = self.url.text.rstrip("/").partition("::")
        scheme, _, path = first.partition("://")
        folder = path.rpartition("/")[0]
        return StorePath(RemoteStore(Url(f"{scheme}://{folder}{chained}{rest}"), listed=False)) if folder else None


def open_url(url: Url, what: str) -> StorePath:
    """The top of what lies under a URL."""
    ask(url.text, lambda files, path: files.info(path), what)
    store = RemoteStore(url)
    store._list()
    if not store._sizes:
        raise UserError(f"expected {what} to hold files, got none in {url}")
    return StorePath(store)


def each(function: Callable[[Any], Answer], paths: list[Any]) -> list[Answer]:
    """The function of every path; of a store's files many at once, since each waits for an answer."""
    if not (paths and isinstance(paths[0], StorePath)):
        return [function(path) for path in paths]
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(function, paths))
