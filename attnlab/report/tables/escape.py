"""Names from data as plain text in LaTeX and Markdown: shown as they are, never executed."""

import unicodedata

from attnlab.errors import printable

MATHS = {"\xd7": "times", "\xb1": "pm", "\u2264": "leq", "\u2265": "geq", "\u03b5": "varepsilon", "\u03c3": "sigma"}
LETTERS = {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "œ": "oe", "Œ": "OE", "§": "S"}
PUNCTUATION = {"\u2013": "--", "\u2014": "---", "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''"}
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"$\\{name}$" for character, name in MATHS.items()},
    **{character: f"\\{name}{{}}" for character, name in LETTERS.items()},
    **PUNCTUATION,
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "\u2026": r"\ldots{}",
    "\u2020": r"\dag{}",
}
#: combining mark -> the command that sets it over or, of the last ones, under a letter
MARKS = "\u0300\u0301\u0302\u0303\u0308\u0304\u0307\u0306\u030a\u030b\u030c\u0327\u0328\u0323\u0331"
ACCENTS = dict(zip(MARKS, "`'^~\"=.urHvckdb", strict=True))
BELOW = "\u0327\u0328\u0323\u0331"
MARKDOWN = {character: f"\\{character}" for character in "\\`*[]|"} | {"<": "&lt;", "&": "&amp;"}


def latex_text(text: str) -> str:
    """The text as LaTeX that compiles with any engine; letters no Latin font has stand as their code, [U+4E2D]."""
    return "".join(map(_in_latex, printable(text)))


def _in_latex(character: str) -> str:
    if character in LATEX:
        return LATEX[character]
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    letter, mark = parts[0], parts[1:]
    if letter.isascii() and letter.isalpha() and mark in ACCENTS:
        dotless = letter in "ij" and mark not in BELOW
        return rf"\{ACCENTS[mark]}{{{chr(92) * dotless}{letter}}}"
    return f"[U+{ord(character):04X}]"


def markdown_text(text: str) -> str:
    """The text as Markdown in one line, for a cell of a table as well."""
    return "".join(MARKDOWN.get(character, character) for character in printable(text))
