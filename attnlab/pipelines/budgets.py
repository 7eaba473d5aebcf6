"""From names of attacks to attacks, with the data set's budget where none is given."""

from dataclasses import replace
from typing import Any, NamedTuple

from attnlab.attacks import A3, CLEAN, MOST_RESTARTS, MOST_STEPS, OTHER_ATTACKS, Attack, OtherAttack, expect_step
from attnlab.attacks.parse import SIGMA, parse_attack, parse_eps
from attnlab.config.analyze import MapAttackOptions
from attnlab.errors import UserError, expect_between
from attnlab.names import attacks_of_one_step


class Budget(NamedTuple):
    """How far attacks may go: eps and length of a step in pixels of [0, 1], number of steps."""

    eps: float
    step_size: float
    steps: int


#: data set -> the paper's eps (section 5.3) with the steps of Madry et al. (2018), who attack no ImageNet
BUDGETS = {"mnist": Budget(0.3, 0.01, 40), "cifar10": Budget(8 / 255, 2 / 255, 10)}
BUDGET = Budget(16 / 255, 2 / 255, 10)


def parse_one(name: str, data: str, **options: Any) -> Attack:
    """The attack of that name, one of the loop; options as for `parse_attacks`.

    Raises:
        UserError: If it is none, or a value is out of range.
    """
    parse_attack(name)  # refuses what is none of the loop's, and names those that are
    attack = parse_attacks(name, data, **options)[name]
    assert isinstance(attack, Attack)
    return attack


def ready_attack(options: MapAttackOptions, data: str) -> Attack:
    """The attack that options name, or the one that stands in a name's place.

    Raises:
        UserError: If a value is out of range, or a ready attack comes with options of its own.
    """
    if isinstance(options.name, str):
        named = parse_one(options.name, data, **options.strength())
        return replace(named, label_smoothing=options.label_smoothing)
    given = replace(options, name="stepll", eps=None)
    if given != MapAttackOptions():
        raise UserError(f"expected an attack that is ready to come with eps alone, got {given.flat()}")
    return options.name


def parse_attacks(
    text: str,
    data: str,
    *,
    eps: str | float | None = None,
    steps: int | None = None,
    step_size: str | float | None = None,
    restarts: int = 1,
    sigma: float = SIGMA,
) -> dict[str, Attack | OtherAttack | None]:
    """Attacks of a list such as `clean,fgsm,pgd10,pgd+a3`, with the budget of the data set where none is given.

    Args:
        text: Names, with commas between them.
        data: Name of the data set.
        eps: Of every attack; see `parse_eps`.
        steps: Of iterative attacks whose name carries none.
        step_size: Of iterative attacks.
        restarts: Of attacks with a random start.
        sigma: Of attacks with A3.

    Raises:
        UserError: If a name is unknown or a value out of range.
    """
    budget = BUDGETS.get(data, BUDGET)
    radius = budget.eps if eps is None else parse_eps(eps)
    length = budget.step_size if step_size is None else parse_eps(step_size, "--step-size")
    expect_step(length)
    if steps is not None:
        expect_between(steps, 1, MOST_STEPS, "--steps")
    expect_between(restarts, 1, MOST_RESTARTS, "--restarts")
    named: dict[str, Attack | OtherAttack | None] = {}
    for name in (part.strip() for part in text.split(",")):
        if name == CLEAN:
            named[name] = None
            continue
        if name in OTHER_ATTACKS:
            named[name] = OtherAttack(name, radius)
            continue
        attack = replace(
            parse_attack(
                name, steps=budget.steps if steps is None else steps, sigma=sigma, others=[CLEAN, *OTHER_ATTACKS]
            ),
            eps=radius,
        )
        if name.removesuffix(A3) not in attacks_of_one_step():
            attack = replace(attack, step_size=length)
        named[name] = replace(attack, restarts=restarts) if attack.random_start else attack
    return named
