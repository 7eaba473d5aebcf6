"""The strength of attacks in words, from a manifest."""

from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.recorded_attacks import is_corruption, norm_of, where_of
from attnlab.words import as_fraction, counted, in_norm


def eps_of(budgets: Iterable[float | None]) -> str:
    """Every eps as a fraction of 255 where it is one: `4/255, 16/255`."""
    return ", ".join(map(as_fraction, budgets))


def falls_short(attack: Mapping[str, Any], eps: float | None) -> bool:
    """Whether an attack, as a manifest describes it, cannot move any pixel from its start as far as eps allows."""
    length = attack.get("step_size")  # attacks outside the loop have none
    return length is not None and eps is not None and attack["steps"] * length < eps * (1 - 1e-6)


def in_region(attack: Mapping[str, Any]) -> str:
    """Where an attack, as a manifest describes it, may change pixels; empty for everywhere."""
    where = where_of(attack)
    return f"pixels {where} the ground truth alone" if where else ""


def strength_of(options: Mapping[str, Any]) -> list[str]:
    """Name of an analysis' attack, its budget, and what else makes it as strong as it is."""
    attack = options["attack"]
    if is_corruption(attack):
        return [options["attack_name"], "a corruption without a budget"]
    steps, length = counted(attack["steps"], "step"), attack["step_size"]
    return [
        options["attack_name"],
        f"eps {in_norm(eps_of(options['eps']), norm_of(attack))}",
        f"{steps} of {as_fraction(length)}" if length is not None else steps if attack["steps"] > 1 else "",
        f"{attack['restarts']} random starts" if attack["restarts"] > 1 else "",
        f"sigma {attack['sigma']:g}" if attack["sigma"] is not None else "",
        f"label smoothing {attack['label_smoothing']:g}" if attack["label_smoothing"] else "",
    ]
