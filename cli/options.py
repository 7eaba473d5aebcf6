"""Options of commands that have no configuration."""

import click

from attnlab.config.analyze import LimeOptions
from attnlab.config.sections import ModelOptions, RunOptions
from attnlab.stores import parse_root

from .from_config import option_like

TRUST = option_like(ModelOptions, "trust_code")
DEVICE = option_like(RunOptions, "device")
LIME_GT = option_like(LimeOptions, "gt")
RUN = click.argument("run", callback=lambda _context, _parameter, text: parse_root(text))
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "latex", "markdown", "json"]),
    help="Print the tables in this format, alone on standard output, for pipes; see `attnlab tables --help`.",
)
