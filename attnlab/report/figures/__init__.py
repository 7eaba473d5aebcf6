"""The list of figures: those of the paper and some it lacks. Drawn of records and arrays, with no model and no GPU.

A figure is one function to a `Drawing`. Where it shows images, it gets `attnlab.views.Examples` and `grid`, which draws
the borders of the maps' cells; else a data frame, a row for each image and eps, answer or training, and the manifest of
its run. Where they do not suffice it raises LeftOut, without a text if what the list says it needs is not there. One
more figure is its function's file and a line in FIGURES.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnlab.errors import UserError, check_one_of
from attnlab.manifests import FILE, read_manifest
from attnlab.registry import Lazy, Registry

if TYPE_CHECKING:
    from attnlab.report.figures.drawing import Drawing

#: what figures are drawn of, and how people call it
SOURCES = {
    "analyze": "run of analyze",
    "evaluate": "run of evaluate",
    "sweep": "sweep",
    "checkpoint": "one checkpoint",
    "checkpoints": "checkpoints",
}
#: what not every evaluation has, nor every defence of checkpoints
SEVERAL_STEPS = "an attack with several numbers of steps, such as --attacks pgd10,pgd40,pgd100"
STEPLL, OTHER = "a defence of stepll", "a defence other than stepll"
SWEEP, CHECKPOINT = "sweep.csv", "model.json"  # the table of a sweep; what makes a folder a checkpoint


@dataclass(frozen=True)
class FigureSpec:
    """A figure.

    Attributes:
        of: What it is drawn of, a key of SOURCES.
        title: What it shows, in a few words.
        draw: Its function, or `module:name` below this package.
        choice: How its images are chosen: a key of `choose.CHOICES`, for checkpoints one of those of
            `attnlab.pipelines.comparison_examples`. Empty where it shows numbers alone.
        count: How many images it shows, of each group.
        each_eps: It is drawn for each eps of a run by itself.
        each_method: Likewise for each method of a run that maps.
        needs: What not every source has, in words.
    """

    of: str
    title: str
    draw: str | Callable[..., "Drawing"]
    choice: str = ""
    count: int = 1
    each_eps: bool = False
    each_method: bool = False
    needs: str = ""

    def __call__(self, *data: Any, **options: Any) -> "Drawing":
        """Draw it."""
        draw = Lazy(f"{__name__}.{self.draw}") if isinstance(self.draw, str) else self.draw
        drawing: Drawing = draw(*data, **options)
        return drawing


FIGURES: Registry[FigureSpec] = Registry(
    "--only",
    {
        "figure1": FigureSpec("analyze", "maps", "analyzed_images:figure1", "medians", each_eps=True, each_method=True),
        "figure3": FigureSpec("analyze", "LIME", "analyzed_images:figure3", "medians of LIME", each_eps=True),
        "figure13": FigureSpec("analyze", "failure cases", "analyzed_images:figure13", "failures", 3, each_method=True),
        "iou-distributions": FigureSpec(
            "analyze", "of both groups", "curves:iou_distributions", each_eps=True, each_method=True
        ),
        "success-against-iou": FigureSpec("analyze", "of the attack", "curves:success_against_iou", each_method=True),
        "iou-against-eps": FigureSpec(
            "analyze", "", "curves:iou_against_eps", each_method=True, needs="a run with several --eps"
        ),
        "accuracy-against-steps": FigureSpec("evaluate", "", "curves:accuracy_against_steps", needs=SEVERAL_STEPS),
        "figure8": FigureSpec("sweep", "accuracy over alpha, over beta", "sweep:figure8"),
        "sweep": FigureSpec("sweep", "over both", "sweep:sweep_grid", needs="several --alphas and several --betas"),
        "figure2": FigureSpec("checkpoint", "rounds of an attack", "models:figure2", "steps", 2),
        "figure12": FigureSpec("checkpoint", "likewise with A3", "models:figure12", "steps with A3"),
        "figure6": FigureSpec("checkpoint", "epochs", "models:figure6", "snapshots", 2, needs="train --snapshots"),
        "figure7": FigureSpec("checkpoints", "adversarial images", "models:figure7", "compared", 2),
        "figure9": FigureSpec("checkpoints", "maps under each", "models:figure9", "compared", 2),
        "figure10": FigureSpec("checkpoints", "success and failure", "models:figure10", "defended", 4, needs=OTHER),
        "figure11": FigureSpec("checkpoints", "likewise", "models:figure11", "defended by stepll", 4, needs=STEPLL),
    },
)


def source_of(places: Sequence[str]) -> str:
    """Source that figures of a folder, or of one or several models, are drawn from: a key of SOURCES."""
    folder = Path(places[0])
    if len(places) > 1:
        return "checkpoints"
    if not folder.is_dir() or (folder / CHECKPOINT).is_file():
        return "checkpoint"
    if (folder / SWEEP).is_file():
        return "sweep"
    if not (folder / FILE).is_file():
        raise UserError(
            f"expected {folder} to be a run, a sweep or a checkpoint, but it has no {FILE}, {SWEEP} or {CHECKPOINT}"
        )
    return str(read_manifest(folder)["kind"])


def figures_of(source: str, only: Collection[str] = (), folder: str = "") -> list[str]:
    """Names of the figures of a source: all, or those that are asked for; an unknown name is refused."""
    known = [name for name, spec in FIGURES.items() if spec.of == source]
    return [check_one_of(name, known, f"--only for {folder or SOURCES[source]}") for name in only] or known
