"""Errors a user can act on, worded "expected X, got Y", then the likely fix."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

#: what stands before the @ of a URL, also with a slash in its password, and the query of one of http
SECRETS = (
    re.compile(r"(\w://)[^/\s]*@"),
    re.compile(r"(\w://)[^/@\s:]*:(?!:|\d+(?:/|$))\S*@"),
    re.compile(r"(\bhttps?://[^\s?'\"]*)\?[^\s'\"]*"),
)

#: a word longer than any path, such as a number of 5,000 digits
ENDLESS = re.compile(r"(\S{60})\S{500,}")


class UserError(ValueError):
    """Wrong input that the user can mend; the command line prints its text as one line and exits with 1."""


def check_between(value: int, lowest: int, highest: int, what: str) -> None:
    """Refuse a whole number that is out of range with a UserError."""
    shown = str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
    if value < lowest:
        raise UserError(f"expected {what} of at least {lowest}, got {shown}")
    if value > highest:
        raise UserError(f"expected {what} of at most {highest}, got {shown}")


def printable(text: str) -> str:
    """The text as one line that a terminal can show: control characters, line breaks and stray bytes are escaped.

    Names of files and classes come from elsewhere; an escape sequence in one would move the cursor, or worse.
    """
    shown = (one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode() for one in text)
    return "".join(shown)


class Unusable(Exception):  # noqa: N818 - a fact about one image, not a failure of the run
    """One image that cannot be used; its text is the reason, and a hint if there is one, as skipped.csv has it."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint)
        self.reason = reason  # which is part of a data set's fingerprint, as the hint is not

    def __str__(self) -> str:
        return "".join(self.args)


def check_one_of(value: str, names: Iterable[str], what: str) -> str:
    """Return `value` if it is one of `names`; else a UserError lists them and the nearest match."""
    known = list(names)
    if value in known:
        return value
    raise UserError(f"expected {what} to be one of {', '.join(known)}, got {value!r}{nearest(value, known)}")


def check_installed(package: str, extra: str) -> None:
    """Refuse with a UserError what needs a package of an extra that is not installed."""
    if find_spec(package) is None:
        raise UserError(f"expected the package {package}, got none: pip install 'attnlab[{extra}]'")


def nearest(value: str, names: Iterable[str]) -> str:
    """The end of an error's text that proposes the name most like a value, whatever their case; empty if none is."""
    lower = {name.lower(): name for name in names}
    near = get_close_matches(value.lower(), lower, n=1)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""


def shortened(text: str) -> str:
    """The text with words of more than 560 characters cut, as they stand in an error that quotes what it was given."""
    return ENDLESS.sub(r"\1...", text)


def without_secrets(text: str) -> str:
    """The text without credentials of URLs in it: `user:password@`, and the query of http, which may be a signature."""
    for pattern in SECRETS:
        text = pattern.sub(r"\1", text)
    return text
