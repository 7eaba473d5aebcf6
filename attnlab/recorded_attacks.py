"""Attacks as manifests describe them: their norm, target and region, and whether they are corruptions."""

from collections.abc import Mapping
from typing import Any


def norm_of(attack: Mapping[str, Any]) -> str:
    """The norm of an attack, as a manifest describes it; older runs name none."""
    return str(attack.get("norm", "linf"))


def is_targeted(attack: Mapping[str, Any] | None) -> bool:
    """Whether an attack, as a manifest describes it, moves images to a class; None stands for the clean image."""
    return attack is not None and attack.get("target") is not None


def where_of(attack: Mapping[str, Any]) -> str:
    """Where an attack may change pixels, `outside` or `inside` the ground truth; empty for everywhere."""
    where = str(attack.get("where", "all"))
    return "" if where == "all" else where


def is_corruption(attack: Mapping[str, Any]) -> bool:
    """Whether an attack is a corruption, which has no budget."""
    return "corruption" in attack
