"""What a check found."""

from typing import Literal, NamedTuple

State = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        topic: What it is about, such as `data`.
        name: Of the thing that was looked at, such as `mnist`.
        told: What there is, or is not.
        advice: What to do about it; empty where nothing need be done.
        state: `problem` where it hinders work, `note` where it is worth knowing.
    """

    topic: str
    name: str
    told: str
    advice: str = ""
    state: State = "ok"


def from_error(topic: str, name: str, error: Exception, state: State = "problem") -> Finding:
    """A finding from an error's text; what follows its semicolon is the advice."""
    told, _, advice = str(error).partition("; ")
    if not told or not isinstance(error, ValueError):  # an error of the system: its kind says more
        told = f"{type(error).__name__}: {error}"
        advice = ""
    return Finding(topic, name, told, advice, state)
