"""Text files and tables that people bring, whatever program wrote them."""

import codecs
import csv
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from attnlab.errors import UserError
from attnlab.stores import StorePath

#: what separates the values of a row; a spreadsheet of a country with decimal commas writes semicolons
SEPARATORS = ",;\t"


def read_text(path: Path | StorePath) -> str:
    """A text file: UTF-8 with or without a byte-order mark, UTF-16 with one, else Windows-1252, which is reported."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise UserError(f"expected {path} to be text in UTF-8, got other bytes; save it as UTF-8") from None
        warnings.warn(f"{path} is no UTF-8 and was read as Windows-1252: check names with accents", stacklevel=2)
    if "\0" in text:
        raise UserError(f"expected {path} to be text in UTF-8, got NUL bytes; save it as UTF-8")
    return text


def read_rows(path: Path | StorePath) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """Find what separates a table's values, as its first line decides, and read the rows that hold a value.

    Each row comes with the number of the line it ends in; what is malformed is refused as the rows are read.
    """
    text = read_text(path)
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    return separator, _rows(path, text, separator)


def _rows(path: Path | StorePath, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if any(value.strip() for value in row):
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(
            f"cannot read {path} near line {rows.line_num}: {error}; check the quotation marks there"
        ) from None
