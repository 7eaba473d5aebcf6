"""A study as one page that opens anywhere, offline, with the look of a run's page."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from attnlab.report.figures.style import styled
from attnlab.report.tables.layout import Layout


class Part(NamedTuple):
    """What a page says of one claim.

    Attributes:
        key: Its place on the page.
        name: Its head.
        sentence: What the claim is.
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


def page(
    title: str,
    settings: Sequence[str],
    notes: Sequence[str],
    command: str,
    rules: str,
    short: Layout,
    parts: Sequence[Part],
) -> str:
    """The page's HTML: what was studied, what is to be known of it, verdicts in short, a part for each claim."""
    loader = PackageLoader("attnlab.study")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = files("attnlab.report.page").joinpath("templates", "report.css").read_text("utf-8")
    return made.get_template("study.html").render(
        title=title,
        settings=settings,
        notes=notes,
        command=command,
        rules=rules,
        short=short,
        parts=parts,
        style=Markup(style),
    )


@styled
def as_svg(figure: Figure) -> str:
    """A figure as SVG in base64, the same every time."""
    content = BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return base64.b64encode(content.getvalue()).decode()
