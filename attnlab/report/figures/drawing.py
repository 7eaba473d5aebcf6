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
from attnlab.views import Examples, LeftOut, shown_channels


class Drawing(NamedTuple):
    """A figure, to be saved or shown in a notebook, and its caption: what it shows, how its images were chosen."""

    figure: Figure
    caption: str


class Drawn(NamedTuple):
    """Result of drawing into a folder: captions by the names of the files, and what was left out and why."""

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
    source: str,
    only: Collection[str] = (),
    unfinished: str = "",
    *,
    grid: bool = False,
) -> Drawn:
    """Draw figures of FIGURES, by name, into a folder; refuse where one of `only` cannot be drawn, or none can.

    `source` is what they are drawn of, for errors; `unfinished` is written over each, if it says anything.
    """
    captions: dict[str, str] = {}
    notes = [f"unfinished: {unfinished}"] if unfinished else []
    for name, inputs in figures:
        try:
            for file, drawing in _drawings(name, inputs, notes, grid=grid):
                captions[file] = drawing.caption
                if unfinished:
                    captions[file] += f" Unfinished: {unfinished}."
                    mark(drawing.figure, f"unfinished: {unfinished}")
                save(drawing.figure, folder, file, captions[file])
        except LeftOut as left_out:
            reason = str(left_out) or f"it needs {FIGURES[name].needs}"
            if name in only:
                raise UserError(f"{name} cannot be drawn of {source}: {reason}") from None
            notes.append(f"{name} is left out: {reason}")
    if not captions:
        raise NothingDrawn(f"nothing can be drawn of {source}: {'; '.join(notes)}")
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
            empty = [group for group, images in data.groups if not images]
            notes += [f"{file}: there is no image for the row {group}, which is left out" for group in empty]
            shown = [(group, images) for group, images in data.groups if images]
            drawing = FIGURES[name](data._replace(groups=shown), grid=grid)
            views = (image.clean[0] for _, images in shown for image in images if image.clean)
            note = next((shown_channels(view.pixels.shape[2]) for view in views), "")
            yield file, drawing._replace(caption=f"{drawing.caption} {note}.") if note else drawing
        else:
            yield file, FIGURES[name](*data)
