"""Archives: how a tar ends, with its mark, cut short behind a file, or with no header; folders inside of one."""

import io
import tarfile
import zipfile

import pytest
from common import error_of, gradient

from attnlab.data import load_dataset
from attnlab.stores.remote import scan_tar

BLOCK = tarfile.BLOCKSIZE


def tar(*names: str) -> bytes:
    """A tar of these files, each of one block, without the mark of its end."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 3
                archive.addfile(info, io.BytesIO(b"abc"))
        return file.getvalue()[: 2 * BLOCK * len(names)]


def scanned(path) -> list[tuple[str, int, bytes]]:
    return [(name, member.at, content) for name, member, content in scan_tar(path, "tar", lambda name: name == "b")]


WHOLE = [("a", BLOCK, b""), ("b", 3 * BLOCK, b"abc")]


def test_a_tar_with_the_mark_of_its_end_is_read_to_it(tmp_path, recwarn):
    path = tmp_path / "x.tar"
    path.write_bytes(tar("a", "b") + bytes(2 * BLOCK))
    assert (scanned(path), list(recwarn)) == (WHOLE, [])


def test_a_tar_that_ends_behind_a_file_is_read_and_told_of(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(tar("a", "b"))
    with pytest.warns(UserWarning, match=r"x\.tar has no mark of its end: it may have been cut short"):
        assert scanned(path) == WHOLE


@pytest.mark.parametrize("end", [b"x" * BLOCK, bytes(100)], ids=["no header", "a part of a block"])
def test_a_tar_that_goes_on_with_no_header_is_damaged_where_that_begins(tmp_path, end):
    path = tmp_path / "x.tar"
    path.write_bytes(tar("a", "b") + end)
    with pytest.raises(tarfile.ReadError, match=f"no header at byte {4 * BLOCK}, where the next file should begin"):
        scanned(path)


def test_a_folder_inside_an_archive_is_named_before_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("inner/boxes.csv", "image,label,x0,y0,x1,y1\na.png,1,1,2,20,30\n")
        file = io.BytesIO()
        gradient().save(file, "png")
        archive.writestr("inner/a.png", file.getvalue())
    for inner in ("inner", "/inner/", ""):  # without a name the only folder
        images = load_dataset("folder", f"zip://{inner}::{tmp_path / 'x.zip'}")
        assert (list(images.image_ids), images.label_of(0)) == (["a.png"], 1)
    message = f"expected --root to be an existing folder, but {tmp_path / 'x.zip'} holds no none"
    assert error_of(load_dataset, "folder", f"zip://none::{tmp_path / 'x.zip'}") == message
