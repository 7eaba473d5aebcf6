"""A leaderboard from its runs to its folder: tables, differences, a figure, Markdown and a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.files import make_folder, write_whole
from attnlab.records import as_csv
from attnlab.report.description import data_of, study_setting
from attnlab.report.figures.style import save
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.layout import Layout
from attnlab.study.board import read_board
from attnlab.study.columns import GROUPS
from attnlab.study.page import Part, Sheet, as_svg
from attnlab.study.ranking import (
    Ranked,
    accuracies,
    by_condition,
    columns_layout,
    differences_layout,
    rank,
    short_layout,
    table,
)
from attnlab.study.scatter import plotted, scatter
from attnlab.views import LeftOut

NAME = "leaderboard"
QUESTION = "Which model is right, robust, and looks at the object?"
RULES = (
    "Accuracy: percent, of all images, with Wilson intervals. Attention: means over the images that the model "
    "classifies correctly and that have a usable box, where the data have boxes, with bootstrap intervals. Differences "
    "are of the images that both models have, with a bootstrap interval over images and p by sign flips; Holm's "
    "correction is over the models of a column."
)


@dataclass(frozen=True)
class Leaderboard:
    """A leaderboard, ready to be written.

    Attributes:
        ranked: Models in order.
        options: What the command was given beside the runs.
    """

    ranked: Ranked
    options: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What is to be known of it."""
        return self.ranked.board.notes

    @property
    def title(self) -> str:
        """Models and data."""
        data = dict.fromkeys(data_of(one["options"]) for one in self.ranked.board.manifests.values())
        return f"{', '.join(self.ranked.models)} on {', '.join(data)}"

    @property
    def command(self) -> str:
        """The command that makes it."""
        return shlex.join(["attnlab", NAME, *self.ranked.board.manifests, *self.options])

    def layouts(self) -> dict[str, Layout]:
        """A table for each group of columns that there is."""
        made = {group: by_condition(self.ranked, group) for group in GROUPS}
        made["accuracy"] = accuracies(self.ranked)
        return {group: layout for group, layout in made.items() if layout}

    def in_short(self) -> Layout:
        """The order."""
        return short_layout(self.ranked)

    def _about(self, group: str) -> str:
        maps = "" if group == "accuracy" else f" Maps of {self.ranked.board.method}."
        return f"{GROUPS[group]}.{maps}"

    def write(self, folder: Path) -> list[str]:
        """Write it to a folder, and return the names of the files."""
        make_folder(folder)
        board, files, notes = self.ranked.board, [], [*self.notes]
        settings = [f"{name}: {study_setting(manifest)}" for name, manifest in board.manifests.items()]
        parts = [Part(group, group.capitalize(), self._about(group), made) for group, made in self.layouts().items()]
        if len(self.ranked.differences):
            text = f"Each model less {self.ranked.against}, on the images that both have."
            parts.append(Part("differences", "Differences", text, differences_layout(self.ranked)))
        try:
            names = plotted(self.ranked)
            drawing = scatter(self.ranked, names)
            picture = as_svg(drawing.figure)
            files = [path.name for path in save(drawing.figure, folder, "scatter", drawing.caption)]
            shown = columns_layout(self.ranked, names)
            parts.insert(0, Part("scatter", "Scatter", "Robustness against gaze.", shown, picture, drawing.caption))
        except LeftOut as left_out:
            notes.append(f"there is no scatter: {left_out}")
        source = "; ".join([self.command, *settings, *notes])
        set_alone = [part for part in parts if not part.picture]
        latex = [as_latex(one.layout, one.sentence, label=f"tab:{NAME}-{one.key}", source=source) for one in set_alone]
        about = (self.title, settings, notes, self.command)
        sheet = Sheet(NAME, QUESTION, *about, "Order", RULES, self.in_short(), parts)
        texts = {
            f"{NAME}.csv": as_csv(table(self.ranked)),
            "differences.csv": as_csv(self.ranked.differences),
            f"{NAME}.tex": "\n".join(latex),
            f"{NAME}.md": sheet.markdown(),
            f"{NAME}.html": sheet.html(),
        }
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
        return [*texts, *files]


def leaderboard(
    folders: Sequence[Path],
    *,
    sort: str | None = None,
    method: str | None = None,
    against: str | None = None,
    called: Sequence[object] = (),
) -> Leaderboard:
    """Set models side by side, from runs.

    Args:
        folders: Of runs of `analyze` and `evaluate`, finished or not.
        sort: Column that decides the order; by default accuracy under the first attack.
        method: Whose maps are compared; by default the first that all analyses have.
        against: Model with which the others are compared; by default the first in order.
        called: What the runs are called; by default their folders.

    Raises:
        UserError: As of `read_board` and `rank`.
    """
    board = read_board(folders, method, called)
    given = {"--sort": sort, "--method": method, "--against": against}
    words = tuple(word for flag, value in given.items() if value for word in (flag, value))
    return Leaderboard(rank(board, sort, against), words)
