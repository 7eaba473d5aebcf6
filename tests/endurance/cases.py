"""What every kind of generated case shares: how one ends, odd values, and damage to files."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from attnlab.errors import printable

ACCEPTED, REFUSED = "accepted", "refused"

#: from a source of chance and an empty folder to ACCEPTED or REFUSED; raises Skipped, or anything else where it fails
Case = Callable[[Random, Path], str]

#: numbers as a user, a spreadsheet or a script that went wrong writes them
NUMBERS = (
    "0", "-0", "-1", "1", "2", "3", "0.5", "1e-320", "1e309", "-1e309", "nan", "NaN", "inf", "-inf", "Infinity", "1e5",
    "99999999999999999999", "-99999999999999999999", "9" * 5000, "1_000", "0x10", "1,5", "1/0", "0/0", "8/255",
    "1e400/1e400", "٣", "½", "+3", " 4 ", "3.0", "1e3", "2147483648", "-2147483649", "4294967296",
)  # fmt: skip
#: texts that are no number
TEXTS = (
    "", " ", "\t", "a", "é", "名前", "\u202eabc", "\ufeff", "\x1b[31m", "a\nb", "a\r\nb", "\x00", "=1+1", "a,b", "a;b",
    "+cmd|' /C calc'!A0", "@SUM(1)", "-2+3", "'", '"', '""', ",", ";", "..", "../x", "/", "C:\\x", "%s", "{x}",
    "[red]x[/red]", "None", "null", "true", "x" * 9000, "\ud800", "\U0001f600", "<b>x</b>", "$HOME", "`id`", "--help",
    "-", "a b",
)  # fmt: skip
MOST = 1000  # characters of a message, which is one line on a terminal


class Skipped(Exception):  # noqa: N818 - no error
    """A case that cannot be made here; its text is the reason."""


def check_message(error: BaseException | str) -> None:
    """Hold the text of a refusal to one line that a terminal shows."""
    text = str(error)
    assert text.strip(), f"a refusal without a word: {error!r}"
    assert "\n" not in text, f"more than one line: {text[:200]!r}"
    assert len(printable(text)) <= MOST, f"a message of {len(text)} characters: {text[:200]!r}"


def odd(draw: Random) -> str:
    """An odd value, number or text."""
    return draw.choice(NUMBERS if draw.random() < 0.6 else TEXTS)


def file_text(text: str) -> bytes:
    """Bytes of a text that may hold half a character of UTF-16."""
    return text.encode("utf-8", "surrogatepass")


def damage(draw: Random, content: bytes) -> bytes:
    """A file's bytes: cut, flipped, emptied, overwritten, doubled or with others behind them."""
    if not content:
        return content
    changed = bytearray(content)
    place = draw.randrange(min(len(content), draw.choice((16, 64, 512, len(content)))))
    match draw.randrange(8):
        case 0:
            return content[:place]
        case 1:
            for _ in range(draw.randint(1, 8)):
                changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        case 2:
            changed[place] = draw.choice((0, 1, 127, 128, 255))
        case 3:
            changed[place : place + 4] = draw.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
            )
        case 4:
            return b""
        case 5:
            end = min(len(content), place + draw.randint(1, 64))
            return content[:place] + content[end:]
        case 6:
            end = min(len(content), place + draw.randint(1, 64))
            changed[place:place] = content[place:end]
        case 7:
            changed += draw.randbytes(draw.randint(1, 64))
    return bytes(changed)


def damage_text(draw: Random, content: bytes) -> tuple[bytes, bool]:
    """A text file's bytes as editors, spreadsheets and copying leave them; and whether they still mean the same."""
    text = content.decode("utf-8", "replace")
    match draw.randrange(9):
        case 0:
            return b"\xef\xbb\xbf" + content, True
        case 1:
            return text.encode("utf-16"), True
        case 2 if '"' not in text:
            return content.replace(b"\r\n", b"\n").replace(b"\n", draw.choice((b"\r\n", b"\n\n"))), True
        case 3:
            return content.replace(b",", draw.choice((b";", b"\t", b"|", b", "))), False
        case 4:
            place = draw.randrange(len(content) + 1)
            return content[:place] + draw.choice((b"\0", b"\xff", b"\x80", b'"', b"\xe9", b"\x81")) + content[
                place:
            ], False
        case 5:
            return content + draw.choice((b"\n\n\n", b"\x1a", b"x" * 200_000, b"\n,,,,,\n")), False
        case 6:
            return text.encode("utf-16-le"), False
        case 7:
            return content * 2, False
        case _:
            return damage(draw, content), False


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the texts of warnings, each of which is one line."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught]


def closest(expected: Sequence[float], lines: Sequence[Sequence[float]]) -> bool:
    """Whether one of the lines has these numbers, NaN being equal to itself."""
    return any(len(line) == len(expected) and all(map(_same, line, expected)) for line in lines)


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def short(error: BaseException) -> str:
    """A failure in a line."""
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:300]
