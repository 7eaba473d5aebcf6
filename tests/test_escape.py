"""Names from data in LaTeX, Markdown, CSV and JSON: shown as they are, never executed."""

import json
import shutil
import subprocess

import pandas as pd
import pytest

from attnlab.records import as_csv
from attnlab.report.tables.escape import latex_text, markdown_text
from attnlab.report.tables.export import Report
from attnlab.report.tables.formats import json_of

HOSTILE = [
    r"\input{/etc/passwd} 100 % of_it & #1 ^2 ~x ${}$",
    "Stra\xdfe, na\xefve, \u0141\xf3d\u017a, \xc5ngstr\xf6m, \u010desk\xfd, \xee, \u0237",
    "\u4e2d\u6587 \U0001f600 \u0416 \u2264 \u2013 \u2026",
    "a\x1b[2Jb\nc\td",
    "<b>|x|</b> `code` *bold* [link](javascript:1)",
]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of_it & more", r"50 \% of\_it \& more"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("na\xefve \xd1", r"na\"{\i}ve \~{N}"),
        ("\xe7\u015f", r"\c{c}\c{s}"),
        ("\u4e2d", "[U+4E2D]"),
        ("a\x1bb", r"a\textbackslash{}x1bb"),
        ("a < b", "a $<$ b"),
    ],
)
def test_text_is_set_in_latex_as_it_stands(text, latex):
    assert latex_text(text) == latex


def test_hostile_names_compile(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex")
    lines = "\n\n".join(map(latex_text, HOSTILE))
    (tmp_path / "names.tex").write_text(f"\\documentclass{{article}}\\begin{{document}}\n{lines}\n\\end{{document}}\n")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "names.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_one_line_without_markup(text):
    shown = markdown_text(text)
    assert shown.isprintable()
    assert "<" not in shown
    assert all(shown[at - 1] == "\\" for at, character in enumerate(shown) if character in "|*`[")


@pytest.mark.parametrize("text", HOSTILE)
def test_json_and_csv_bring_no_control_character_to_the_terminal(text):
    frame = pd.DataFrame({"model": [text, f"={text}"], "accuracy": [-0.5, 1.0]})
    written = json_of(Report([], {}, {"table6": frame}))
    assert json.loads(written)["table6"][0]["model"] == text
    table = as_csv(frame)
    assert all(character.isprintable() or character == "\n" for character in written + table)
    assert table.splitlines()[1].endswith(",-0.5")
    assert table.splitlines()[2].lstrip('"').startswith("'=")
