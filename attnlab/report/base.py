"""What a run comes to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd


class Report(NamedTuple):
    """What a run comes to.

    Attributes:
        summary: Lines for people: images, accuracy, what was left out.
        captions: Of each table: its title and what its numbers depend on.
        frames: Each table, tidy.
        titles: The captions' first parts, short as a paper has them.
    """

    summary: list[str]
    captions: dict[str, str]
    frames: dict[str, pd.DataFrame]
    titles: dict[str, str]


def map_method(options: Mapping[str, Any]) -> str | None:
    """The method whose maps the records of an analysis hold, by its manifest's options; None if there are none."""
    return next((method for method in options["methods"] if method != "lime"), None)


def falls_short(attack: Mapping[str, Any], eps: float) -> bool:
    """Whether an attack, as a manifest tells it, cannot move any pixel as far from its start as the budget allows."""
    length = attack.get("step_size")  # suites have none
    return length is not None and attack["steps"] * length < eps * (1 - 1e-6)
