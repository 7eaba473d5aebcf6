"""Configuration of a leaderboard of runs."""

from dataclasses import dataclass
from pathlib import Path

from attnlab.config.option import Options, option


@dataclass(frozen=True)
class LeaderboardConfig(Options):
    """Configuration of `attnlab leaderboard`.

    Attributes:
        sort: Column that decides the order, such as "stepll 4/255" or "iou"; by default accuracy under the first
            attack.
        method: Whose maps are compared; by default the first that all analyses have.
        against: Model, by its name in the table, with which the others are compared; by default the first in order.
        out: Folder to write to; by default RUN/leaderboard, in the first run.
    """

    sort: str | None = option(None, metavar="COLUMN")
    method: str | None = option(None, metavar="METHOD")
    against: str | None = option(None, metavar="MODEL")
    out: Path | None = option(None, parse=Path)
