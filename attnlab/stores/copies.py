"""A run that lies in an archive or under a URL, as a folder for the time in which it is read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnlab.errors import UserError
from attnlab.stores import Root, StorePath, is_archive, open_root, parse_root
from attnlab.stores.remote import each

#: files and folders of a run, or of a sweep, that its tables, figures and page are made of
READ = frozenset(["run.json", "skipped.csv", "checks.csv", "sweep.csv", "records", "sessions"])


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
        folder.mkdir()
        if isinstance(top, StorePath):
            _copy(top, folder)
        try:
            yield folder
        except UserError as error:  # which names the copy
            raise type(error)(str(error).replace(str(folder), str(top))) from None


def _copy(top: StorePath, folder: Path) -> None:
    names = [
        name for name in top.files() if (parts := name.split("/"))[0] in READ and len(parts) < 3 and ".." not in parts
    ]
    if not {"run.json", "sweep.csv"} & set(names):
        raise UserError(f"expected {top} to be a run, but it has no run.json")
    (folder / "records").mkdir()
    (folder / "sessions").mkdir()
    for name, content in zip(names, each(StorePath.read_bytes, [top / name for name in names]), strict=True):
        (folder / name).write_bytes(content)


def check_out(run: Root, out: Path | None) -> None:
    """Refuse a command that would write into a run that is only read."""
    if out is None and is_elsewhere(run):
        raise UserError(f"expected --out, a place to write to, with the run {run}, which is only read")
