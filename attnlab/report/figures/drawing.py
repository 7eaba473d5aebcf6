"""A figure on its way to a folder, and what was left out."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from attnlab.errors import UserError
from attnlab.report.description import Manifest
from attnlab.report.figures import FIGURES
from attnlab.report.figures.style import mark, save
from attnlab.views import Examples, LeftOut


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        figure: To be saved, or shown in a notebook.
        caption: What it shows, how its images were chosen.
    """

    figure: Figure
    caption: str


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


class NothingDrawn(UserError):  # noqa: N818 - named after what happened
    """No figure can be made of what there is; the text says why of each."""


#: what a figure without images is drawn of: a frame, and the manifest of what it is about
Numbers = tuple[pd.DataFrame, Manifest]
#: what a figure is drawn of, by what its files' names end in where there are several; or why it cannot be drawn
Inputs = Mapping[str, Examples | Numbers] | LeftOut


def draw(
    figures: Iterable[tuple[str, Inputs]],
    folder: Path,
    what: str,
    only: Collection[str] = (),
    unfinished: str = "",
    *,
    grid: bool = False,
) -> Drawn:
    """Draw figures and save them.

    Args:
        figures: Names in FIGURES, and what each is drawn of.
        folder: Where the files go.
        what: What is drawn, for errors, such as a run's folder.
        only: Names of figures that must not be left out.
        unfinished: Written over each figure, if it says anything.
        grid: Draw the borders of the maps' cells.

    Raises:
        UserError: If a figure of `only` cannot be made, or none can (NothingDrawn); or if the folder cannot be written.
    """
    captions: dict[str, str] = {}
    notes = [f"unfinished: {unfinished}"] if unfinished else []
    for name, inputs in figures:
        try:
            for file, drawing in _drawings(name, inputs, notes, grid=grid):
                caption = f"{drawing.caption}{f' Unfinished: {unfinished}.' if unfinished else ''}"
                if unfinished:
                    mark(drawing.figure, f"unfinished: {unfinished}")
                save(drawing.figure, folder, file, caption)
                captions[file] = caption
        except LeftOut as left_out:
            reason = str(left_out) or f"it needs {FIGURES[name].needs}"
            if name in only:
                raise UserError(f"{name} cannot be drawn of {what}: {reason}") from None
            notes.append(f"{name} is left out: {reason}")
    if not captions:
        raise NothingDrawn(f"nothing can be drawn of {what}: {'; '.join(notes)}")
    return Drawn(folder, captions, notes)


def _drawings(name: str, inputs: Inputs, notes: list[str], *, grid: bool) -> Iterator[tuple[str, Drawing]]:
    """Each drawing of a figure, with its files' name; a note for each group that has no image."""
    if isinstance(inputs, LeftOut):
        raise inputs
    if not inputs:
        raise LeftOut
    for part, data in inputs.items():
        file = f"{name}-{part}" if part else name
        if isinstance(data, Examples):
            groups = [(group, images) for group, images in data.groups if images]
            notes += [
                f"{file}: there is no image for the row {group}, which is left out"
                for group, images in data.groups
                if not images
            ]
            yield file, FIGURES[name](data._replace(groups=groups), grid=grid)
        else:
            yield file, FIGURES[name](*data)
