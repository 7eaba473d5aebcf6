"""`attnlab models`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from attnlab.config.sections import ModelOptions
from attnlab.errors import printable

from .completion import names_of
from .console import show_layout
from .from_config import Command, option_of
from .imports import uncollected

if TYPE_CHECKING:
    from attnlab.models.describe import ModelDescription

LABELS = 5  # names of classes that are shown


def _options(command: Command) -> Command:
    """Give it the options of a model but for its name, which is the argument."""
    for leaf in reversed(ModelOptions.own()):
        if leaf.field.name != "name":
            command = option_of(leaf)(command)
    return command


@click.command()
@click.argument("model", shell_complete=names_of("models", or_file=True))
@_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
def models(model: str, form: str, **given: Any) -> None:
    """Describe a MODEL: its classes, its images, how they are normalised, and each layer that can be explained.

    The layers stand in the order in which they are computed, each with the size of its map; of modules that pass the
    same output on, the outermost stands for all. `read` marks the layer that is read, by default or by --layer; `closed
    form` the maps that need no backward pass; the notes say what is refused or doubtful.

    \b
    attnlab models resnet50 --weights none
    attnlab models net.py:build --weights plain.pth --layer features
    attnlab models robustbench:Wong2020Fast --weights none --format json
    """  # noqa: D301 - click wants the backspace itself
    options = ModelOptions(name=model, **given)
    with uncollected():
        from attnlab.pipelines.opening import describe_as_asked

    found = describe_as_asked(options)
    if form == "json":
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        _show(found)


def _show(found: "ModelDescription") -> None:
    """Print its properties, a line each, and a table of its layers."""
    from attnlab.report.tables.layout import Layout, Value

    for name, text in _properties(found).items():
        click.echo(printable(f"{name + ':':<15}{text}"))
    for note in found.notes:
        click.echo(printable(f"{'note:':<15}{note}"))
    lines = [
        [
            layer.name,
            Value(layer.channels, 0),
            f"{layer.height}x{layer.width}",
            Value(layer.cells, 0),
            "yes" if layer.head else "",
            "yes" if layer.default else "",
            layer.note,
        ]
        for layer in found.layers
    ]
    heads = ["channels", "map", "cells", "closed form", "read", "notes"]
    show_layout(Layout(["layer"], [], heads, lines), "Layers that can be explained")


def _properties(found: "ModelDescription") -> dict[str, str]:
    """What is said above the table."""
    shown = ", ".join(found.labels[:LABELS]) + (", ..." if len(found.labels) > LABELS else "")
    height, width = found.input_size
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (found.mean, found.std))
    return {
        "model": found.name,
        "source": found.source,
        "parameters": f"{found.parameters:,}",
        "classes": f"{found.classes}{f': {shown}' if shown else ''}",
        "images": f"{height}x{width} pixels (height x width), {found.channels} channels",
        "normalisation": f"mean {mean}, std {std}; said by {found.normalised_by}",
        "layer": found.layer or "none found; name one with --layer",
    }
