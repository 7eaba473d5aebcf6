"""From what a user writes to an attack: `8/255`, `pgd20`, `iter-stepll+a3`, `clean,square,pgd10`; no torch."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attnlab.attacks import A3, ATTACKS, CLEAN, Attack
from attnlab.attacks.corruptions import Corruption, is_corruption, known_corruptions, parse_corruptions
from attnlab.attacks.limits import MOST_RESTARTS, MOST_STEPS, check_budget, check_step
from attnlab.attacks.norms import NORMS
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.data import DATASETS
from attnlab.data.regions import WHERE
from attnlab.errors import UserError, check_between, nearest
from attnlab.words import listed

SIGMA = 10.0  # sigma of Table 7
TABLE6 = "clean,fgsm,pgd10,pgd20,pgd40,pgd100,cw10,cw20,cw40,cw100"  # attacks in the columns of Table 6
DECIMAL_COMMA = re.compile(r"0,\d+")  # a number below 1 as it is written in many countries
#: budgets that papers use, in grey levels; decimals and distance from which a number is taken for one of them
USUAL = (1, 2, 4, 8, 16)
ROUNDED = 3
EXACT = 1e-7


def parse_eps(text: str | float, what: str = "eps", norm: str | None = "linf") -> float:
    """A length in pixels of [0, 1], written as a number or as a fraction such as `8/255`; a number is checked.

    Raises:
        UserError: If it is neither, or out of [0, 1]; in L2 only below 0, and not while the norm is None.

    >>> parse_eps("8/255") == 8 / 255
    True
    """
    if not isinstance(text, str):
        check_budget(text, what, norm)
        return text
    written = text.strip()
    numerator, slash, denominator = written.partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        hint = f"; did you mean {written.replace(',', '.')}?" if DECIMAL_COMMA.fullmatch(written) else ""
        raise UserError(f"expected {what} as a number or a fraction such as 8/255, got {text!r}{hint}") from None
    check_budget(value, what, norm)
    if norm != "l2":
        _hint_at_grey_levels(written, value, what)
    return value


def parse_budgets(text: str, norm: str | None = "linf") -> tuple[float, ...]:
    """Several eps with commas between them, such as `4/255,8/255`; refuse commas that may stand for decimal points."""
    if DECIMAL_COMMA.fullmatch(text.strip()):
        zero, digits = text.strip().split(",")
        raise UserError(
            f"expected eps with a decimal point, got {text!r}; did you mean 0.{digits}? "
            f"Two budgets, {zero} and {digits}, are written {zero}.0,{digits}.0"
        )
    return tuple(parse_eps(part, norm=norm) for part in text.split(","))


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
    """The attack of a name such as `pgd20` or `iter-stepll+a3`: one in ATTACKS, its number of steps, `+a3` behind both.

    `steps` is of an iterative attack whose name carries none, `sigma` the weight of the attention deviation, for `+a3`;
    `others` are names that would do here too, for the error's text, which lists all and the nearest.
    """
    known, digits, deviates = _parts(name, others)
    attack = ATTACKS[known]
    if deviates and is_map_attack(known):
        raise UserError(f"expected {A3} behind an attack on the prediction, got {name}, which is on maps itself")
    if deviates and not attack.deviates:
        raise UserError(
            f"expected {A3} behind an attack that looks at images as they are, got {name}, which looks at copies, "
            "resized and moved: their maps are of other places"
        )
    if known in iterative_attacks() and (digits or steps is not None):
        attack = replace(attack, steps=digits or steps)  # type: ignore[arg-type]
    return replace(attack, sigma=sigma) if deviates else attack


def other_names() -> list[str]:
    """Names that are no attack of the loop, where an evaluation may have them."""
    return [CLEAN, *OTHER_ATTACKS]


def _parts(name: str, others: Sequence[str] = ()) -> tuple[str, int | None, bool]:
    """The attack's own name, its number of steps where the name carries one, and whether it climbs the deviation."""
    iterative = iterative_attacks()
    stem, plus, rest = name.partition("+")
    known, digits = re.fullmatch(r"(.*?)(\d{0,9})", stem, re.DOTALL).groups()  # type: ignore[union-attr]
    if known in ATTACKS and (not digits or (known in iterative and int(digits) > 0)) and plus + rest in ("", A3):
        return known, int(digits) if digits else None, bool(plus)
    if name in other_names() and name not in others:
        raise UserError(
            f"expected an attack whose maps can be compared, of {', '.join(attack_names())}, got "
            f"{name!r}; `attnlab evaluate --attacks {name}` measures the accuracy under it"
        )
    listed = "; or ".join(", ".join(names) for names in (attack_names(), others) if names)
    number = "".join(re.findall(r"\d{1,9}", name)[:1])
    numbered = (f"{stem}{int(number)}" for stem in iterative if int(number or 0))
    written = {*ATTACKS, *numbered}
    written |= {stem + A3 for stem in written if not stem.startswith(tuple(without_a3()))}
    near = nearest(name, {*written, *others, *known_corruptions()} - {name})
    raise UserError(f"expected an attack of {listed}, got {name!r}{near}")


def check_everywhere(name: str, where: str) -> None:
    """Refuse a region for what is no attack of the loop, which alone knows one."""
    if where != WHERE[0]:
        able = ", ".join(attack_names())
        raise UserError(f"expected --where {WHERE[0]} with {name}, got {where}; attacks that go {where}: {able}")


def iterative_attacks() -> list[str]:
    """Names in ATTACKS of attacks that take several steps, whose number may stand behind the name."""
    return [name for name, attack in ATTACKS.items() if attack.steps > 1]


def map_attacks() -> list[str]:
    """Names in ATTACKS of attacks on maps, to which the options of those belong."""
    return [name for name, attack in ATTACKS.items() if attack.distance is not None]


def without_a3() -> list[str]:
    """Names in ATTACKS of attacks that do not climb A3's attention deviation."""
    return [name for name, attack in ATTACKS.items() if not attack.deviates]


def stem_of(name: str) -> str:
    """Name in ATTACKS of a name that is known, such as `pgd20+a3`: without its number of steps, and without +a3."""
    return name.strip().partition("+")[0].rstrip("0123456789")


def is_map_attack(name: str) -> bool:
    """Whether a name that is known, such as `explain20`, is of an attack on maps."""
    return stem_of(name) in map_attacks()


def attack_names() -> list[str]:
    """How attacks of the loop may be written, for people."""
    iterative = iterative_attacks()
    single = [name for name in ATTACKS if name not in iterative]
    written = [*single, *(f"{name} (or {name}K, of K steps)" for name in iterative)]
    return [*written, f"each but {listed(without_a3())} also with {A3}"]


def known_attacks() -> list[str]:
    """Every name of an attack of the loop, as it is completed."""
    return [*ATTACKS, *(name + A3 for name in ATTACKS if name not in without_a3())]


def parse_one(name: str, data: str, **options: Any) -> Attack:
    """The attack of that name, one of the loop; options as for `parse_attacks`."""
    parse_attack(name)  # refuses what is none of the loop's, and names those that are
    attack = parse_attacks(name, data, **options)[name]
    assert isinstance(attack, Attack)
    return attack


def parse_attacks(
    text: str,
    data: str,
    *,
    eps: str | float | None = None,
    steps: int | None = None,
    step_size: str | float | None = None,
    restarts: int = 1,
    sigma: float = SIGMA,
    explain: Mapping[str, Any] | None = None,
    norm: str = "linf",
    where: str = WHERE[0],
) -> dict[str, Attack | OtherAttack | Corruption | None]:
    """Attacks of a list such as `clean,fgsm,pgd10,pgd+a3`, with the budget of the data set where none is given.

    `steps` are of iterative attacks whose name carries none, `step_size` of all iterative ones, `restarts` of those
    with a random start, `sigma` of those with A3, `explain` values of `Attack` for those on maps, `where` of all of the
    loop: others go everywhere. Corruptions have a severity and none of these. The data set's budgets are of L-infinity:
    in another `norm` eps is to be given, and a step without a length has 2.5 eps / steps.
    """
    NORMS.expect(norm)
    budget, of_data = DATASETS.expect(data).budget, norm == "linf"
    if eps is None and not of_data:
        raise UserError(f"expected --eps with --norm {norm}, such as 0.5: the data sets' own budgets are of linf")
    radius = budget.eps if eps is None else parse_eps(eps, norm=norm)
    length = budget.step_size if of_data and step_size is None else step_size
    length = None if length is None else parse_eps(length, "--step-size", norm)
    if length is not None:
        check_step(length, norm)
    if steps is not None:
        check_between(steps, 1, MOST_STEPS, "--steps")
    check_between(restarts, 1, MOST_RESTARTS, "--restarts")
    named: dict[str, Attack | OtherAttack | Corruption | None] = {}
    for name in (part.strip() for part in text.split(",")):
        if name == CLEAN:
            named[name] = None
        elif is_corruption(name):
            check_everywhere(name, where)
            named |= {str(one): one for one in parse_corruptions(name)}
        elif name in OTHER_ATTACKS:
            check_everywhere(name, where)
            named[name] = OtherAttack(name, radius, norm=norm)
        else:
            attack = parse_attack(
                name, steps=budget.steps if steps is None else steps, sigma=sigma, others=other_names()
            )
            of_maps = (explain or {}) if attack.distance is not None else {}
            named[name] = replace(
                attack,
                **of_maps,
                norm=norm,
                where=where,
                eps=radius,
                step_size=length if _parts(name)[0] in iterative_attacks() else attack.step_size,
                restarts=restarts if attack.random_start else attack.restarts,
            )
    return named
