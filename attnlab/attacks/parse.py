"""From what a user writes to an attack: `8/255`, `pgd20`, `iter-stepll+a3`."""

from collections.abc import Sequence
from dataclasses import replace

from attnlab import names
from attnlab.attacks import ATTACKS
from attnlab.attacks.pgd import Attack, expect_budget
from attnlab.errors import UserError
from attnlab.names import expect_attack

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
    known, digits, deviates = expect_attack(name, *_loops(), others)
    attack = ATTACKS[known]
    if attack.steps > 1 and (digits or steps is not None):
        attack = replace(attack, steps=digits or steps)  # type: ignore[arg-type]
    return replace(attack, sigma=sigma) if deviates else attack


def attack_names() -> list[str]:
    """How attacks may be written, for people."""
    return names.attack_names(*_loops())


def _loops() -> tuple[list[str], list[str]]:
    """Names in ATTACKS: those of one step, and those of several."""
    single = [name for name, attack in ATTACKS.items() if attack.steps == 1]
    return single, [name for name in ATTACKS if name not in single]
