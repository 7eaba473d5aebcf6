"""From what a user writes to an attack: `8/255`, `pgd20`, `iter-stepll+a3`."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace

from attnlab import names
from attnlab.attacks import ATTACKS, Attack, expect_budget
from attnlab.errors import UserError
from attnlab.names import expect_attack

#: sigma of Table 7
SIGMA = 10.0
#: a number below 1 as it is written in many countries
DECIMAL_COMMA = re.compile(r"0,\d+")
#: budgets that papers use, in grey levels; decimals and distance from which a number is taken for one of them
USUAL = (1, 2, 4, 8, 16)
ROUNDED = 3
EXACT = 1e-7


def parse_eps(text: str | float, what: str = "eps") -> float:
    """A length in pixels of [0, 1], written as a number or as a fraction such as `8/255`; a number is checked.

    Raises:
        UserError: If it is neither, or out of [0, 1].
    """
    if not isinstance(text, str):
        expect_budget(text, what)
        return text
    written = text.strip()
    numerator, slash, denominator = written.partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        hint = f"; did you mean {written.replace(',', '.')}?" if DECIMAL_COMMA.fullmatch(written) else ""
        raise UserError(f"expected {what} as a number or a fraction such as 8/255, got {text!r}{hint}") from None
    expect_budget(value, what)
    _hint_at_grey_levels(written, value, what)
    return value


def parse_budgets(text: str) -> tuple[float, ...]:
    """Several eps with commas between them, such as `4/255,8/255`.

    Raises:
        UserError: If one is no eps, or commas may stand for decimal points.
    """
    if DECIMAL_COMMA.fullmatch(text.strip()):
        zero, digits = text.strip().split(",")
        raise UserError(
            f"expected eps with a decimal point, got {text!r}; did you mean 0.{digits}? "
            f"Two budgets, {zero} and {digits}, are written {zero}.0,{digits}.0"
        )
    return tuple(parse_eps(part) for part in text.split(","))


def _hint_at_grey_levels(written: str, value: float, what: str) -> None:
    """Warn of a number that looks like one of the usual budgets and is not it: 0.031 is not 8/255, nor is 8/256."""
    for levels in USUAL:
        exact = levels / 255
        digits = len(written.partition(".")[2])
        rounded = digits >= ROUNDED and abs(value - exact) < 10**-digits
        if value != exact and ((rounded and abs(value - exact) > EXACT) or written == f"{levels}/256"):
            warnings.warn(
                f"{what} {written} is not {levels}/255 = {exact:.6f}; write {levels}/255 for that", stacklevel=3
            )


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
