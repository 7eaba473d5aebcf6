"""What a run comes to."""

from typing import NamedTuple

import pandas as pd


class Report(NamedTuple):
    """What a run comes to.

    Attributes:
        summary: Lines for people: images, accuracy, what was left out.
        captions: Of each table.
        frames: Each table, tidy.
    """

    summary: list[str]
    captions: dict[str, str]
    frames: dict[str, pd.DataFrame]
