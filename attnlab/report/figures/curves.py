"""Curves with intervals of what the paper says in words or tables alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from attnlab.kept_maps import grid_of
from attnlab.records import at_eps
from attnlab.report.description import Manifest, data_of, outcomes_of, subject
from attnlab.report.figures.drawing import Drawing
from attnlab.report.figures.style import (
    COLUMN,
    GROUP_COLOURS,
    GROUP_MARKERS,
    LINES,
    blank,
    errorbars,
    side_by_side,
    styled,
)
from attnlab.report.outcomes import GROUPS, KEPT, Outcomes
from attnlab.report.statistics import mean_interval, wilson_interval
from attnlab.report.tables import CELLS
from attnlab.report.tables.accuracy import table6
from attnlab.report.tables.iou import table3
from attnlab.views import LeftOut
from attnlab.words import as_fraction, counted

BINS = 20
RATE_BINS = 10  # bins of IoU in which success rates are shown


@styled
def iou_distributions(images: pd.DataFrame, manifest: Manifest) -> Drawing:
    """Distributions of the IoU of attention and ground truth, of successfully attacked and other images (Table 1).

    Of I_att at one eps, the only one that the manifest has.
    """
    _check_boxes(images)
    outcomes = outcomes_of(manifest)
    figure, (axes,) = side_by_side(1, 2.2)
    edges = np.linspace(0, 1, BINS + 1)
    for group in GROUPS:
        values = images.loc[images["group"] == group, "iou_att_gt"].dropna().to_numpy()
        if not len(values):
            continue
        shares = np.histogram(values, edges)[0] / len(values)
        colour = GROUP_COLOURS[group]
        name = f"{outcomes.word(group)} (n = {len(values)}, mean {values.mean():.3f})"
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(shares, edges, color=colour, linewidth=1.1, label=name)
        axes.axvline(values.mean(), 0, 0.78, color=colour, linewidth=1, linestyle="--" if group == GROUPS[0] else ":")
    axes.set(xlim=(0, 1), xlabel="IoU of attention and ground truth", ylabel="share of the group")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # room for the legend
    axes.legend(loc="upper left")
    caption = (
        "Distributions of the IoU of attention and ground truth, of the images whose prediction the attack changes "
        f"({outcomes.words[0]}, dashed mean) and of the others ({outcomes.words[1]}, dotted mean); {subject(manifest)}."
    )
    return Drawing(figure, caption)


def success_rates(images: pd.DataFrame) -> pd.DataFrame:
    """Share of attacks that succeed in bins of the IoU of attention and ground truth; the last bin holds 1 too.

    Of I_att at one eps to columns iou (middle of the bin), n, rate, ci_low, ci_high (95 %, Wilson), a row for each bin
    with images.
    """
    known = images.dropna(subset="iou_att_gt")
    bins = (known["iou_att_gt"] * RATE_BINS).astype(int).clip(upper=RATE_BINS - 1)
    rows = []
    for number, succeeded in (known["group"] == GROUPS[0]).groupby(bins):
        interval = wilson_interval(int(succeeded.sum()), len(succeeded))
        rows.append(((number + 0.5) / RATE_BINS, len(succeeded), succeeded.mean(), *interval))
    return pd.DataFrame(rows, columns=["iou", "n", "rate", "ci_low", "ci_high"])


@styled
def success_against_iou(images: pd.DataFrame, manifest: Manifest) -> Drawing:
    """Attack success rate against the IoU of attention and ground truth, with 95 % Wilson intervals (section 3.1).

    Of I_att, a line for each eps.
    """
    _check_boxes(images)
    if outcomes_of(manifest) is KEPT:
        raise LeftOut("the attack is to leave predictions as they are, so that it has no success rate")
    budgets = manifest["options"]["eps"]
    figure = blank(COLUMN, 2.6)
    axes, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    for number, eps in enumerate(budgets):
        rates = success_rates(at_eps(images, eps))
        shift = 0.008 * (number - (len(budgets) - 1) / 2)
        errorbars(axes, rates["iou"] + shift, rates, "rate", *LINES[number % len(LINES)], f"ε = {as_fraction(eps)}")
    counts = success_rates(at_eps(images, budgets[0]))
    bars = below.bar(counts["iou"], counts["n"], 0.9 / RATE_BINS, color="0.75")
    below.bar_label(bars, fontsize=6, padding=0.5)
    below.margins(y=0.35)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), ylabel="attack success rate")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="best")
    below.set(xlabel="IoU of attention and ground truth", ylabel="images")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    figure.align_ylabels()
    caption = (
        "Attack success rate against the IoU of attention and ground truth, in bins of a tenth, with 95 % Wilson "
        f"intervals; below, the number of images in each bin; {subject(manifest)}."
    )
    return Drawing(figure, caption)


def compared_cells(manifest: Manifest) -> int:
    """The number of cells of each map that `iou_against_eps` compares."""
    most = int(np.prod(grid_of(manifest["model"]["map_shape"]))) - 1
    return max([k for k in CELLS if k <= min(most, 10)], default=max(most, 1))


@styled
def iou_against_eps(images: pd.DataFrame, manifest: Manifest) -> Drawing:
    """IoU of the adversarial image's attention against eps, with 95 % bootstrap intervals (Tables 1 and 3 over eps).

    Of I_att: left, the IoU of the adversarial attention with the ground truth, where there is any; right, its IoU with
    the original attention, of at most ten cells of each map. The groups are those of each eps by itself.
    """
    budgets = manifest["options"]["eps"]
    if len(budgets) < 2:
        raise LeftOut
    cells, outcomes = compared_cells(manifest), outcomes_of(manifest)
    overlap = table3(images, budgets, cells=[cells])
    boxes = images["adv_iou_att_gt"].notna().any()
    figure, panels = side_by_side(2 if boxes else 1, 2.2)
    if boxes:
        for group in GROUPS:
            ious = images.loc[images["group"] == group, ["eps", "adv_iou_att_gt"]]
            means = [mean_interval(ious.loc[ious["eps"] == eps, "adv_iou_att_gt"]) for eps in budgets]
            rows = pd.DataFrame(means, columns=["n", "mean", "ci_low", "ci_high"])
            _over_eps(panels[0], budgets, rows, "mean", group, outcomes)
        original = images.drop_duplicates("image_id")["iou_att_gt"].mean()
        panels[0].axhline(original, color="0.5", linestyle=":", linewidth=1, label="original images")
        panels[0].set(xlabel="ε", ylabel="IoU of adversarial\nattention and ground truth")
        panels[0].legend()
    axes = panels[-1]
    for group in GROUPS:
        _over_eps(axes, budgets, overlap[overlap["group"] == group], "iou_ori_adv", group, outcomes)
    axes.set(xlabel="ε", ylabel=f"IoU of original and\nadversarial attention, {counted(cells, 'cell')}")
    axes.legend()
    caption = (
        "IoU of the adversarial image's attention with the ground truth (left) and with the original attention, "
        f"{cells} cells of each map (right), against ε, with 95 % bootstrap intervals; {subject(manifest)}."
    )
    return Drawing(figure, caption)


@styled
def accuracy_against_steps(records: pd.DataFrame, manifest: Manifest) -> Drawing:
    """Robust accuracy of each model against the attack's number of steps (the columns of Table 6 as a curve).

    Of the records as `read_evaluation` gives them, a panel for each kind of attack that was run with several numbers of
    steps: accuracy at the attack's last point with 95 % Wilson intervals, and dotted the accuracy without an attack.
    """
    options = manifest["options"]
    families = step_families(options["attacks"])
    if not families:
        raise LeftOut
    accuracies = table6(records, options["data"], options["models"])
    figure, panels = side_by_side(len(families), 2.4, sharey=True)
    for axes, (family, names) in zip(panels, families.items(), strict=True):
        for number, (model, rows) in enumerate(accuracies.groupby("model", sort=False)):
            colour, marker = LINES[number % len(LINES)]
            of_steps = rows.set_index("attack").reindex(list(names.values()))
            errorbars(axes, list(names), of_steps, "accuracy", colour, marker, str(model))
            images = records[records["model"] == model].drop_duplicates("image_id")
            clean = 100 * (images["clean_prediction"] == images["label"]).mean()
            axes.axhline(clean, color=colour, linestyle=":", linewidth=1)
        _log_ticks(axes, {steps: str(steps) for steps in names})
        axes.set(xlabel=f"steps of {family}", ylim=(-3, 103))
    panels[0].set_ylabel("accuracy (%)")
    panels[-1].legend(title="dotted: without an attack", title_fontsize=6)
    caption = (
        "Classification accuracy at the last point of each attack against its number of steps, with 95 % Wilson "
        f"intervals; dotted, without an attack; {data_of(options)}, {counted(options['images'], 'image')}."
    )
    return Drawing(figure, caption)


def step_families(attacks: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[int, str]]:
    """Attacks, as the manifest has them, that differ in their steps alone: name -> steps, rising, -> attack's name."""
    families: dict[str, dict[int, str]] = {}
    for name, settings in attacks.items():
        if settings and "steps" in settings:
            stem, plus, rest = name.partition("+")
            families.setdefault(stem.rstrip("0123456789") + plus + rest, {})[settings["steps"]] = name
    return {family: dict(sorted(names.items())) for family, names in families.items() if len(names) > 1}


def _check_boxes(images: pd.DataFrame) -> None:
    if not images["iou_att_gt"].notna().any():
        raise LeftOut("the images have no ground truth")


def _over_eps(
    axes: Axes, budgets: Sequence[float], rows: pd.DataFrame, column: str, group: str, outcomes: Outcomes
) -> None:
    errorbars(axes, budgets, rows, column, GROUP_COLOURS[group], GROUP_MARKERS[group], outcomes.word(group))
    _log_ticks(axes, {eps: as_fraction(eps) for eps in budgets})


def _log_ticks(axes: Axes, labels: Mapping[float, str]) -> None:
    """Label these places of a logarithmic axis alone; where 0 is among them, of a linear one."""
    if min(labels) > 0:  # so that small ones keep their distance
        axes.set_xscale("log")
    axes.set_xticks(list(labels), list(labels.values()))
    axes.xaxis.set_minor_locator(NullLocator())
