"""From what a user writes to the class that targeted attacks aim at: `7`, `name:zebra`, `likely:2`, `least-likely`."""

from collections.abc import Iterable, Mapping, Sequence

from attnlab.attacks import ATTACKS
from attnlab.attacks.limits import LEAST_LIKELY, likely_rank
from attnlab.attacks.others import OTHER_ATTACKS
from attnlab.attacks.parse import stem_of
from attnlab.errors import UserError, nearest
from attnlab.models.class_order import Name

OPTION = "--attack-target"
INDEX, NAME = "index:", "name:"
SHOWN = 5  # how many classes a refusal lists


def check_targetable(names: Iterable[str]) -> None:
    """Refuse attacks that cannot aim at a class of the user's choice, and a list without one that can.

    The names are known; what is no attack, such as `clean` and corruptions, may stand beside one.
    """
    able = [name for name, attack in ATTACKS.items() if attack.targetable]
    stems = {name: name if name in OTHER_ATTACKS else stem_of(name) for name in names}
    expected = f"expected {OPTION} with attacks of {', '.join(able)}"
    for name, stem in stems.items():
        if name in OTHER_ATTACKS:
            raise UserError(f"{expected}, got {name}, which is run as published")
        if stem in ATTACKS and stem not in able:
            reason = "is on maps" if ATTACKS[stem].distance else "aims at the least likely class itself"
            raise UserError(f"{expected}, got {name}, which {reason}")
    if not set(stems.values()) & set(able):
        raise UserError(f"{expected}, got {', '.join(stems)}")


def parse_target(written: int | str, names: Sequence[str], classes: int) -> int | str:
    """The target as an `Attack` has it, see `check_target`.

    Args:
        written: `least-likely`, `likely:K`, or a class: its index, its name, or `index:N` or `name:NAME`.
        names: Of the classes, by their index; empty where they are not known.
        classes: Number of classes.

    Raises:
        UserError: If there is no such class, or what is written can mean two.
    """
    text = str(written).strip()
    rank = likely_rank(text)
    if rank is not None and rank > classes:
        raise UserError(f"expected {OPTION} to be at most likely:{classes}, the least likely class, got {text}")
    if text == LEAST_LIKELY or rank is not None:
        return text
    if text.startswith(INDEX) or isinstance(written, int):
        return _index(text.removeprefix(INDEX), classes)
    if text.startswith(NAME):
        return _named(text.removeprefix(NAME), names)
    called = _places(text, names)
    if text.isdecimal() and called not in ([], [int(text)]):
        numbers = " or ".join(f"{place} ({names[place]!r})" for place in called)
        raise UserError(
            f"expected {OPTION} to mean one class, got {text}, which is the index of one and the name of class "
            f"{numbers}; write {INDEX}{text} or {NAME}{text}"
        )
    return _index(text, classes) if text.isdecimal() else _named(text, names)


def shared_target(written: int | str, known: Mapping[str, tuple[Sequence[str], int]]) -> int | str:
    """The same for several models: of each the names of its classes, by their index, and how many there are."""
    targets = {model: parse_target(written, names, classes) for model, (names, classes) in known.items()}
    if len(set(targets.values())) > 1:
        listed = ", ".join(f"{target} of {model}" for model, target in targets.items())
        raise UserError(f"expected {OPTION} {written} to be one class of all models, got {listed}; evaluate them apart")
    return next(iter(targets.values()))


def _index(text: str, classes: int) -> int:
    if text.isdecimal() and len(text) < 10 and int(text) < classes:
        return int(text)
    raise UserError(f"expected {OPTION} to be a class from 0 to {classes - 1}, got {text}")


def _named(text: str, names: Sequence[str]) -> int:
    places = _places(text, names)
    if len(places) == 1:
        return places[0]
    if places:
        listed = " or ".join(f"{INDEX}{place} ({names[place]!r})" for place in places)
        raise UserError(f"expected {OPTION} to mean one class, got {text!r}, which may be {listed}")
    if not names:
        raise UserError(f"expected {OPTION} as the index of a class, got {text!r}: neither data nor model name classes")
    first = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    raise UserError(
        f"expected {OPTION} to be {LEAST_LIKELY}, likely:K, the index of a class or one of its names ({first}), got "
        f"{text!r}{nearest(text, names)}"
    )


def _places(text: str, names: Sequence[str]) -> list[int]:
    """Classes that a name can mean, compared as data and models are; those that are written just so where there are."""
    wanted = Name.of(text)
    found = [place for place, name in enumerate(names) if wanted.may_be(Name.of(name))] if text else []
    return [place for place in found if names[place] == text] or found
