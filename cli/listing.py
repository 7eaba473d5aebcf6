"""`attnlab list`."""

from collections.abc import Callable

import click

from attnlab.attacks.corruptions import CORRUPTIONS, SEVERITIES
from attnlab.attacks.parse import attack_names, other_names
from attnlab.attention import METHODS
from attnlab.data import DATASETS, RESIZINGS
from attnlab.errors import UserError
from attnlab.measures import MEASURES
from attnlab.models.names import WRITTEN, plain_names
from attnlab.models.zoos import ZOOS
from attnlab.training.parse import defense_names

#: what is listed -> its names
KINDS: dict[str, Callable[[], list[str]]] = {
    "data": lambda: list(DATASETS),
    "models": plain_names,
    "attacks": lambda: [*other_names(), *attack_names()],
    "corruptions": lambda: [f"{kind}@1-{SEVERITIES}" for kind in CORRUPTIONS],
    "defenses": defense_names,
    "methods": lambda: list(METHODS),
    "measures": lambda: list(MEASURES),
    "resizings": lambda: list(RESIZINGS),
}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
@click.argument("zoo", required=False, type=click.Choice(list(ZOOS)))
def list_names(kind: str | None, zoo: str | None) -> None:
    """Name the data sets, models, attacks, corruptions, defences, attention methods, measures and ways to resize.

    Behind `models` the name of a zoo lists that one's models, a line each: attnlab list models timm.
    """
    if zoo:
        if kind != "models":
            raise click.UsageError(f"expected a zoo behind models alone, got one behind {kind}")
        for name in _listed(zoo):
            click.echo(name)
        return
    for heading, names in KINDS.items():
        if kind in (None, heading):
            click.echo(f"{heading}: {', '.join(names())}")
            if heading == "models":
                click.echo(f"        and {WRITTEN}, FILE.py:FUNCTION, a checkpoint folder")
    if kind == "data":
        for name, spec in DATASETS.items():
            click.echo(f"        {name}: {spec.summary}")
    if kind == "methods":
        for name, method in METHODS.items():
            click.echo(f"        {name}: {method.summary}")
    if kind == "measures":
        for name, measure in MEASURES.items():
            click.echo(f"        {name}: {measure.summary}")


def _listed(name: str) -> list[str]:
    """Names of a zoo's models."""
    zoo = ZOOS[name]
    if zoo.names is None:
        raise UserError(f"nobody can list the models of {name}; they are written {zoo.written}")
    names = zoo.names()
    if not names:
        raise UserError(f"{name} is not installed: pip install 'attnlab[{name}]'")
    return names
