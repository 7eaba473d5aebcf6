"""What the checks of a run's models found, as lines."""

from pathlib import Path

import pandas as pd

FILE = "checks.csv"


def check_lines(folder: Path, none: str = "") -> list[str]:
    """A line for each finding in a run's checks.csv.

    Args:
        folder: The run's.
        none: The line where the checks found nothing; empty for no line.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)[["model", "found"]]
    except (ValueError, KeyError, OSError):
        return [f"{path} is damaged: delete it, and repeat the command that made the run"]
    lines = [f"check: {model}: {told}" for model, told in found.itertuples(index=False)]
    return lines or ([none] if none else [])
