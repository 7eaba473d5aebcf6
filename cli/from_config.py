"""The options of a command, made from its configuration."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
from click.core import ParameterSource

from attnlab.config.option import Leaf, Options
from attnlab.errors import UserError
from attnlab.manifests import FORMER

from .completion import lists_of, names_of

Command = Callable[..., Any]

#: what --smoke runs, of commands that read images
SMALLEST = "on 4 images (LIME with 20 samples, attacks from one start)"


def options_of(config: type[Options], smoke: str = "") -> Callable[[Command], Command]:
    """Give a command the options of a configuration, and call it with that in their place, as `config`.

    Args:
        config: With a section `run` that says where to write, if there is a --smoke.
        smoke: Adds --smoke, which runs the command at its smallest size; the text says what that is.
    """
    renamed = [leaf for leaf in config.leaves() if leaf.name in FORMER]

    def add(command: Command) -> Command:
        @wraps(command)
        def call(**given: Any) -> None:
            ours = {leaf.name: given.pop(leaf.name) for leaf in config.leaves()}
            ours |= {leaf.name: value for leaf in renamed if (value := _given_as_before(leaf, given)) is not None}
            if smoke and given.pop("smoke"):
                ours |= {leaf.name: leaf.option.smoke for leaf in config.leaves() if leaf.option.smoke is not None}
                if ours.get("shard") and not ours["out"]:
                    raise click.UsageError("expected --out with --smoke and --shard: the shards share a folder")
                # the full run's folder stays free
                ours["out"] = ours["out"] or Path("runs") / f"smoke-{datetime.now():%Y%m%d-%H%M%S-%f}"
            command(config=config.of(**ours), **given)

        run: Command = call
        if smoke:
            text = f"Try the command at its smallest size, {smoke}; in runs/smoke-TIME unless --out is given."
            run = click.option("--smoke", is_flag=True, help=text)(run)
        for leaf in reversed(list(config.leaves())):
            run = option_of(leaf)(run)
        for leaf in renamed:
            run = click.option(_former_flag(leaf), FORMER[leaf.name], type=_type_of(leaf), hidden=True)(run)
        return run

    return add


def _former_flag(leaf: Leaf) -> str:
    return f"--{FORMER[leaf.name].replace('_', '-')}"


def _given_as_before(leaf: Leaf, given: dict[str, Any]) -> Any:
    """Take out the value of an option that was given by its former name; None where it was not."""
    value, source = given.pop(FORMER[leaf.name]), click.get_current_context().get_parameter_source(leaf.name)
    if value is not None and source is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"expected {leaf.flag} alone, got {_former_flag(leaf)}, its former name, too")
    return value


def option_of(leaf: Leaf) -> Callable[[Command], Command]:
    """One option, as Click has it."""
    option, default = leaf.option, leaf.field.default
    more: dict[str, Any] = {"is_flag": True} if isinstance(default, bool) else {"type": _type_of(leaf)}
    if default not in (None, ()):
        more["default"] = _written(default) if option.parse else default
        more["show_default"] = default is not False and default != ""
    if option.parse:
        more["callback"] = parsed(option.parse, default)
    kinds = (option.names, *option.kinds) if option.names else option.kinds
    if kinds or option.or_file:
        complete = lists_of(*kinds) if option.many else names_of(*kinds, or_file=option.or_file)
        more["shell_complete"] = complete
    text = f"{leaf.help}  [default: {option.usual}]" if option.usual else leaf.help
    flag = f"{leaf.flag}/--no-{leaf.flag[2:]}" if default is True else leaf.flag
    return click.option(flag, leaf.name, multiple=leaf.several, metavar=option.metavar, help=text, **more)


def option_like(section: type[Options], field: str) -> Callable[[Command], Command]:
    """An option of a section for a command that has no configuration."""
    return option_of(next(leaf for leaf in section.own() if leaf.field.name == field))


def _type_of(leaf: Leaf) -> Any:
    """Type of a value, from the field's annotation."""
    hint = get_type_hints(leaf.owner)[leaf.field.name]
    kinds = {kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)}
    if leaf.option.choices:
        return click.Choice(leaf.option.choices)
    if Path in kinds and leaf.option.parse in (None, Path):  # else slashes of a URL would become one
        return click.Path(path_type=Path)
    if leaf.option.parse or str in kinds:
        return str
    if int in kinds:
        return int if leaf.option.least is None else click.IntRange(min=leaf.option.least)
    return float


def _written(value: Any) -> str:
    """A value as a user writes it."""
    if isinstance(value, tuple):
        return ",".join(map(_written, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def parsed(
    parse: Callable[[str], Any], default: Any = None
) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that parses a value, if one is given; what is wrong usage exits with 2."""

    def callback(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        try:
            return default if text is None else parse(text)
        except UserError:
            raise
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback
