"""The catalogue of tables: what each is called, needs of a run and is computed by, its columns, how it is set.

One more table is a function from records to a tidy frame, and one entry in TABLES: its files, `--table`, the console,
the page, its caption and its place in the documentation come from there. What computes is imported when it is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

from attnlab.registry import Lazy, Registry, loaded
from attnlab.report.outcomes import CHANGED

if TYPE_CHECKING:
    import pandas as pd

    from attnlab.report.tables.layout import Layout

#: numbers of cells of Table 3, and of superpixels of Tables 4 and 5
CELLS = (5, 10, 20, 30)
FEATURES = (8, 10)
MARK = "\u2020"  # behind the name of a method that does not notice random weights
LOW_IOU = 0.5  # the IoU below which Table 2 counts an image
NONE = float("nan")  # no value

Paper = Mapping[str, Any]  # the paper's numbers as in paper.json
#: where a table is shown: as the paper sets it (LaTeX), with n and intervals (console, Markdown), on a page
Form = Literal["paper", "full", "page"]

#: what a table may need of a run
MAPS, BOXES, LIME, TWO_SEEDS = "maps", "boxes", "LIME", "LIME from two seeds"
MEASURED = "measures"
POINTS, A3, SEVERAL = "every point of its attacks", "an attack with +a3", "several models"
GAZE = "an attack on maps"
TARGETED = "a targeted attack"
CORRUPTED = "a corruption"


@dataclass(frozen=True)
class Column:
    """A column of a tidy frame.

    Attributes:
        name: In CSV and JSON.
        head: Above it in the paper's layout; its name by default.
        words: Above it on the page, and in the documentation; its head by default.
        digits: Behind the decimal point.
        unit: Behind each number.
        top: What is 1 on the bar of a mean: 100 for a percentage. A mean has an interval, ci_low to ci_high.
        sometimes: It is left out where a run has only one of it.
    """

    name: str
    head: str = ""
    words: str = ""
    digits: int = 3
    unit: str = ""
    top: float | None = None
    sometimes: bool = False

    def __post_init__(self) -> None:
        """Let a name do for a head and for words."""
        object.__setattr__(self, "head", self.head or self.name)
        object.__setattr__(self, "words", self.words or self.head)


@dataclass(frozen=True)
class TableSpec:
    """A table.

    Attributes:
        heading: What people call it.
        kind: The command whose runs it is of.
        compute: Function to a frame of these columns, or to the frames of several tables by their names. It gets what
            its parameters name; `attnlab.report.tables.sources.Source.given` lists what there is.
        layout: Function(frame, spec, form) to a `Layout`.
        columns: Of the frame, in order.
        needs: What a run must have; without it the table is left out.
        note: What its numbers depend on beside the run, with `{name}` for an entry of `Source.words`.
        option: Of the command line, that asks for a table not made unasked; `--table NAME` does too.
        title: Short caption, as a paper has it.
        measure: Function to a frame, a row for each of some images at an eps, of what the table's means are of. It
            gets `images` with all columns of the records, a part of the run at a time, and what its parameters name
            otherwise; `compute` finds its columns in `images`, where no column holds more than one number.
    """

    heading: str
    kind: Literal["analyze", "evaluate"]
    compute: Callable[..., Any]
    layout: Callable[..., Any]
    columns: tuple[Column, ...]
    needs: tuple[str, ...] = ()
    note: str = ""
    option: str = ""
    title: str = ""
    measure: Callable[..., Any] | None = None

    @property
    def mean(self) -> Column:
        """The column whose values have intervals, of a table that has one."""
        return next(column for column in self.columns if column.top)

    def column(self, name: str) -> Column | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    def words(self, head: str) -> str:
        """A head of the layout as the page has it."""
        return next((column.words for column in self.columns if column.head == head), head)

    def tidy(self, rows: Sequence[tuple[Any, ...]]) -> "pd.DataFrame":
        """A frame of rows that have a value for each column; what is there `sometimes` goes where all have the same."""
        import pandas as pd

        frame = pd.DataFrame(rows, columns=[column.name for column in self.columns])
        once = [column.name for column in self.columns if column.sometimes and frame[column.name].nunique() < 2]
        return frame.drop(columns=once)

    def lay_out(self, frame: "pd.DataFrame", form: Form = "paper") -> "Layout":
        """The frame as it is set."""
        layout: Layout = self.layout(frame, self, form)
        return layout


def call(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call a table's function with what its parameters name."""
    code = loaded(function)
    return code(**{name: given[name] for name in signature(code).parameters if name in given})


def _here(path: str) -> Lazy:
    return Lazy(f"attnlab.report.tables.{path}")


def by_outcome(mean: Column) -> tuple[Column, ...]:
    """Columns of a table with a share of the images and a mean for each outcome of the attack."""
    papers = (
        Column("paper_percent", words="share, in the paper"),
        Column(f"paper_{mean.name}", words=f"{mean.words}, in the paper"),
    )
    return (EPS, METHOD, GROUP, N, PERCENT, mean, *INTERVAL, *papers)


def by_size(size: Column, mean: Column) -> tuple[Column, ...]:
    """Columns of a table with a mean for each size of an area and each outcome."""
    return (EPS, METHOD, size, GROUP, N, mean, *INTERVAL, PAPER)


EPS, METHOD = Column("eps", words="ε", sometimes=True), Column("method", "Method", "method", sometimes=True)
GROUP, N, PAPER = Column("group"), Column("n"), Column("paper")
CELL, FEATURE = Column("cells", "#cell", "cells"), Column("features", "#.Features", "superpixels")
PERCENT = Column("percent", "Percentage", "share", digits=1, unit="%")
INTERVAL = (Column("ci_low", words="95 % interval, from"), Column("ci_high", words="95 % interval, to"))
IOU_GT = Column("iou_att_gt", "IoU_Att_GT", "IoU with ground truth", top=1)
IOU_ADV = Column("iou_ori_adv", "IoU_ori_adv", "IoU original / adversarial", top=1)
IOU_SEEDS = Column("iou_two_seeds", "IoU of two seeds", top=1)
CONFIDENCE = Column("confidence", "Top 1 Confidence", "confidence in the label", top=1)
ACCURACY = Column("accuracy", words="accuracy (%)", digits=2, top=100)
MEAN_ACCURACY = Column("mean", words="mean accuracy (%)", digits=2, top=100)
MODEL, DEFENSE, ATTACK = Column("model", "Model"), Column("defense", "Defense"), Column("attack")
OF_CONTROLS = (
    EPS,
    METHOD,
    *map(Column, ("measure", "n_succeed", "succeed", "n_fail", "fail", "difference")),
    *INTERVAL,
)
OF_MEASURES = (
    *(EPS, METHOD, Column("measure"), Column("images"), GROUP, N, Column("mean", top=1), *INTERVAL),
    Column("chance", words="chance level"),
)
OF_TABLE_6 = (Column("dataset"), MODEL, DEFENSE, ATTACK, N, ACCURACY, *INTERVAL, PAPER)
OF_TABLE_7 = (replace(MODEL, sometimes=True), ATTACK, N, ACCURACY, *INTERVAL, PAPER)
#: of is how many images the model classifies correctly; n how many of them kept their prediction, or lost it, whichever
#: the attack is after
OF_GAZE = (
    *(MODEL, DEFENSE, ATTACK, Column("prediction"), Column("measure"), Column("of"), N),
    *(Column("mean"), *INTERVAL),
)
OF_TARGETED = (
    *(MODEL, DEFENSE, ATTACK, Column("target"), N, Column("success", words="success (%)", digits=2, top=100)),
    *(replace(column, digits=2) for column in INTERVAL),
    Column("any_point", words="at any point (%)", digits=2),
)
OF_CORRUPTIONS = (MODEL, DEFENSE, Column("corruption"), Column("severities"), N, MEAN_ACCURACY, *INTERVAL)
OF_PAIRS = (
    *(ATTACK, Column("first"), Column("second"), N),
    Column("only_first", words="only the first correct"),
    Column("only_second", words="only the second correct"),
    *(Column("difference", words="difference in points", digits=2), Column("p")),
)

BY_OUTCOME, ACCURACIES, PLAIN = _here("layout:by_outcome"), _here("layout:accuracies"), _here("layout:plain")
LIME_TABLES, LIME_IOUS = _here("lime:lime_tables"), _here("lime:measure_explanations")
OUTCOMES = CHANGED.sentence  # `Outcomes.in_caption` puts a run's own in its place

#: every table, in the order in which it is shown
TABLES: Registry[TableSpec] = Registry("--table", {
    "table1": TableSpec(
        "Table 1", "analyze", _here("iou:table1"), BY_OUTCOME, by_outcome(IOU_GT), (MAPS, BOXES), "{truth}",
        title=f"Average IoU between attention and ground-truth area. {OUTCOMES}",
    ),
    "table2": TableSpec(
        "Table 2", "analyze", _here("iou:table2"), BY_OUTCOME, by_outcome(CONFIDENCE), (MAPS, BOXES), "{truth}",
        title=f"Percentage and average confidence of the images with IoU < {LOW_IOU}. {OUTCOMES}",
    ),
    "controls": TableSpec(
        "Controls of Table 1", "analyze", _here("controls:controls"), PLAIN, OF_CONTROLS, (MAPS, BOXES), "{truth}",
        title=f"IoU with the ground truth of attention, and of areas as large that look at nothing. {OUTCOMES}",
        option="--controls", measure=_here("controls:blind_areas"),
    ),
    "table3": TableSpec(
        "Table 3", "analyze", _here("iou:table3"), BY_OUTCOME, by_size(CELL, IOU_ADV), (MAPS,), "{cells} cells",
        title=f"Average attention IoU between original and adversarial images, by number of kept cells. {OUTCOMES}",
        measure=_here("iou:cell_ious"),
    ),
    "table4": TableSpec(
        "Table 4", "analyze", LIME_TABLES, BY_OUTCOME, by_size(FEATURE, IOU_GT), (LIME, BOXES), "{ground_truth}",
        title=f"LIME: average IoU between attention and ground-truth area, by number of features. {OUTCOMES}",
        measure=LIME_IOUS,
    ),
    "table4_adversarial": TableSpec(
        "Table 4, adversarial images", "analyze", LIME_TABLES, BY_OUTCOME, by_size(FEATURE, IOU_GT), (LIME, BOXES),
        "{ground_truth}",
        title=f"LIME: the same as Table 4 for the adversarial images. {OUTCOMES}",
        measure=LIME_IOUS,
    ),
    "table5": TableSpec(
        "Table 5", "analyze", LIME_TABLES, BY_OUTCOME, by_size(FEATURE, IOU_ADV), (LIME,), "{superpixels} superpixels",
        title="LIME: average attention IoU between original and adversarial images, by number of features. "
        f"{OUTCOMES}", measure=LIME_IOUS,
    ),
    "noise_floor": TableSpec(
        "Noise floor of Tables 4 and 5", "analyze", LIME_TABLES, BY_OUTCOME, by_size(FEATURE, IOU_SEEDS),
        (LIME, TWO_SEEDS),
        title="LIME: average attention IoU of the original images from two seeds, what noise alone leaves. "
        f"{OUTCOMES}", measure=LIME_IOUS,
    ),
    "measures": TableSpec(
        "Measures", "analyze", _here("measures:measures"), _here("layout:by_measure"), OF_MEASURES, (MEASURED,),
        "{measured_truth}",
        title=f"Measures of clean and of attacked maps, and of both together. {OUTCOMES}",
    ),
    "table6": TableSpec(
        "Table 6", "evaluate", _here("accuracy:table6"), ACCURACIES, OF_TABLE_6,
        title="Classification accuracy (%) under attack, at the last point of each attack",
    ),
    "table6_worst": TableSpec(
        "Table 6, worst point", "evaluate", _here("accuracy:table6_worst"), ACCURACIES, OF_TABLE_6, (POINTS,),
        title="Classification accuracy (%) under attack, an image being lost as soon as any point on the way is "
        "misclassified",
    ),
    "table7": TableSpec(
        "Table 7", "evaluate", _here("accuracy:table7"), ACCURACIES, OF_TABLE_7, (A3,), "{steps_and_sigmas}",
        title="Classification accuracy (%) of the images that the model classifies correctly, under plain and "
        "attention-augmented attacks",
    ),
    "targeted": TableSpec(
        "Targeted attacks", "evaluate", _here("accuracy:targeted"), PLAIN, OF_TARGETED, (TARGETED,),
        title="Share (%) of the correctly classified images that a targeted attack makes its target",
    ),
    "gaze": TableSpec(
        "Gaze under attack", "evaluate", _here("accuracy:gaze"), PLAIN, OF_GAZE, (GAZE,), "{gaze}",
        title="Clean and attacked maps of the correctly classified images: IoU of their highest cells, and the "
        "distance that the attack is about",
    ),
    "corruptions": TableSpec(
        "Corruptions", "evaluate", _here("accuracy:corruptions"), PLAIN, OF_CORRUPTIONS, (CORRUPTED,),
        title="Mean classification accuracy (%) over the severities of each kind of corruption, and over the kinds",
    ),
    "paired": TableSpec(
        "Models against each other", "evaluate", _here("accuracy:paired"), PLAIN, OF_PAIRS, (SEVERAL,),
        title="Two models on the same images, exact McNemar tests",
    ),
})  # fmt: skip
