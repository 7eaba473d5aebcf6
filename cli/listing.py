"""`attnlab list`."""

import click

KINDS = ["data", "models", "attacks", "defenses", "methods", "geometries"]


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(KINDS))
def list_names(kind: str | None) -> None:
    """Name the data sets, models, attacks, defences, attention methods and geometries there are."""
    from attnlab.attacks import OTHER_ATTACKS
    from attnlab.attacks.parse import attack_names
    from attnlab.attention import METHODS
    from attnlab.compat import torchvision
    from attnlab.data import DATASETS
    from attnlab.data.geometry import GEOMETRIES
    from attnlab.models import BUILT_IN
    from attnlab.training.parse import defense_names

    names = {
        "data": list(DATASETS),
        "models": [*BUILT_IN, *torchvision.models.list_models(module=torchvision.models)],
        "attacks": ["clean", *OTHER_ATTACKS, *attack_names()],
        "defenses": defense_names(),
        "methods": list(METHODS),
        "geometries": list(GEOMETRIES),
    }
    for heading, members in names.items():
        if kind in (None, heading):
            click.echo(f"{heading}: {', '.join(members)}")
            if heading == "models":
                click.echo("        and timm:NAME, FILE.py:FUNCTION, a checkpoint folder")
