"""A run's tables, and how they are written as one text, for files, pipes and notebooks."""

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

from attnlab.errors import check_one_of
from attnlab.records import as_csv
from attnlab.report.outcomes import CHANGED, Outcomes
from attnlab.report.tables import MARK, METHOD, TABLES, Form
from attnlab.report.tables.escape import markdown_text
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.layout import Layout, Value


class Report(NamedTuple):
    """Tables, captions and summary of a run. A notebook shows it.

    Attributes:
        summary: Lines for people: images, accuracy, what was left out.
        captions: Of each table: its title and what its numbers depend on.
        frames: Each table, tidy.
        marked: Methods that do not notice random weights.
        outcomes: What the groups of an analysis are called.
    """

    summary: list[str]
    captions: dict[str, str]
    frames: dict[str, pd.DataFrame]
    marked: Sequence[str] = ()
    outcomes: Outcomes = CHANGED

    def lay_out(self, name: str, form: Form = "paper") -> Layout:
        """A table as it is set, MARK behind the names of methods that are marked."""
        frame = self.frames[name]
        if METHOD.name in frame and self.marked:
            names = [f"{method}{MARK}" if method in self.marked else method for method in frame[METHOD.name]]
            frame = frame.assign(**{METHOD.name: names})
        return TABLES[name].lay_out(frame, form)

    def _repr_html_(self) -> str:
        parts = []
        for name, frame in self.frames.items():
            table = frame.dropna(axis=1, how="all").to_html(index=False, float_format="{:.3f}".format, border=0)
            parts += [f"<p>{escape(f'{name}: {self.captions[name]}')}</p>", table]
        return "".join([*parts, *(f"<p>{escape(line)}</p>" for line in self.summary)])


def choose_tables(report: Report, names: Sequence[str]) -> Report:
    """The report with the tables of those names alone, which it must have; with all of them where none is named."""
    wanted = [check_one_of(name, report.frames, "--table") for name in names] or list(report.frames)
    return report._replace(frames={name: report.frames[name] for name in wanted})


def csv_of(report: Report) -> str:
    """Tidy CSV; several tables have an empty line between them, and a line `# NAME` above each."""
    texts = {name: as_csv(frame) for name, frame in report.frames.items()}
    if len(texts) == 1:
        return "".join(texts.values())
    return "\n".join(f"# {name}\n{text}" for name, text in texts.items())


def json_of(report: Report) -> str:
    """One object, table name -> list of rows, each an object of column -> value; null where there is no value."""
    frames = {name: frame.astype(object).where(frame.notna(), None) for name, frame in report.frames.items()}
    text = json.dumps({name: frame.to_dict("records") for name, frame in frames.items()}, indent=1, ensure_ascii=False)
    # control characters that JSON allows would reach the terminal
    harmless = (letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)
    return "".join(harmless) + "\n"


def latex_of(report: Report) -> str:
    """The paper's layout, one environment a table, an empty line between two."""
    return "\n".join(latex_table(report, name) for name in report.frames)


def latex_table(report: Report, name: str) -> str:
    r"""One table of a report as LaTeX, `\label{tab:NAME}`, what its numbers depend on as a comment."""
    layout = report.lay_out(name)
    title = report.outcomes.in_caption(TABLES[name].title)
    return as_latex(layout, title, label=f"tab:{name}", source=report.captions[name])


def markdown_of(report: Report) -> str:
    """The paper's layout with n and intervals, below each table's name and caption."""
    texts = []
    for name in report.frames:
        lines = markdown_table(report.lay_out(name, "full"))
        texts.append(f"**{name}**: {markdown_text(report.captions[name])}\n\n{lines}")
    return "\n".join(texts)


def markdown_table(layout: Layout) -> str:
    """A table of that layout in Markdown."""
    heads = [*layout.first, *layout.spelled_heads(": ")]
    # a column of numbers ends flush
    rules = ["---:" if any(isinstance(cell, Value) for cell in column) else "---" for column in layout.columns()]
    cells = [[str(cell) for cell in line] for line in layout.lines]
    return "".join(f"| {' | '.join(map(markdown_text, line))} |\n" for line in (heads, rules, *cells))


#: name -> function(report)
FORMATS: dict[str, Callable[[Report], str]] = {
    "csv": csv_of,
    "latex": latex_of,
    "markdown": markdown_of,
    "json": json_of,
}
