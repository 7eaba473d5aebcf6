"""Where files lie that are only read: a folder, an archive, or a URL of fsspec; no torch, and fsspec where it is used.

A folder is a `pathlib.Path`, as everywhere. Of an archive or a URL the files are listed once, and a `StorePath` stands
for one of them: it has the methods of a `Path` that readers of data sets use. No connection or open file is kept in
either, so both may be copied to worker processes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnlab.errors import UserError
from attnlab.stores.location import ARCHIVES, Url, expand, is_archive, is_pattern, parse_root
from attnlab.stores.paths import StorePath, each
from attnlab.stores.store import StoreLost

__all__ = [
    "ARCHIVES",
    "Root",
    "StoreLost",
    "StorePath",
    "Url",
    "each",
    "expand",
    "is_archive",
    "is_pattern",
    "parse_root",
]

#: what a user names, and what was opened
Root = Path | Url | StorePath

#: names of folders that readers look for: an archive that holds one of them alone is no folder in a wrapper
KNOWN = frozenset(
    ["train", "val", "test", "images", "MNIST", "raw", "ILSVRC", "Data", "cifar-10-batches-bin", "cifar-10-batches-py"]
)
#: files and folders of a run, or of a sweep, that its tables, figures and page are made of
OF_RUNS = frozenset(["run.json", "skipped.csv", "checks.csv", "sweep.csv", "records", "sessions"])


def open_root(root: Root | str, what: str = "--root") -> Path | StorePath:
    """A folder, or the top of an archive or of what lies under a URL.

    Of an archive whose files all lie in one folder, that folder is the top, unless readers look for its name.

    Raises:
        UserError: If there is no such thing, it is damaged, or a store does not answer or refuses access.
    """
    root = parse_root(root) if isinstance(root, str) else root
    if isinstance(root, StorePath) or (isinstance(root, Path) and root.is_dir()):
        return root
    if isinstance(root, Url):
        return _open_url(root, what)
    if root.is_file() and is_archive(root.name):
        return _top(_archive(root, what))
    scheme, colon, rest = str(root).partition(":/")
    if colon and scheme.isalnum() and len(scheme) > 1 and not root.is_file():  # whose slashes a Path made one
        url = Url(f"{scheme}://{rest}")
        raise UserError(f"expected {what} to be an existing folder, got {url}, a URL as a Path: give it as text")
    kinds = " or archive" if is_archive(root.name) else ""
    hint = f"; a file is read if its name ends in {', '.join(ARCHIVES)}" if root.is_file() else ""
    raise UserError(f"expected {what} to be an existing folder{kinds}, got {str(root)!r}{hint}")


def _open_url(url: Url, what: str) -> Path | StorePath:
    from attnlab.stores.remote import open_folder

    first, chained, rest = url.text.partition("::")
    kind, _, inner = first.partition("://")
    if chained and kind in ("zip", "tar"):
        top = _archive(parse_root(rest), what)
        if not inner.strip("/"):
            return _top(top)
        if not (top / inner.strip("/")).is_dir():
            raise UserError(f"expected {what} to be an existing folder, but {top} holds no {inner.strip('/')}")
        return top / inner.strip("/")
    if is_archive(str(url)):
        return _top(_archive(url, what))
    if "?" in url.text and url.text.startswith("http"):
        raise UserError(f"expected a query behind the URL of an archive alone, got {url} and a query")
    return StorePath(open_folder(url, what))


def _archive(where: Path | Url, what: str) -> StorePath:
    from attnlab.stores.remote import open_archive  # which loads fsspec, and --help needs none

    if isinstance(where, Path) and not where.is_file():
        raise UserError(f"expected {what} to be an existing archive, got {str(where)!r}")
    return StorePath(open_archive(where, what))


def _top(top: StorePath) -> StorePath:
    """The folder in which all files of an archive lie; the archive itself where they lie in several, or a known one."""
    while True:
        inside = [path for path in top.iterdir() if path.name not in ("__MACOSX", ".DS_Store")]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name in KNOWN:
            return top
        top = inside[0]


def is_elsewhere(run: Root) -> bool:
    """Whether a run lies in an archive or under a URL, where it is only read; `.pth.tar` is the name of weights."""
    return not isinstance(run, Path) or (is_archive(run.name) and not run.name.endswith(".pth.tar") and run.is_file())


@contextmanager
def as_folder(run: Root | str) -> Iterator[Path]:
    """The folder of a run; of one that lies elsewhere a temporary copy of what is read of it.

    Raises:
        UserError: If there is no run, or the store cannot be read.
    """
    run = parse_root(run) if isinstance(run, str) else run
    if isinstance(run, Path) and not is_elsewhere(run):
        yield run
        return
    top = open_root(run, "the run")
    with tempfile.TemporaryDirectory(prefix="attnlab-") as place:
        folder = Path(place) / (top.name.partition(".")[0] or "run")
        if isinstance(top, StorePath):
            _copy(top, folder)
        try:
            yield folder
        except UserError as error:  # which names the copy
            raise type(error)(str(error).replace(str(folder), str(top))) from None


def _copy(top: StorePath, folder: Path) -> None:
    names = [name for name in top.files() if name.split("/")[0] in OF_RUNS and name.count("/") < 2]
    if not {"run.json", "sweep.csv"} & set(names):
        raise UserError(f"expected {top} to be a run, but it has no run.json")
    for name in ("records", "sessions"):
        (folder / name).mkdir(parents=True)
    for name, content in zip(names, each(StorePath.read_bytes, [top / name for name in names]), strict=True):
        (folder / name).write_bytes(content)


def check_out(run: Root, out: Path | None) -> None:
    """Refuse a command that would write into a run that is only read."""
    if out is None and is_elsewhere(run):
        raise UserError(f"expected --out, a place to write to, with the run {run}, which is only read")
