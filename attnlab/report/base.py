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


def with_names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with names under "options" also where a call from Python gave none."""
    options = manifest["options"]
    names: dict[str, Any] = {"data": manifest["data"].get("name", "data"), "split": "", "weights": ""}
    if manifest["kind"] == "evaluate":
        known = options.get("order", [name for name in manifest["model"] if name != "transfer"])
        names["models"] = {name: {"network": name, "defense": "none"} for name in known}
        names |= {"transfer": "another model" if "transfer" in manifest["model"] else None, "stop": False}
    else:
        names |= {"model": f"model {manifest['model'].get('sha256', '')[:8]}".strip()}
        names |= {"attack_name": options["attack"].get("objective", "attack")}
    return {**manifest, "options": {**names, **options}}


def data_of(options: Mapping[str, Any]) -> str:
    """Name and split of the data, by a manifest's options."""
    return f"{options['data']} {options['split']}".strip()


def map_method(options: Mapping[str, Any]) -> str | None:
    """The method whose maps the records of an analysis hold, by its manifest's options; None if there are none."""
    return next((method for method in options["methods"] if method != "lime"), None)


def falls_short(attack: Mapping[str, Any], eps: float) -> bool:
    """Whether an attack, as a manifest tells it, cannot move any pixel as far from its start as the budget allows."""
    length = attack.get("step_size")  # suites have none
    return length is not None and attack["steps"] * length < eps * (1 - 1e-6)
