"""The commands, imported one by one as they are asked for: `attnlab --help` needs none, `attnlab train` no other."""

import ast
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path

import click

#: those whose module and function have their name
NAMES = [
    "analyze",
    "train",
    "sweep",
    "evaluate",
    "attack",
    "measure",
    "tables",
    "figures",
    "report",
    "study",
    "leaderboard",
    "export",
    "verify",
    "models",
    "doctor",
]
#: name -> module here, and its function
COMMANDS = {name: f"{name}:{name}" for name in NAMES} | {"list": "listing:list_names"}


class Imported(MutableMapping[str, click.Command]):
    """Commands by their names; one is imported when it is looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._found: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._found:
            module, function = self._places[name].split(":")
            self._found[name] = getattr(import_module(f".{module}", __package__), function)
        return self._found[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._places, **self._found})

    def __len__(self) -> int:
        return len({**self._places, **self._found})


class Commands(click.Group):
    """A group whose help reads the commands' docstrings, without importing their modules."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command's name and the first sentence of its docstring."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _told(name, limit)) for name in sorted(COMMANDS)])


def _told(name: str, limit: int) -> str:
    """First sentence of a command's docstring, cut to fit."""
    return click.Command(name, help=_docstring(COMMANDS[name])).get_short_help_str(limit)


def _docstring(place: str) -> str:
    """Docstring of a command's function, from its file."""
    module, function = place.split(":")
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return ast.get_docstring(found) or ""
