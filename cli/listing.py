"""`attnlab list`."""

from collections.abc import Callable

import click

from attnlab.attacks.parse import OTHERS, attack_names
from attnlab.attention import METHODS
from attnlab.data import DATASETS, RESIZINGS
from attnlab.models import BUILT_IN
from attnlab.models.names import torchvision_names
from attnlab.training.parse import defense_names

#: what is listed -> its names
KINDS: dict[str, Callable[[], list[str]]] = {
    "data": lambda: list(DATASETS),
    "models": lambda: [*BUILT_IN, *torchvision_names()],
    "attacks": lambda: [*OTHERS, *attack_names()],
    "defenses": defense_names,
    "methods": lambda: list(METHODS),
    "resizings": lambda: list(RESIZINGS),
}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
def list_names(kind: str | None) -> None:
    """Name the data sets, models, attacks, defences, attention methods and ways to resize there are."""
    for heading, names in KINDS.items():
        if kind in (None, heading):
            click.echo(f"{heading}: {', '.join(names())}")
            if heading == "models":
                click.echo("        and timm:NAME, FILE.py:FUNCTION, a checkpoint folder")
    if kind == "data":
        for name, spec in DATASETS.items():
            click.echo(f"        {name}: {spec.summary}")
