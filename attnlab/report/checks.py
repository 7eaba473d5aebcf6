"""What the checks of a run's models found, as lines."""

from pathlib import Path

from attnlab.records import CHECKS, read_checks


def check_lines(folder: Path, none: str = "") -> list[str]:
    """A line for each finding in a run's checks.csv.

    Args:
        folder: The run's.
        none: The line where the checks found nothing; empty for no line.
    """
    found = read_checks(folder)
    if found is None:
        there = (folder / CHECKS).exists()
        return [f"{CHECKS} is damaged: the command that made this run makes it again"] if there else []
    lines = [f"check: {model}: {told}" for model, told in found]
    return lines or ([none] if none else [])
