"""From what a user writes to an attack: `8/255`, `pgd20`, `iter-stepll+a3`."""

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from attnlab.attacks import ATTACKS
from attnlab.attacks.pgd import Attack, expect_budget
from attnlab.errors import UserError

#: what joins an attack's name to make it climb the attention deviation too
A3 = "+a3"
#: sigma of Table 7
SIGMA = 10.0


def parse_eps(text: str, what: str = "eps") -> float:
    """A length in pixels of [0, 1], written as a number or as a fraction such as `8/255`.

    Raises:
        UserError: If it is neither, or out of [0, 1].
    """
    numerator, slash, denominator = text.strip().partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"expected {what} as a number or a fraction such as 8/255, got {text!r}") from None
    expect_budget(value, what)
    return value


def parse_attack(name: str, *, steps: int | None = None, sigma: float = SIGMA, others: Sequence[str] = ()) -> Attack:
    """The attack of that name: one in ATTACKS, an iterative one with its number of steps behind it, `+a3` behind both.

    Args:
        name: Such as `pgd`, `pgd20`, `iter-stepll+a3`.
        steps: Of an iterative attack whose name carries none.
        sigma: Weight of the attention deviation, for `+a3`.
        others: Names that would do here too, for the error's text.

    Raises:
        UserError: If a part of the name is unknown; the text lists the names and the nearest.
    """
    stem, plus, rest = name.partition("+")
    known, digits = re.fullmatch(r"(.*?)(\d*)", stem).groups()  # type: ignore[union-attr]
    attack = ATTACKS.get(known)
    if attack is None or plus + rest not in ("", A3) or (digits and (attack.steps == 1 or int(digits) < 1)):
        listed = "; or ".join(", ".join(names) for names in (attack_names(), others) if names)
        raise UserError(f"expected an attack of {listed}, got {name!r}{_nearest(name, others)}")
    if attack.steps > 1 and (digits or steps is not None):
        attack = replace(attack, steps=int(digits or steps))  # type: ignore[arg-type]
    return replace(attack, sigma=sigma) if plus else attack


def attack_names() -> list[str]:
    """How attacks may be written, for people."""
    iterative = [f"{name} (or {name}K, of K steps)" for name, attack in ATTACKS.items() if attack.steps > 1]
    return [*(name for name, attack in ATTACKS.items() if attack.steps == 1), *iterative, f"each also with {A3}"]


def _nearest(name: str, others: Sequence[str]) -> str:
    digits = "".join(re.findall(r"\d+", name)[:1])
    numbered = (f"{stem}{int(digits)}" for stem, attack in ATTACKS.items() if attack.steps > 1 and int(digits or 0))
    stems = [*ATTACKS, *numbered]
    written = [stem + ending for stem in stems for ending in ("", A3)]
    near = get_close_matches(name, {*written, *others} - {name}, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
