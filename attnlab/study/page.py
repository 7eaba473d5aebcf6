"""What runs together say, as one page that opens anywhere, offline, with the look of a run's page; and as Markdown."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from attnlab.report.figures.style import styled
from attnlab.report.tables.escape import markdown_text
from attnlab.report.tables.formats import markdown_table
from attnlab.report.tables.layout import Layout


class Part(NamedTuple):
    """What a page says of one claim, or of one table.

    Attributes:
        key: Its place on the page.
        name: Its head.
        sentence: What the claim is, or the table.
        layout: Its table.
        picture: Its figure as SVG in base64; empty without one.
        caption: Of the figure.
    """

    key: str
    name: str
    sentence: str
    layout: Layout
    picture: str = ""
    caption: str = ""


class Sheet(NamedTuple):
    """What a page, or the same as Markdown, says.

    Attributes:
        brand: The command that makes it.
        question: What it answers.
        title: Models and data.
        settings: A line for each run.
        notes: What is to be known of it.
        command: What repeats it.
        head: Of the answers in short.
        rules: How they come about.
        short: Themselves.
        parts: Everything else.
    """

    brand: str
    question: str
    title: str
    settings: Sequence[str]
    notes: Sequence[str]
    command: str
    head: str
    rules: str
    short: Layout
    parts: Sequence[Part]

    def html(self) -> str:
        """The page."""
        loader = PackageLoader("attnlab.study")
        made = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        style = files("attnlab.report.page").joinpath("templates", "report.css").read_text("utf-8")
        return made.get_template("study.html").render(**self._asdict(), style=Markup(style))

    def markdown(self) -> str:
        """The same as Markdown."""
        lines = [f"# {markdown_text(self.title)}", ""]
        lines += [f"- {markdown_text(line)}" for line in (*self.settings, *self.notes)]
        lines += ["", "```console", f"$ {self.command}", "```", "", markdown_text(self.rules), ""]
        lines += [markdown_table(self.short)]
        for part in self.parts:
            lines += [f"## {part.name}", "", markdown_text(part.sentence), ""]
            if part.picture:
                lines += [f"![{part.name}]({part.key}.png)", "", markdown_text(part.caption), ""]
            lines.append(markdown_table(part.layout))
        return "\n".join(lines)


@styled
def as_svg(figure: Figure) -> str:
    """A figure as SVG in base64, the same every time."""
    content = BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return base64.b64encode(content.getvalue()).decode()
