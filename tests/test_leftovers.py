"""What killed processes leave of files that were not whole: it goes, and nothing else does."""

import errno
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.files import ATTEMPTS, create_whole, remove_leftovers, write_whole

#: a process that is killed amid its write of the file whose path it is given
KILLED = """
import os, signal, sys
from pathlib import Path
from attnlab.files import write_whole

os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"never whole")
"""


def test_the_next_writer_of_a_file_removes_what_a_killed_one_left_of_it(tmp_path):
    path = tmp_path / "figure1.png"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    assert [left.suffix for left in tmp_path.iterdir()] == [".tmp"]
    write_whole(path, b"whole")
    assert {left.name: left.read_bytes() for left in tmp_path.iterdir()} == {"figure1.png": b"whole"}


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        (f".a.png.{platform.node()[:40]}.{2**22 + 7}.0a1b2c3d.tmp", False),
        (f".a.png.{platform.node()[:40]}.{os.getpid()}.0a1b2c3d.tmp", True),
        (f".a.png.elsewhere.{2**22 + 7}.0a1b2c3d.tmp", True),
        (f"a.png.{platform.node()[:40]}.{2**22 + 7}.0a1b2c3d.tmp", True),
        (f".a.png.{platform.node()[:40]}.{2**22 + 7}.mine.tmp", True),
    ],
    ids=["dead", "living", "another machine's", "a user's", "another name"],
)
def test_leftovers_are_those_of_dead_processes_of_this_machine(tmp_path, name, stays):
    below = tmp_path / "images" / "n01440764"
    below.mkdir(parents=True)
    (below / name).touch()
    remove_leftovers(tmp_path)
    assert (below / name).exists() == stays


def test_a_file_that_cannot_be_written_is_named_though_nothing_can_be_removed_either(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", "a name that nobody knows")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="Read-only file system") as error:
        write_whole(tmp_path / "run.json", b"content")
    assert error.value.filename == str(tmp_path / "run.json")


def test_a_folder_that_goes_at_each_write_is_an_error_in_the_end(tmp_path, monkeypatch):
    tried = []

    def gone(written: Path, path: Path) -> None:
        tried.append(written)
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "replace", gone)
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "run.json", b"content")
    assert len(tried) == ATTEMPTS
    assert list(tmp_path.iterdir()) == []


def test_only_where_links_are_not_known_a_file_is_made_without_one(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        create_whole(tmp_path / "a", b"content")
    assert list(tmp_path.iterdir()) == []
    number = errno.EPERM
    assert create_whole(tmp_path / "a", b"content")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"content")]
