"""boxes.csv as spreadsheets and labelling tools write it: read rightly, or refused in one line."""

import codecs
import time

import pytest
import torch
from common import error_of, gradient
from PIL import Image

from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, Skipped, load_batches

ROWS = "a.png,3,1,2,30,20\nb.png,0,4.5,5,6,7\n"


def lay(root, table, *, names=None, images="ab"):
    """A folder of small images with this boxes.csv, text or bytes, and these class names."""
    for image in images:
        gradient().save(root / f"{image}.png")
    (root / "boxes.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    if names is not None:
        (root / "classes.txt").write_text("\n".join(names))
    return root


def what(root):
    """Label and boxes of each image."""
    images = load_dataset("folder", root)
    read = [images.read(index) for index in range(len(images.image_ids))]
    return {name: (one.label, one.boxes.tolist()) for name, one in zip(images.image_ids, read, strict=True)}


BOTH = {"a.png": (3, [[1, 2, 30, 20]]), "b.png": (0, [[4.5, 5, 6, 7]])}


@pytest.mark.parametrize(
    "table",
    [
        f"image,label,x0,y0,x1,y1\n{ROWS}",
        f"filename,class,xmin,ymin,xmax,ymax\n{ROWS}",
        f"Image, Label, X1, Y1, X2, Y2\n{ROWS}",
        f"path,label_index,left,top,right,bottom\n{ROWS}",
        "image;label;x0;y0;x1;y1\na.png;3;1;2;30;20\nb.png;0;4,5;5;6;7\n",  # decimal commas
        "image\tlabel\tx0\ty0\tx1\ty1\na.png\t3\t1\t2\t30\t20\nb.png\t0\t4.5\t5\t6\t7\n",
        "image,label,x0,y0,x1,y1\r\na.png,3.0,1,2,30,20\r\nb.png,0.0,4.5,5,6,7\r\n,,,,,\r\n\r\n",  # a spreadsheet's
        codecs.BOM_UTF8 + f"image,label,x0,y0,x1,y1\n{ROWS}".encode(),
        f"image,label,x0,y0,x1,y1\n{ROWS}".encode("utf-16"),
        'who,image,label,x0,y0,x1,y1\n"O, ""K""",a.png,3,1,2,30,20\n\xe9,b.png,0,4.5,5,6,7\n',
        "image,label,x0,y0,x1,y1\n.\\a.png,3,1,2,30,20\nb.png,0,4.5,5,6,7\n",
    ],
)
def test_tables_of_other_programs_give_the_same_labels_and_boxes(tmp_path, table):
    assert what(lay(tmp_path, table)) == BOTH


def test_a_table_in_windows_1252_is_read_and_reported(tmp_path):
    gradient().save(tmp_path / "é.png")
    with pytest.warns(UserWarning, match="is no UTF-8 and was read as Windows-1252"):
        found = what(lay(tmp_path, "image,label,x0,y0,x1,y1\né.png,1,1,2,3,4\n".encode("cp1252"), images=""))
    assert found == {"é.png": (1, [[1, 2, 3, 4]])}


def test_backslashes_lead_into_subfolders_unless_a_file_is_called_so(tmp_path):
    (tmp_path / "in").mkdir()
    gradient().save(tmp_path / "in" / "a.png")
    gradient().save(tmp_path / "b\\c.png")
    lay(tmp_path, "image,label,x0,y0,x1,y1\nin\\a.png,1,1,2,3,4\nb\\c.png,2,1,2,3,4\n", images="")
    assert {name: label for name, (label, _) in what(tmp_path).items()} == {"in/a.png": 1, "b\\c.png": 2}


def test_a_table_without_corners_gives_labels_and_no_boxes(tmp_path):
    images = load_dataset("folder", lay(tmp_path, "image,label\na.png,1\nb.png,0\n"))
    assert (images.has_boxes, [images.label_of(index) for index in range(2)]) == (False, [1, 0])


@pytest.mark.parametrize(
    ("labels", "names", "read"),
    [
        (["0", "2"], ["1", "2", "3"], [0, 2]),  # 0 is no name, so all are indices
        (["1", "2"], ["1", "2", "3"], None),  # both readings possible, and different
        (["1", "2"], ["0", "1", "2"], [1, 2]),  # both possible, and the same
        (["cat", "3"], ["cat", "3", "dog"], [0, 1]),
        (["1.0", "0.0"], ["cat", "dog"], [1, 0]),
    ],
)
def test_a_column_of_labels_has_one_reading(tmp_path, labels, names, read):
    rows = "".join(f"{image}.png,{label},1,2,3,4\n" for image, label in zip("ab", labels, strict=True))
    lay(tmp_path, f"image,label,x0,y0,x1,y1\n{rows}", names=names)
    if read is not None:
        assert [label for label, _ in what(tmp_path).values()] == read
        return
    message = error_of(load_dataset, "folder", tmp_path)
    assert "'1' for image a.png, which as a name in classes.txt is class 0 and as an index class 1 ('2')" in message
    assert message.endswith("head the column label_name or label_index")
    for heading, wanted in (("label_name", [0, 1]), ("label_index", [1, 2])):
        lay(tmp_path, f"image,{heading},x0,y0,x1,y1\n{rows}")
        assert [label for label, _ in what(tmp_path).values()] == wanted


def test_a_name_that_two_classes_share_is_refused_and_an_index_is_not(tmp_path):
    names = ["ant", "crane", "cat", "crane"]
    lay(tmp_path, "image,label,x0,y0,x1,y1\na.png,cat,1,2,3,4\nb.png,crane,1,2,3,4\n", names=names)
    assert "got 'crane', which classes.txt lists 2 times" in error_of(load_dataset, "folder", tmp_path)
    lay(tmp_path, "image,label,x0,y0,x1,y1\na.png,3,1,2,3,4\nb.png,1,1,2,3,4\n")
    assert [label for label, _ in what(tmp_path).values()] == [3, 1]


HEAD = "image,label,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEAD + "a.png,0,.1,.2,.9,1\nb.png,0,0,0,.5,.5\n", "got coordinates from 0 to 1 alone in "),
        (HEAD + "../a.png,0,1,2,3,4\n", "got '../a.png' in line 2 of "),
        (HEAD + "/etc/a.png,0,1,2,3,4\n", "got '/etc/a.png' in line 2 of "),
        (HEAD + "C:\\x\\a.png,0,1,2,3,4\n", "got 'C:\\\\x\\\\a.png' in line 2 of "),
        (HEAD + "x\\..\\..\\a.png,0,1,2,3,4\n", "expected images below the folder of boxes.csv"),
        (HEAD + f"a.png,{2**63},1,2,3,4\n", f"got '{2**63}' for image a.png"),
        (HEAD + f"a.png,{'9' * 5000},1,2,3,4\n", f"got '{'9' * 40}...' for image a.png"),
        (HEAD + "a.png,-1,1,2,3,4\n", "got '-1' for image a.png"),
        (HEAD + "a.png,1.5,1,2,3,4\n", "got '1.5' for image a.png"),
        (HEAD + "a.png,0,1,2,inf,4\n", "expected coordinates that are numbers, got 'inf' in line 2 of "),
        (HEAD + f"a.png,0,1,2,{'9' * 400},4\n", f"got '{'9' * 40}...' in line 2 of "),
        (HEAD + 'a.png,0,"1,234",2,3,4\n', "got '1,234' in line 2 of "),  # 1.234, or 1234
        ("image,label,x0,y0,x1,y1,x0\na.png,0,1,2,3,4,5\n", "once, got 'x0' 2 times"),
        ("image,path,label,x0,y0,x1,y1\na.png,a.png,0,1,2,3,4\n", "expected one of the columns image and path in "),
        ("image,label,x,y,width,height\na.png,0,1,2,3,4\n", "boxes are corners in pixels: left, top, right, bottom"),
        ("image,label_name,x0,y0,x1,y1\na.png,cat,1,2,3,4\n", "expected classes.txt, which numbers the names"),
        (HEAD + '"a.png,0,1,2,3,4\nb.png,0,1,2,3,4\n', "check the quotation marks there"),
        (HEAD + f'a.png,"{"x" * 200_000}",1,2,3,4\n', "field larger than field limit"),
        (HEAD + "a.png;0;1;2;3;4\n", "expected ',' between the values of line 2 of "),
        ("image;label\na.png,0\n", "as in its heading, got ','"),
        (HEAD + "a\0.png,0,1,2,3,4\n", "got NUL bytes"),
        (b"image,label\n\x81\x8d.png,1\n", "expected "),
        ("", "image, label missing"),
        ("\n\n", "image, label missing"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_in_one_line(tmp_path, table, message):
    assert message in error_of(load_dataset, "folder", lay(tmp_path, table))


def test_a_heading_alone_leaves_every_image_without_a_row(tmp_path):
    images = load_dataset("folder", lay(tmp_path, HEAD))
    assert {one.reason for one in ResizedDataset(images, (8, 8)) if isinstance(one, Skipped)} == {"no row in boxes.csv"}


def test_a_folder_called_boxes_csv_is_refused(tmp_path):
    (tmp_path / "boxes.csv").mkdir()
    assert "Is a directory" in error_of(load_dataset, "folder", tmp_path)


def test_names_that_are_no_utf8_or_hold_control_characters_stop_nothing(tmp_path):
    lay(tmp_path, HEAD + 'a.png,1,1,2,3,4\n"x\x1b[2J.png",0,1,2,3,4\n"two\nlines.png",0,1,2,3,4\n')
    for name in (b"\xff\xfe.png", b"x\x1b[2J.png", b"two\nlines.png", b"n" * 251 + b".png"):
        gradient().save(bytes(tmp_path) + b"/image.png")
        (tmp_path / "image.png").rename(bytes(tmp_path).decode() + "/" + name.decode("utf-8", "surrogateescape"))
    images = load_dataset("folder", tmp_path)
    assert r"\xff\xfe.png" in images.image_ids
    assert len(images.fingerprint()) == 64
    read = {one.image_id for one in ResizedDataset(images, (8, 8)) if not isinstance(one, Skipped)}
    assert read == {"a.png", "x\x1b[2J.png", "two\nlines.png"}


def test_doubtful_boxes_are_counted_and_told_once(tmp_path):
    rows = "a.png,0,-5,0,20,20\nb.png,0,0,0,41,30\nb.png,0,20,20,5,5\nc.png,0,.2,.2,.7,.9\nc.png,0,0,0,40.4,30.4\n"
    prepared = ResizedDataset(load_dataset("folder", lay(tmp_path, HEAD + rows, images="abcd")), (16, 16))
    with pytest.warns(UserWarning, match="of 4 images") as warned:
        assert len(list(load_batches(prepared, [[0, 1], [2, 3]], 0))) == 2
    assert sorted(str(one.message) for one in warned) == [
        "1 of 4 images with a box of swapped corners, which is dropped (is it x, y, width, height?): b.png",
        "1 of 4 images with a box smaller than a pixel (is it in fractions of the image's size?): c.png",
        "2 of 4 images with a box that reaches beyond the frame, clipped to it: a.png, b.png",
    ]


def test_twenty_thousand_rows_are_read_at_once(tmp_path):
    for number in range(20):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number:05d}.png")  # the others are missing
    rows = "".join(f"{number:05d}.png,{number % 10},1,1,3,3\n" for number in range(20_000))
    lay(tmp_path, HEAD + rows, images="")
    start = time.process_time()
    images = load_dataset("folder", tmp_path)
    assert len(images.fingerprint()) == 64
    assert time.process_time() - start < 3  # one data frame operation an image took 10 to 27 s
    assert [images.label_of(index) for index in (0, 19, 20)] == [0, 9, None]
    assert torch.equal(images.read(3).boxes, torch.tensor([[1, 1, 3, 3]]).double())
