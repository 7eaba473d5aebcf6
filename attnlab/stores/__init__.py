"""Where files lie that are only read: a folder, an archive, or a URL of fsspec; no torch, and fsspec where it is used.

A folder is a `pathlib.Path`, as everywhere. Of an archive or a URL the files are listed once, and a `StorePath` stands
for one of them: it has the methods of a `Path` that readers of data sets use. No connection or open file is kept in
either, so both may be copied to worker processes.
"""

from pathlib import Path

from attnlab.errors import UserError
from attnlab.stores.location import ARCHIVES, Url, expand, is_archive, is_pattern, parse_root
from attnlab.stores.paths import StorePath
from attnlab.stores.ranges import Bytes, LocalBytes, RemoteBytes
from attnlab.stores.remote import RemoteStore, StoreLost, open_url

__all__ = [
    "Root",
    "StoreLost",
    "StorePath",
    "Url",
    "bytes_of",
    "expand",
    "is_archive",
    "is_pattern",
    "open_root",
    "parse_root",
]

#: what a user names, and what was opened
Root = Path | Url | StorePath

#: names of folders that readers look for: an archive that holds one of them alone is no folder in a wrapper
KNOWN = frozenset(
    ["train", "val", "test", "images", "MNIST", "raw", "ILSVRC", "Data", "cifar-10-batches-bin", "cifar-10-batches-py"]
)


def open_root(root: Root | str, what: str = "--root") -> Path | StorePath:
    """A folder, or the top of an archive or of what lies under a URL.

    Of an archive whose files all lie in one folder, that folder is the top, unless readers look for its name.

    Raises:
        UserError: If there is no such thing, it is damaged, or a store does not answer or refuses access.
    """
    root = parse_root(root) if isinstance(root, str) else root
    if isinstance(root, StorePath):
        return root
    if isinstance(root, Url):
        return _open_url(root, what)
    if root.is_dir():
        return root
    if root.is_file() and is_archive(root.name):
        return _top(_archive(LocalBytes(root)))
    if not root.is_file() and (slipped := _url_that_was_a_path(root)):
        raise UserError(f"expected {what} to be an existing folder, got {slipped}, a URL as a Path: give it as text")
    kinds = " or archive" if is_archive(root.name) else ""
    hint = f"; a file is read if its name ends in {', '.join(ARCHIVES)}" if root.is_file() else ""
    raise UserError(f"expected {what} to be an existing folder{kinds}, got {str(root)!r}{hint}")


def bytes_of(file: Root) -> Bytes:
    """A file on this machine, under a URL, or in what is under one, of which ranges are to be read.

    Raises:
        UserError: If there is no such file, or it lies in an archive.
    """
    if isinstance(file, StorePath):
        if not isinstance(file.store, RemoteStore):
            raise UserError(f"expected an archive that lies in no other, got {file}; unpack the outer one")
        return RemoteBytes(file.store.where(file.inner))
    if isinstance(file, Path) and not file.is_file():
        raise UserError(f"expected --root to name existing files, got {str(file)!r}")
    return LocalBytes(file) if isinstance(file, Path) else RemoteBytes(file.text)


def _open_url(url: Url, what: str) -> Path | StorePath:
    first, chained, rest = url.text.partition("::")
    kind, _, inner = first.partition("://")
    if chained and kind in ("zip", "tar"):
        behind = parse_root(rest)
        if isinstance(behind, Path) and not behind.is_file():
            raise UserError(f"expected {what} to be an existing archive, got {str(behind)!r}")
        top = _archive(LocalBytes(behind) if isinstance(behind, Path) else RemoteBytes(behind.text))
        if not inner.strip("/"):
            return _top(top)
        if not (top / inner.strip("/")).is_dir():
            raise UserError(f"expected {what} to be an existing folder, but {top} holds no {inner.strip('/')}")
        return top / inner.strip("/")
    if is_archive(str(url)):
        return _top(_archive(RemoteBytes(url.text)))
    if "?" in url.text and url.text.startswith("http"):
        raise UserError(f"expected a query behind the URL of an archive alone, got {url} and a query")
    return open_url(url, what)


def _archive(source: Bytes) -> StorePath:
    """The top of an archive."""
    from attnlab.stores.archives import open_archive  # whose readers take time to import, and --help needs none

    return open_archive(source)


def _top(top: StorePath) -> StorePath:
    """The folder in which all files of an archive lie; the archive itself where they lie in several, or a known one."""
    while True:
        inside = [path for path in top.iterdir() if path.name not in ("__MACOSX", ".DS_Store")]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name in KNOWN:
            return top
        top = inside[0]


def _url_that_was_a_path(root: Path) -> str:
    """The text of a URL whose slashes a Path made one; empty where it was none."""
    scheme, colon, rest = str(root).partition(":/")
    return f"{Url(f'{scheme}://{rest}')}" if colon and scheme.isalnum() and len(scheme) > 1 else ""
