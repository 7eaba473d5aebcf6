"""A study from its runs to its folder: tables, figures, a summary in Markdown and a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attnlab.errors import UserError, check_installed, check_one_of
from attnlab.files import make_folder, write_whole
from attnlab.records import as_csv
from attnlab.report.description import study_setting
from attnlab.report.figures.style import save
from attnlab.report.tables.latex import as_latex
from attnlab.report.tables.layout import Layout
from attnlab.study import CLAIMS
from attnlab.study.adjudicate import SMALLEST, adjudicate
from attnlab.study.comparisons import comparisons
from attnlab.study.forest import forest
from attnlab.study.formula import fit_formula, parse_formula
from attnlab.study.inputs import Inputs, read_runs
from attnlab.study.page import Part, Sheet, as_svg
from attnlab.study.tables import formula_layout, of_claim, summary_layout

PAGE, SUMMARY = "study.html", "summary.md"
QUESTION = "Are the claims true, and of which models?"


@dataclass(frozen=True)
class Study:
    """A study, ready to be written.

    Attributes:
        inputs: Its runs.
        claims: The table of the paper's claims, see `attnlab.study.adjudicate.COLUMNS`; empty where formulas are asked.
        formulas: The terms of each formula of the user's, see `attnlab.study.formula.COLUMNS`.
        smallest: The smallest difference that matters.
        options: What the command was given beside the runs.
    """

    inputs: Inputs
    claims: pd.DataFrame
    formulas: dict[str, pd.DataFrame]
    smallest: float = SMALLEST
    options: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The claims that something can be said of."""
        return list(dict.fromkeys(self.claims["claim"]))

    def in_short(self) -> Layout:
        """Verdicts, or terms of the formulas, as the console shows them."""
        if not self.formulas:
            return summary_layout(self.claims)
        return formula_layout(pd.concat(self.formulas.values(), ignore_index=True))

    def write(self, folder: Path) -> list[str]:
        """Write it to a folder, and return the names of the files."""
        make_folder(folder)
        texts = {f"{name}.csv": as_csv(frame) for name, frame in self._frames().items()}
        parts, files = [], []
        for number, (formula, frame) in enumerate(self.formulas.items(), 1):
            layout, key = formula_layout(frame), f"formula{number}"
            texts[f"{key}.tex"] = as_latex(layout, f"{formula}.", label=f"tab:{key}", source=self._source())
            parts.append(Part(key, f"Formula {number}", formula, layout))
        for claim in self.names:
            drawing, caption, key = forest(self.claims, claim), CLAIMS[claim].sentence, f"claim{claim}"
            rows = self.claims[self.claims["claim"] == claim]
            of_models = {str(model): of_model for model, of_model in rows.groupby("model", sort=False)}
            texts[f"{key}.tex"] = "\n".join(
                as_latex(
                    of_claim(of_model, claim, paper=True),
                    f"{caption} {model}.",
                    label=f"tab:{key}" if not number else f"tab:{key}-{number + 1}",
                    source=self._source(),
                )
                for number, (model, of_model) in enumerate(of_models.items())
            )
            picture = as_svg(drawing.figure)
            files += [path.name for path in save(drawing.figure, folder, key, drawing.caption)]
            parts.append(Part(key, f"Claim {claim}", caption, of_claim(self.claims, claim), picture, drawing.caption))
        about = (self.title, self.settings, self.inputs.notes, self.command)
        sheet = Sheet("study", QUESTION, *about, "Verdicts", self.rules, self.in_short(), parts)
        texts |= {SUMMARY: sheet.markdown(), PAGE: sheet.html()}
        for name, text in texts.items():
            write_whole(folder / name, text.encode())
        return [*texts, *files]

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {"images": self.inputs.images, "outcomes": self.inputs.outcomes}
        frames |= {"formulas": pd.concat(self.formulas.values())} if self.formulas else {"claims": self.claims}
        return {name: frame for name, frame in frames.items() if frame is not None}

    @property
    def title(self) -> str:
        """Models and data."""
        tables = [table for table in (self.inputs.images, self.inputs.outcomes) if table is not None]
        models = dict.fromkeys(model for table in tables for model in table["model"])
        data = dict.fromkeys(manifest["options"]["data"] for manifest in self.inputs.manifests.values())
        return f"{', '.join(models)} on {', '.join(data)}"

    @property
    def settings(self) -> list[str]:
        """A line for each run."""
        return [f"{name}: {study_setting(manifest)}" for name, manifest in self.inputs.manifests.items()]

    @property
    def command(self) -> str:
        """The command that makes this study."""
        return shlex.join(["attnlab", "study", *self.inputs.manifests, *self.options])

    @property
    def rules(self) -> str:
        """How the verdicts come about, in a paragraph."""
        if self.formulas:
            return (
                "Coefficients with 95 % intervals; of an outcome of 0 and 1 they are log-odds. A model is fitted where "
                "there are ten images of the smaller group for each term, and said to be impossible otherwise."
            )
        return (
            "Holds: the difference is as claimed, p < .05 by permutations after Holm's correction over the methods, "
            "and so is the coefficient in a logistic regression on what else may explain it. Holds only before "
            "control: the first alone. Not controlled: the regression cannot be made, and it is said why. Reversed: "
            "the difference is significant and against the claim. No such difference: its interval lies within "
            f"{self.smallest:g} of 0. Cannot be told at this n: all else."
        )

    def _source(self) -> str:
        return f"{self.command}. {'; '.join([*self.settings, *self.inputs.notes])}"


def study(
    folders: Sequence[Path],
    *,
    claim: Sequence[str] = (),
    cells: int | None = None,
    smallest: float = SMALLEST,
    defended: Sequence[str] = (),
    called: Sequence[object] = (),
    features: int | None = None,
) -> Study:
    """Adjudicate the paper's claims, or fit formulas of the user's own, from runs.

    Args:
        folders: Of runs of `analyze` or `evaluate`, finished or not.
        claim: Formulas over the table of images, in place of the paper's claims.
        cells: Of the areas by which clean and attacked map are compared; by default at most ten.
        smallest: The smallest difference that matters.
        defended: Runs, as they are called, of models that were trained with a defence, where they do not say.
        called: What the runs are called; by default their folders.
        features: Superpixels of LIME's areas; by default 8.

    Raises:
        UserError: If statsmodels is not installed, a folder holds no readable run, runs share too few images, or a
            formula names what is no column.
    """
    check_installed("statsmodels", "study")
    names = [str(name) for name in called or folders]
    for name in defended:
        check_one_of(name, names, "--defended")
    inputs = read_runs(folders, cells, names, defended, features)
    given = [*(("--claim", text) for text in claim), *(("--defended", name) for name in defended)]
    given += [(flag, str(value)) for flag, value in (("--cells", cells), ("--features", features)) if value]
    given += [("--smallest", f"{smallest:g}")] if smallest != SMALLEST else []
    options = tuple(word for pair in given for word in pair)
    if not claim:
        table = adjudicate(comparisons(inputs, (), inputs.notes), smallest)
        return Study(inputs, table, {}, smallest, options)
    if inputs.images is None:
        raise UserError("expected a run of `attnlab analyze` for --claim, got evaluations alone")
    parsed = [parse_formula(text, [*inputs.images.columns]) for text in claim]
    fitted = {formula.text: fit_formula(inputs.images, formula) for formula in parsed}
    return Study(inputs, adjudicate([]), fitted, smallest, options)
