"""Options: each is one field of a frozen dataclass, from which command line, manifest and comparison are made."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

from attnlab.config.names import WORDS, check_known
from attnlab.errors import UserError, check_one_of


@dataclass(frozen=True)
class Option:
    """Properties of an option beside its field's name, type and default, and its help in the class's docstring."""

    name: str = ""  # in `Options.of` and run.json; by default the field's behind the section's prefix
    flag: str = ""  # how the command line spells it, without dashes; by default the name
    choices: tuple[str, ...] = ()  # the values there are, where the command line lists them
    least: int | None = None  # the lowest value
    parse: Callable[[str], Any] | None = None  # value of a text; raises UserError, or ValueError for wrong usage
    names: str = ""  # kind of names, see `known_names`, of which it is one, or several
    check: Callable[[Any, str], object] | None = None  # of a given value and the flag; raises UserError
    kinds: tuple[str, ...] = ()  # kinds of names that the shell completes beside `names`
    many: bool = False  # the shell completes the last of several names with commas between them
    or_file: bool = False  # where no name fits, the shell completes a path
    metavar: str | None = None  # stands for the value in `--help`
    decides: bool = False  # run.json records it, and a run is resumed with the same value alone
    sparse: bool = False  # run.json records it only where it is not the default
    smoke: Any = None  # value that `--smoke` takes; None for the one that is given
    usual: str = ""  # what the command takes where the field is None, for `--help`
    like: "tuple[type[Options], str] | None" = None  # class and field that have its help, if its own class does not


def option(default: Any, **more: Any) -> Any:
    """A field of `Options` that more is known of than its default; `more` as of `Option`."""
    return field(default=default, metadata={"option": Option(**more)})


def variant(section: "type[Options]", field_name: str, /, **changes: Any) -> Any:
    """A field like that of another class, but for these attributes of its Option, or its default."""
    origin = next(leaf for leaf in section.own() if leaf.field.name == field_name)
    default = changes.pop("default", origin.field.default)
    known = replace(origin.option, name=origin.name, like=(section, field_name))
    return field(default=default, metadata={"option": replace(known, **changes)})


class Leaf(NamedTuple):
    """An option in its place: a field of a class."""

    owner: "type[Options]"
    field: "Field[Any]"
    option: Option
    name: str  # see `Option`

    @property
    def flag(self) -> str:
        """How the command line spells it."""
        return f"--{self.option.flag or self.name.replace('_', '-')}"

    @property
    def several(self) -> bool:
        """Whether the option may come several times."""
        return isinstance(self.field.default, tuple) and self.option.parse is None

    @property
    def help(self) -> str:
        """Its help, from the docstring of its class or of the class that it is a variant of."""
        for owner in self.owner.__mro__:
            text = re.search(rf"\n    {self.field.name}: (.*(?:\n {{8}}.*)*)", inspect.cleandoc(owner.__doc__ or ""))
            if text and issubclass(owner, Options):
                return " ".join(text[1].split())
        section, name = self.option.like or (Options, "")
        return next((leaf.help for leaf in section.own() if leaf.field.name == name), "")

    def settled(self, value: Any) -> Any:
        """A value as the field holds it: parsed where it is text, and checked."""
        known = self.option
        if isinstance(value, str) and known.parse:
            try:
                value = known.parse(value)
            except UserError:
                raise
            except ValueError as error:
                raise UserError(f"{self.flag}: {error}") from None
        elif isinstance(value, str) and self.several:
            value = (value,)
        value = tuple(value) if isinstance(value, list) else value
        if value is None or value == self.field.default:
            return value
        for item in value if isinstance(value, tuple) else (value,):
            if known.choices:
                check_one_of(item, known.choices, self.flag)
            elif known.names:
                check_known(known.names, item, self.flag)
        if known.least is not None and value < known.least:
            raise UserError(f"expected {self.flag} of at least {known.least}, got {value}")
        if known.check:
            known.check(value, self.flag)
        return value


@dataclass(frozen=True)
class Options:
    """A section of a configuration, or a whole one: its fields are options, or other sections.

    Its docstring has each option's help, in which `{name}` stands for a text in WORDS.

    Raises:
        UserError: If a value is out of range.
    """

    PREFIX: ClassVar[str] = ""  # stands before the names of its options

    def __init_subclass__(cls) -> None:
        """Put the words into its help."""
        cls.__doc__ = (cls.__doc__ or "").format_map(WORDS)

    def __post_init__(self) -> None:
        """Parse what is written as text, and check every value once."""
        for leaf in self.own():
            object.__setattr__(self, leaf.field.name, leaf.settled(getattr(self, leaf.field.name)))

    @classmethod
    def own(cls) -> list[Leaf]:
        """Its options, without those of its sections."""
        own = [(field, field.metadata.get("option", Option())) for field in fields(cls) if field.default is not MISSING]
        return [Leaf(cls, field, option, option.name or cls.PREFIX + field.name) for field, option in own]

    @classmethod
    def sections(cls) -> "dict[str, type[Options]]":
        """Its sections by their fields' names."""
        return {field.name: field.default_factory for field in fields(cls) if field.default is MISSING}  # type: ignore[misc]

    @classmethod
    def leaves(cls) -> Iterator[Leaf]:
        """All its options, in the order of the fields."""
        own, sections = {leaf.field.name: leaf for leaf in cls.own()}, cls.sections()
        for name in (known.name for known in fields(cls)):
            yield from sections[name].leaves() if name in sections else [own[name]]

    @classmethod
    def of(cls, **given: Any) -> Self:
        """One with these values, by their options' names, in whatever section they are; see `Option`.

        Raises:
            UserError: If a value is out of range.
            TypeError: If there is no such option.
        """
        if unknown := given.keys() - {leaf.name for leaf in cls.leaves()}:
            known = ", ".join(leaf.name for leaf in cls.leaves())
            raise TypeError(f"expected options of {cls.__name__} ({known}), got {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {leaf.field.name: given[leaf.name] for leaf in cls.own() if leaf.name in given}
        for name, section in cls.sections().items():
            values[name] = section.of(
                **{leaf.name: given[leaf.name] for leaf in section.leaves() if leaf.name in given}
            )
        return cls(**values)

    def flat(self) -> dict[str, Any]:
        """All values by their options' names, as `of` takes them."""
        values = {leaf.name: getattr(self, leaf.field.name) for leaf in self.own()}
        for name in self.sections():
            values |= getattr(self, name).flat()
        return values

    def having(self, **given: Any) -> Self:
        """The same but for these values, as of `of`."""
        return self.of(**(self.flat() | given))

    def recorded(self) -> dict[str, Any]:
        """Values of the options that decide the results, by name, for run.json."""
        values = self.flat()
        kept = ((leaf, values[leaf.name]) for leaf in self.leaves() if leaf.option.decides)
        return {leaf.name: value for leaf, value in kept if not leaf.option.sparse or value != leaf.field.default}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Defaults of those options, for manifests that lack one."""
        return {leaf.name: leaf.field.default for leaf in cls.leaves() if leaf.option.decides}
