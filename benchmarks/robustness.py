"""Train every row of a block of Table 6 from several seeds, evaluate each training, and write what came of it.

    python -m benchmarks.robustness mnist --root DIR            # all rows, seeds 0, 1, 2, then docs/results/mnist.md
    python -m benchmarks.robustness scenes --jobs 2             # the same with the IoU of attention with boxes
    python -m benchmarks.robustness readings                    # what the attention terms may mean, each with its base
    python -m benchmarks.robustness cifar10 --root DIR --train "--device cuda --precision bf16"

Every step is an `attnlab` command, printed before it runs; each goes on where it was interrupted, one that is done does
nothing, and one with other options than what lies there is refused, so the same command finishes what is missing. The
tables are written between two marks in the file, and with what is there so far.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from attnlab.report.tables.published import numbers_of_the_paper
from benchmarks.robustness_page import accuracies, attention, cost, differences
from benchmarks.sections import write_section
from benchmarks.trainings import BLOCKS, Training, recorded

ROOT = Path(__file__).resolve().parents[1]


def make(training: Training, data: Sequence[str], further: Mapping[str, Sequence[str]], threads: int) -> None:
    """Give the commands of a training and of what is made of it, one after the other."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    for folder, command in training.commands(data, further).items():
        whole = ["attnlab", *command, "--out", str(folder)]
        click.echo(shlex.join(whole))
        log = folder.with_name(f"{folder.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            call = [sys.executable, "-m", "cli", *whole[1:]]
            if subprocess.run(call, cwd=ROOT, env=environment, stdout=file, stderr=file, check=False).returncode:
                raise click.ClickException(f"{shlex.join(whole)} failed; {log} tells why")


@click.command()
@click.argument("block", type=click.Choice(list(BLOCKS)))
@click.option("--root", type=Path, help="Folder of the data set's files.")
@click.option("--rows", help="Defences with commas between them, by default the block's; options may stand behind one.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Trainings at once.")
@click.option("--threads", type=int, help="Threads of each; by default the cores divided by --jobs.")
@click.option("--train", default="", help="Further options of every `attnlab train`.")
@click.option("--evaluate", default="", help="Further options of every `attnlab evaluate`.")
@click.option("--analyze", default="", help="Further options of every `attnlab analyze`.")
@click.option("--out", type=Path, help="Folder of the trainings; by default runs/BLOCK.")
@click.option("--page", type=Path, help="Where the tables are written; by default docs/results/BLOCK.md.")
@click.option("--tables", is_flag=True, help="Write the tables of what is there and train nothing.")
def main(
    block: str,
    root: Path | None,
    rows: str | None,
    seeds: str,
    jobs: int,
    threads: int | None,
    train: str,
    evaluate: str,
    analyze: str,
    out: Path | None,
    page: Path | None,
    tables: bool,
) -> None:
    """Train, evaluate, tell."""
    names = [row.strip() for row in rows.split(",")] if rows else BLOCKS[block].rows
    data = BLOCKS[block].data or block
    folder = (out or ROOT / "runs" / block).resolve()
    trainings = [Training(block, row, int(seed), folder) for seed in seeds.split(",") for row in names]
    given = ["--data", data, *(["--root", str(root.resolve())] if root else [])]
    if not tables:
        threads = threads or max(1, (os.cpu_count() or 1) // jobs)
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
    analyzed = [training for training in there if recorded(training.analysis)]
    if analyzed:
        sections.insert(2, attention(analyzed))
    place = page or ROOT / f"docs/results/{block}.md"
    write_section(place, "benchmarks.robustness", "\n\n".join("\n".join(section) for section in sections if section))
    click.echo(f"{place}: {len(there)} of {len(trainings)} trainings")


if __name__ == "__main__":
    main()
