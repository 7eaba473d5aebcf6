"""What a run comes to."""

from typing import NamedTuple

import pandas as pd

from attnlab.report.description import data_of, map_method, with_names

__all__ = ["Report", "data_of", "map_method", "with_names"]


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
