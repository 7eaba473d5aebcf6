"""Findings of checks."""

from typing import Literal, NamedTuple

State = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """Finding of one check."""

    topic: str  # what it is about, such as `data`
    name: str  # of the thing that was looked at, such as `mnist`
    text: str  # what there is, or is not
    advice: str = ""  # what to do about it; empty where nothing need be done
    state: State = "ok"  # `problem` where it hinders work, `note` where it is worth knowing


def from_error(topic: str, name: str, error: Exception) -> Finding:
    """A problem from an error's text; what follows its semicolon is the advice."""
    text, _, advice = str(error).partition("; ")
    if not text or not isinstance(error, ValueError):  # an error of the system: its kind says more
        text, advice = f"{type(error).__name__}: {error}", ""
    return Finding(topic, name, text, advice, "problem")
