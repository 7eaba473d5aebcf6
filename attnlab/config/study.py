"""Configuration of a study of runs."""

from dataclasses import dataclass
from pathlib import Path

from attnlab.config.option import Options, option
from attnlab.errors import UserError


def _check_smallest(value: float, flag: str) -> None:
    if not 0 < value < 1:
        raise UserError(f"expected {flag} between 0 and 1, such as 0.03, got {value:g}")


@dataclass(frozen=True)
class StudyConfig(Options):
    """Configuration of `attnlab study`.

    Attributes:
        claim: Fit this formula in place of the paper's claims, for each run, eps and method: an outcome, ~, and what it
            may depend on, over the columns of images.csv; may be given several times. An outcome of 0 and 1 is fitted
            by a logistic regression, another by a linear one.
        cells: Cells of highest attention by which clean and attacked maps are compared; by default 10, or as many as
            Table 3 has of smaller maps.
        features: Strongest superpixels that make LIME's areas; by default 8.
        smallest: The smallest difference that matters: the study says how probably it would have been seen.
        defended: A RUN whose model was trained with a defence, where the run itself does not say; may be given several
            times. Runs that are not named, and do not say, are taken to be of undefended models then.
        out: Folder to write to; by default RUN/study, in the first run.
    """

    claim: tuple[str, ...] = option((), metavar="FORMULA")
    cells: int | None = option(None, least=1)
    features: int | None = option(None, least=1)
    smallest: float = option(0.03, check=_check_smallest)
    defended: tuple[str, ...] = option((), metavar="RUN")
    out: Path | None = option(None, parse=Path)
