"""A figure on its way to a folder, and what was left out."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from attnlab.errors import UserError, expect_one_of
from attnlab.records import as_fraction
from attnlab.report.base import data_of
from attnlab.report.figures.style import mark, save


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        name: Of its files.
        caption: What it shows, how its images were chosen.
        figure: To be saved.
    """

    name: str
    caption: str
    figure: Figure


class Drawn(NamedTuple):
    """What was drawn.

    Attributes:
        folder: Of the files.
        captions: Of each figure, by name.
        notes: Lines for people: what was left out and why, what is unfinished.
    """

    folder: Path
    captions: dict[str, str]
    notes: list[str]


class LeftOut(Exception):  # noqa: N818 - a fact about one figure, not a failure
    """A figure that cannot be made of what there is; its text says why."""


class NothingDrawn(UserError):  # noqa: N818 - named after what happened
    """No figure can be made of what there is; the text says why of each."""


#: makes the figures of one kind, and may note what it left out
Maker = Callable[[list[str]], Iterable[Drawing]]


def draw(
    makers: Mapping[str, Maker], folder: Path, what: str, only: Collection[str] = (), unfinished: str = ""
) -> Drawn:
    """Make figures and save them.

    Args:
        makers: Of each kind of figure that there is for this input, by name.
        folder: Where the files go.
        what: What is drawn, for errors, such as a run's folder.
        only: Kinds to make; by default all that can be made.
        unfinished: Written over each figure, if it says anything.

    Raises:
        UserError: If a kind is unknown, one that was asked for cannot be made, or none can; or if the folder cannot be
            written (of them, NothingDrawn: if none can).
    """
    for name in only:
        expect_one_of(name, makers, f"--only for {what}")
    captions: dict[str, str] = {}
    notes = [f"unfinished: {unfinished}"] if unfinished else []
    for name in only or makers:
        try:
            for drawing in makers[name](notes):
                caption = f"{drawing.caption}{f' Unfinished: {unfinished}.' if unfinished else ''}"
                if unfinished:
                    mark(drawing.figure, f"unfinished: {unfinished}")
                save(drawing.figure, folder, drawing.name, caption)
                captions[drawing.name] = caption
        except LeftOut as reason:
            if name in only:
                raise UserError(f"{name} cannot be drawn of {what}: {reason}") from None
            notes.append(f"{name} is left out: {reason}")
    if not captions:
        raise NothingDrawn(f"nothing can be drawn of {what}: {'; '.join(notes)}")
    return Drawn(folder, captions, notes)


def for_each_eps(name: str, budgets: list[float]) -> list[tuple[int, float, str]]:
    """Place, eps and file name of a figure that is about one eps; the eps is part of it where there are several."""
    several = len(budgets) > 1
    return [
        (place, eps, f"{name}-eps-{as_fraction(eps).replace('/', '-')}" if several else name)
        for place, eps in enumerate(budgets)
    ]


def setting(manifest: Mapping[str, Any], eps: float | None = None) -> str:
    """What an analysis was of, as a caption says it."""
    options = manifest["options"]
    known = [Path(str(options["model"])).name, data_of(options)]
    attack = options["attack_name"]
    budgets = options["eps"] if eps is None else [eps]
    return f"{', '.join([*known, attack])}, ε = {', '.join(map(as_fraction, budgets))}"
