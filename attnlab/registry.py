"""Registries: what there is of a kind, by name; the code behind a name is imported when it is first used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar

from attnlab.errors import check_one_of

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Lazy:
    """A function, or another object of a module, that is imported when it is used, so that its name costs nothing.

    A spec may hold the function itself in its place.
    """

    path: str  # `module:name`, such as `attnlab.data.digit_scenes:scenes`

    def load(self) -> Any:
        """The object."""
        return resolve_name(self.path)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.load()(*args, **kwargs)


def loaded(code: Any) -> Any:
    """The object itself, of one that may be lazy."""
    return code.load() if isinstance(code, Lazy) else code


class Registry(dict[str, Spec]):
    """Name -> what there is to know of it, mostly a frozen dataclass, in the order in which people see the names."""

    def __init__(self, what: str, entries: Mapping[str, Spec]) -> None:
        super().__init__(entries)
        self.what = what  # how errors call a name, such as `--data`

    def expect(self, name: str, what: str = "") -> Spec:
        """Return what belongs to a name; else a UserError lists the names and the nearest."""
        return self[check_one_of(name, self, what or self.what)]
