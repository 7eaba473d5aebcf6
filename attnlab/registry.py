"""Registries: what there is of a kind, by name; the code behind a name is imported when it is first used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar

from attnlab.errors import UserError, check_one_of

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


FORM = ":NAME"  # what an entry's name ends in that stands for many


class Registry(dict[str, Spec]):
    """Name -> what there is to know of it, mostly a frozen dataclass, in the order in which people see the names.

    An entry called `prefix:NAME` stands for all names that begin with `prefix:`; its method `of` gives that of one.
    """

    def __init__(self, what: str, entries: Mapping[str, Spec]) -> None:
        super().__init__(entries)
        self.what = what  # how errors call a name, such as `--data`

    def __missing__(self, name: str) -> Spec:
        """What belongs to a name of a form."""
        prefix, colon, rest = name.partition(":")
        if not (colon and rest and f"{prefix}{FORM}" in self):
            raise KeyError(name)
        form: Any = self[f"{prefix}{FORM}"]
        one: Spec = form.of(name)
        return one

    def expect(self, name: str, what: str = "") -> Spec:
        """Return what belongs to a name; else a UserError lists the names and the nearest."""
        what = what or self.what
        if name in self and name.endswith(FORM):
            raise UserError(f"expected {what} with a name behind {name.removesuffix(FORM)}:, got {name}")
        try:
            return self[name]
        except KeyError:
            return self[check_one_of(name, self, what)]
