"""What names from elsewhere may do to a terminal: nothing."""

import warnings

import pytest

from attnlab.errors import UserError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é 日 plain", "é 日 plain"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\udcff.png", r"\udcff.png"),  # a byte of a file name that is no UTF-8
        ("\u202egnp.a", r"\u202egnp.a"),  # turns the reading direction round
        ("\x9b2J", r"\x9b2J"),  # an escape sequence of one byte
    ],
)
def test_control_characters_are_shown_escaped(text, shown):
    assert printable(text) == shown


def test_a_word_of_thousands_of_characters_is_cut_in_an_error(attnlab):
    error = attnlab("evaluate", "--eps", "x" * 9000).error
    assert error == f"expected eps as a number or a fraction such as 8/255, got '{'x' * 59}..."


def test_an_escape_sequence_in_a_name_reaches_neither_errors_nor_warnings(attnlab, monkeypatch):
    def fail(*_arguments, **_options):
        warnings.warn("skipped \x1b[2Jone", stacklevel=1)
        raise UserError("got \x1b[2Jtwo")

    monkeypatch.setattr("attnlab.pipelines.analyze.open_analysis", fail)
    message = attnlab("analyze")
    assert message.err.splitlines() == [r"Warning: skipped \x1b[2Jone", r"Error: got \x1b[2Jtwo"]


def test_the_doctor_shows_names_of_images_escaped(attnlab, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a\x1b[2J.png").write_bytes(b"")
    (tmp_path / "photos" / "boxes.csv").write_text("image,label,x0,y0,x1,y1\n")
    message = attnlab("doctor", "--data", "folder", "--root", "photos", "--device", "cpu")
    assert r"a\x1b[2J.png: no row in boxes.csv" in message.out
    assert "\x1b[2J" not in message.out
