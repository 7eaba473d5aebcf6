"""Train every row of a block of Table 6 from several seeds, evaluate each training, and write what came of it.

    python -m benchmarks.robustness mnist --root DIR            # all rows, seeds 0, 1, 2, then docs/results/mnist.md
    python -m benchmarks.robustness scenes --jobs 2             # the same with the IoU of attention with boxes
    python -m benchmarks.robustness cifar10 --root DIR --train "--device cuda --precision bf16"

Every step is an `attnlab` command, printed before it runs; each goes on where it was interrupted, and one that is done
is not repeated, so the same command finishes what is missing. The tables are written between two marks in the file, and
with what is there so far.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
import pandas as pd

from attnlab.boxes import iou_of_shared
from attnlab.pipelines.train_job import MANIFEST
from attnlab.records import read_evaluation, read_records
from attnlab.report.accuracy import paired
from attnlab.report.export import report_run
from attnlab.report.seeds import gains, over_seeds
from attnlab.report.tables import numbers_of_the_paper
from attnlab.runs import Run, write_whole
from attnlab.training.log import read_epochs
from attnlab.training.trainer import LOG

ROOT = Path(__file__).resolve().parents[1]
ROWS = ("none", "madry", "madry+aad", "alp", "alp+aad")
#: what is held against what
PAIRS = (("madry+aad", "madry"), ("alp+aad", "alp"))
#: kinds of attacks the p-values are of: each one's longest
KINDS = ("pgd", "cw")
#: cells of the clean and attacked maps that are compared, as in Table 3
CELLS = 10
BEGIN, END = "<!-- begin: made by benchmarks.robustness -->", "<!-- end -->"


@dataclass(frozen=True)
class Block:
    """A block of Table 6.

    Attributes:
        rows: Defences.
        boxes: Whether the data have boxes, so that attention can be held against them.
    """

    rows: Sequence[str] = ROWS
    boxes: bool = False


BLOCKS = {"mnist": Block(), "cifar10": Block(), "scenes": Block((*ROWS, "trades"), boxes=True)}


@dataclass(frozen=True)
class Training:
    """One training and what is made of it.

    Attributes:
        data: Name of the data set.
        row: Defence as people read it; options behind it (`madry+aad --beta 1`) are options of `train`.
        seed: Of the training.
        out: Folder of all trainings.
    """

    data: str
    row: str
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """The checkpoint; evaluation and analysis lie beside it."""
        return self.out / f"{self.row.replace(' --', '-').replace(' ', '-')}-{self.seed}"

    @property
    def evaluation(self) -> Path:
        """Run of `evaluate`."""
        return self.folder.with_name(f"{self.folder.name}-evaluate")

    @property
    def analysis(self) -> Path:
        """Run of `analyze`."""
        return self.folder.with_name(f"{self.folder.name}-analyze")

    def commands(self, data: Sequence[str], further: Mapping[str, Sequence[str]]) -> dict[Path, list[str]]:
        """What is to be run, by the folder it fills; `further` has the options that are added to each command."""
        defense, *options = self.row.split()
        model = ["--model", str(self.folder)]
        commands = {
            self.folder: ["train", *data, "--defense", defense, *options, "--seed", str(self.seed), *further["train"]],
            self.evaluation: ["evaluate", *data, *model, *further["evaluate"]],
        }
        if BLOCKS[self.data].boxes:
            attack = ["--split", "test", "--attack", "pgd10"]
            commands[self.analysis] = ["analyze", *data, *attack, *model, *further["analyze"]]
        return commands


def trained(folder: Path) -> bool:
    """Whether a training has no epoch left."""
    if not (folder / MANIFEST).exists():
        return False
    return len(read_epochs(folder / LOG)) == json.loads((folder / MANIFEST).read_text())["options"]["epochs"]


def recorded(folder: Path) -> bool:
    """Whether a run has all its records."""
    return (folder / "run.json").exists() and Run(folder).manifest["finished"] is not None


def make(training: Training, data: Sequence[str], further: Mapping[str, Sequence[str]], threads: int) -> None:
    """Run what is missing of a training and of what is made of it, one command after the other."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    for folder, command in training.commands(data, further).items():
        if trained(folder) or recorded(folder):
            continue
        whole = ["attnlab", *command, "--out", str(folder)]
        click.echo(shlex.join(whole))
        log = folder.with_name(f"{folder.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            call = [sys.executable, "-m", "cli", *whole[1:]]
            if subprocess.run(call, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False).returncode:
                raise click.ClickException(f"{shlex.join(whole)} failed; {log} tells why")


def accuracies(trainings: Sequence[Training], paper: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Table 6: a row for each defence, mean and spread over its seeds, the paper's values of the same attacks below."""
    tables = [report_run(training.evaluation).frames["table6"].assign(defense=training.row) for training in trainings]
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
    records = {training: read_evaluation(training.evaluation) for training in trainings}
    by_row: dict[str, dict[int, pd.DataFrame]] = {}
    for training, frame in records.items():
        by_row.setdefault(training.row, {})[training.seed] = frame.assign(model=training.row)
    rows = list(by_row)
    pairs = [(row, base) for aad, base in PAIRS for row in rows if row.split()[0] == aad and base in rows]
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
    """IoU of attention with the true boxes, and of clean with attacked attention."""
    rows = []
    for training in trainings:
        frame = read_records(training.analysis)
        shared = frame["shared_cells"].dropna()
        kept = [iou_of_shared(cells[CELLS - 1], CELLS) for cells in shared]
        moved = {
            "defence": training.row,
            "clean": frame["iou_att_gt"].mean(),
            "attacked": frame["adv_iou_att_gt"].mean(),
        }
        rows.append({**moved, "kept": pd.Series(kept).mean(), "images": len(frame), "maps": len(shared)})
    means = pd.DataFrame(rows).groupby("defence", sort=False)
    lines = []
    for defense, group in means:
        cells = [_spread(group[name].mean(), group[name].std(), digits=4) for name in ("clean", "attacked", "kept")]
        constant = f"{(group['images'] - group['maps']).mean():.0f}"
        lines.append([str(defense), str(len(group)), *cells, constant])
    head = ["defence", "seeds", "clean Att/GT", "attacked Att/GT", f"clean/attacked, {CELLS} cells", "constant maps"]
    told = (
        f"IoU over {rows[0]['images']:,} test images, maps of the true label, those that are zero everywhere left out;"
    )
    return [
        f"{told} attack: 10 steps of PGD at 16/255. Mean ± standard deviation over the seeds.",
        "",
        *_markdown(head, lines),
    ]


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


def write(page: Path, text: str) -> None:
    """Put the text between the marks of a page; a page without them gets them at its end."""
    before = page.read_text() if page.exists() else f"# {page.stem}\n"
    head, _, rest = before.partition(BEGIN)
    write_whole(page, f"{head.rstrip()}\n\n{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2] or chr(10)}".encode())


def _spread(mean: float, deviation: float, sign: str = "", digits: int = 2) -> str:
    return f"{mean:{sign}.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:.{digits}f}")


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines]]


@click.command()
@click.argument("data", type=click.Choice(list(BLOCKS)))
@click.option("--root", type=Path, help="Folder of the data set's files.")
@click.option("--rows", help="Defences with commas between them, by default the block's; options may stand behind one.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Trainings at once; each has its share of the threads.")
@click.option("--train", default="", help="Further options of every `attnlab train`.")
@click.option("--evaluate", default="", help="Further options of every `attnlab evaluate`.")
@click.option("--analyze", default="", help="Further options of every `attnlab analyze`.")
@click.option("--out", type=Path, help="Folder of the trainings; by default runs/DATA.")
@click.option("--page", type=Path, help="Where the tables are written; by default docs/results/DATA.md.")
@click.option("--tables", is_flag=True, help="Write the tables of what is there and train nothing.")
def main(
    data: str,
    root: Path | None,
    rows: str | None,
    seeds: str,
    jobs: int,
    train: str,
    evaluate: str,
    analyze: str,
    out: Path | None,
    page: Path | None,
    tables: bool,
) -> None:
    """Train, evaluate, tell."""
    names = [row.strip() for row in rows.split(",")] if rows else BLOCKS[data].rows
    folder = (out or ROOT / "runs" / data).resolve()
    trainings = [Training(data, row, int(seed), folder) for seed in seeds.split(",") for row in names]
    given = ["--data", data, *(["--root", str(root.resolve())] if root else [])]
    if not tables:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        options = {"train": train, "evaluate": evaluate, "analyze": analyze}
        further = {command: shlex.split(words) for command, words in options.items()}
        with ThreadPoolExecutor(jobs) as pool:
            work = [pool.submit(make, training, given, further, threads) for training in trainings]
            for one in work:
                one.result()
    there = [training for training in trainings if recorded(training.evaluation)]
    if not there:
        raise click.ClickException(f"{folder} holds no finished evaluation yet")
    numbers = numbers_of_the_paper()["table6"]
    paper = {
        defense: dict(zip(numbers["attacks"], values, strict=True)) for defense, values in numbers.get(data, {}).items()
    }
    sections = [accuracies(there, paper), differences(there), cost(there)]
    if BLOCKS[data].boxes:
        sections.insert(2, attention([training for training in there if recorded(training.analysis)]))
    place = page or ROOT / f"docs/results/{data}.md"
    write(place, "\n\n".join("\n".join(section) for section in sections if section))
    click.echo(f"{place}: {len(there)} of {len(trainings)} trainings")


if __name__ == "__main__":
    main()
