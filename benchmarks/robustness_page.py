"""What became of trainings, as tables of a results page: accuracy, differences, attention, cost."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

import pandas as pd

from attnlab.boxes import iou_of_shared
from attnlab.records import read_evaluation, read_records
from attnlab.report.tables.accuracy import paired
from attnlab.report.tables.export import write_tables
from attnlab.runs import Run
from attnlab.training import AAD
from attnlab.training.folder import MANIFEST
from attnlab.training.log import LOG
from attnlab.words import as_fraction
from benchmarks.across_seeds import gains, over_seeds
from benchmarks.trainings import NO_TERMS, Training

KINDS = ("pgd", "cw")  # kinds of attacks the p-values are of: each one's longest
#: cells of the clean and attacked maps that are compared, as in Table 3
CELLS = 10


def accuracies(trainings: Sequence[Training], paper: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Table 6: a row for each defence, mean and spread over its seeds, the paper's values of the same attacks below."""
    tables = [write_tables(training.evaluation).frames["table6"].assign(defense=training.row) for training in trainings]
    frame = over_seeds(tables)
    attacks = list(dict.fromkeys(frame["attack"]))
    lines = []
    for defense, group in frame.groupby("defense", sort=False):
        cells = [_spread(row.accuracy, row.sd) for row in group.itertuples()]
        lines.append([str(defense), str(group["seeds"].iloc[0]), *cells])
        if values := paper.get(str(defense)):
            lines.append(
                ["*the paper's*", "", *(f"*{values[name]:.2f}*" if name in values else "" for name in attacks)]
            )
    told = f"{int(frame['n'].min()):,} test images; accuracy in percent at the attacks' last points."
    return [f"{told} Mean ± standard deviation over the seeds.", "", *_markdown(["defence", "seeds", *attacks], lines)]


def differences(trainings: Sequence[Training]) -> list[str]:
    """What attention-based defence adds, seed by seed."""
    by_row = _by_row(trainings, lambda training: read_evaluation(training.evaluation).assign(model=training.row))
    pairs = _pairs(by_row)
    frame = gains(by_row, pairs)
    if frame.empty:
        return []
    lines = []
    for (first, second), group in frame.groupby(["first", "second"], sort=False):
        cells = [_spread(row.difference, row.sd, sign="+") for row in group.itertuples()]
        lines.append([f"{first} less {second}", str(group["seeds"].iloc[0]), *cells])
    text = ["Difference in points, mean ± standard deviation over the seeds.", ""]
    text += _markdown(["", "seeds", *dict.fromkeys(frame["attack"])], lines)
    tests = []
    strongest = list(filter(None, (longest(kind, frame["attack"]) for kind in KINDS)))
    for first, second in pairs:
        for seed in sorted(by_row[first].keys() & by_row[second].keys()):
            held = paired(pd.concat([by_row[first][seed], by_row[second][seed]])).set_index("attack")
            cells = [f"{held.difference[name]:+.2f} (p {held.p[name]:.2g})" for name in strongest]
            tests.append([f"{first} less {second}", str(seed), *cells])
    text += ["", "The same of each seed, with exact McNemar tests on the same images.", ""]
    return [*text, *_markdown(["", "seed", *strongest], tests)]


def longest(kind: str, attacks: Iterable[str]) -> str:
    """The attack of that kind with most steps, such as pgd100; empty text where there is none."""
    steps = [int(found[1]) for name in attacks if (found := re.fullmatch(rf"{kind}(\d+)", name))]
    return f"{kind}{max(steps)}" if steps else ""


def attention(trainings: Sequence[Training]) -> list[str]:
    """IoU of attention with the true boxes, and of clean with attacked attention; what attention-based defence adds."""
    by_row = _by_row(trainings, _gaze)
    columns = ["clean Att/GT", "attacked Att/GT", f"clean/attacked, {CELLS} cells"]
    lines = []
    for row, each in by_row.items():
        means = pd.DataFrame([gaze.mean() for gaze in each.values()])
        constant = sum(int(gaze["kept"].isna().sum()) for gaze in each.values()) / len(each)
        cells = [_spread(means[name].mean(), means[name].std(), digits=4) for name in means]
        lines.append([row, str(len(each)), *cells, f"{constant:.0f}"])
    images = len(by_row[trainings[0].row][trainings[0].seed])
    options = Run(trainings[0].analysis).manifest["options"]
    attack = options["attack"]
    told = f"PGD at {as_fraction(options['eps'][0])}, {attack['steps']} steps of {as_fraction(attack['step_size'])}"
    text = [
        f"IoU over {images:,} test images, maps of the true label, those that are zero everywhere "
        f"left out; attack: {told}. Mean ± standard deviation over the seeds.",
        "",
        *_markdown(["defence", "seeds", *columns, "constant maps"], lines),
    ]
    if changes := shifts(by_row):
        text += ["", "Difference over the images that have such maps with both.", ""]
        text += _markdown(["", "seeds", *columns], changes)
    return text


def shifts(by_row: Mapping[str, Mapping[int, pd.DataFrame]]) -> list[list[str]]:
    """Lines of what attention-based defence adds to IoU, over the images where neither is NaN.

    Args:
        by_row: Defence -> seed -> IoU of each image (rows) in each column.
    """
    lines = []
    for first, second in _pairs(by_row):
        if shared := sorted(by_row[first].keys() & by_row[second].keys()):
            moved = pd.DataFrame([(by_row[first][seed] - by_row[second][seed]).mean() for seed in shared])
            cells = [_spread(moved[name].mean(), moved[name].std(), sign="+", digits=4) for name in moved]
            lines.append([f"{first} less {second}", str(len(shared)), *cells])
    return lines


def _gaze(training: Training) -> pd.DataFrame:
    """Each image's IoU of clean and of attacked attention with the box, and of the strongest cells of both.

    NaN where a map is zero everywhere.
    """
    frame = read_records(training.analysis).set_index("image_id")
    kept = frame["shared_cells"].dropna().map(lambda cells: iou_of_shared(cells[CELLS - 1], CELLS))
    return pd.DataFrame({"clean": frame["iou_att_gt"], "attacked": frame["adv_iou_att_gt"], "kept": kept})


def _by_row(
    trainings: Sequence[Training], read: Callable[[Training], pd.DataFrame]
) -> dict[str, dict[int, pd.DataFrame]]:
    """Defence -> seed -> what is read of its training."""
    by_row: dict[str, dict[int, pd.DataFrame]] = {}
    for training in trainings:
        by_row.setdefault(training.row, {})[training.seed] = read(training)
    return by_row


def _pairs(rows: Iterable[str]) -> list[tuple[str, str]]:
    """Rows of attention-based defence, each with the one it is held against."""
    rows = list(rows)
    without = {_plain(row): row for row in rows if row.endswith(NO_TERMS)}
    with_terms = [row for row in rows if AAD in row and row not in without.values()]
    pairs = [(row, without.get(_plain(row), row.split()[0].removesuffix(AAD))) for row in with_terms]
    return [(row, base) for row, base in pairs if base in rows]


def _plain(row: str) -> str:
    """A row without weights of attention."""
    return re.sub(r" --(alpha|beta) \S+", "", row)


def cost(trainings: Sequence[Training]) -> list[str]:
    """How long each training took, by its folder's times."""
    rows = []
    for training in trainings:
        started = datetime.fromisoformat(json.loads((training.folder / MANIFEST).read_text())["started"]).timestamp()
        ended = (training.folder / LOG).stat().st_mtime
        evaluated = Run(training.evaluation).manifest["seconds"]
        rows.append({"defence": training.row, "train": (ended - started) / 60, "evaluate": evaluated / 60})
    frame = pd.DataFrame(rows).groupby("defence", sort=False).min()
    lines = [[str(row.Index), f"{row.train:.1f}", f"{row.evaluate:.1f}"] for row in frame.itertuples()]
    return [
        "Minutes, the least of the seeds: one that was interrupted counts its pause.",
        "",
        *_markdown(["defence", "train", "evaluate"], lines),
    ]


def _spread(mean: float, deviation: float, sign: str = "", digits: int = 2) -> str:
    rounded = round(mean, digits) + 0.0  # no minus before a zero
    return f"{rounded:{sign}.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:.{digits}f}")


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]]
