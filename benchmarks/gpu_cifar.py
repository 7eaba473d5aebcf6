"""The CIFAR-10 block of Table 6 on one GPU, in calls of nine minutes that resume from what an earlier one left.

    python -m benchmarks.gpu_cifar --root DIR --out gpu     # or `make gpu-cifar ROOT=DIR`; again until all is done
    python -m benchmarks.gpu_cifar --smoke                  # a stand-in on a CPU

Thirty epochs, five rows, three seeds: each training is an `attnlab train` and an `attnlab evaluate`, interrupted at the
end of the call as Ctrl-C does it. OUT holds gpu-cifar.jsonl and gpu-cifar.log, the tables so far (cifar10.md), and all
that the next call needs in trainings-*.part of at most 15 MiB each, so that a call may be given on another machine with
OUT copied there. Of finished trainings these keep records and logs, no weights; --keep-weights brings all.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from attnlab.training.checkpointing import FILE as STATE
from benchmarks.archive import pack, unpack
from benchmarks.pieces import GRACE, ROOT, Results, Step, environment, run
from benchmarks.trainings import ROWS, Training, recorded

CLOSING = 20.0  # seconds that packing and tables take at the end of a call


def stand_in(root: Path) -> list[str]:
    """CIFAR-10's files with few random images; options of a training and an evaluation that take seconds."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = draw.integers(0, 256, (8, 3073), np.uint8)
        rows[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{number}" for number in range(10)))
    return ["--device", "cpu", "--epochs", "2", "--batch-size", "8", "--steps", "1", "--held-out", "8"]


def trained(training: Training, results: Results) -> bool:
    """Whether the training came to its end, on whichever machine."""
    return any(line["step"] == training.folder.name and line["rc"] == 0 for line in results.lines())


def unneeded(training: Training, results: Results) -> set[Path]:
    """Weights of a training that the next call can do without, for what is carried has to stay small.

    An evaluation needs the best ones alone, and the resumption of a training these and its state.
    """
    if recorded(training.evaluation):
        return set(training.folder.rglob("*.safetensors"))
    last = set((training.folder / "last").glob("*.safetensors"))
    return last | ({training.folder / STATE} if trained(training, results) else set())


def attempt(
    training: Training,
    data: list[str],
    further: dict[str, list[str]],
    left: Callable[[], float],
    variables: dict[str, str],
    results: Results,
    tell: Callable[[str], None],
) -> None:
    """Go as far with a training and its evaluation as time allows."""
    for folder, command in training.commands(data, further).items():
        step = Step(folder.name, ("-m", "cli", *command, "--out", str(folder)), left())
        if recorded(training.evaluation) or step.seconds < 10 or (command[0] == "train" and trained(training, results)):
            continue
        tell(f"== {folder.name}: python {' '.join(step.words)}")
        code = run(step, step.seconds, variables, results, lambda line, name=folder.name: tell(f"[{name}] {line}"))
        tell(f"== {folder.name}: {'stopped for time' if code is None else f'exit code {code}'}")
        if code != 0:
            return


@click.command()
@click.option("--root", type=Path, help="Folder of CIFAR-10's binary files.")
@click.option("--out", type=Path, default=Path("runs/gpu"), envvar="OUT", show_default=True, help="Also OUT.")
@click.option("--minutes", default=9.0, show_default=True, help="Of this call.")
@click.option("--jobs", default=2, show_default=True, help="Trainings at once; each needs 30 MB of OUT.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--rows", default=",".join(ROWS), show_default=True)
@click.option("--keep-weights", is_flag=True, help="Bring all weights, 40 MB a training.")
@click.option("--smoke", is_flag=True, help="Try it on a CPU with a few random images.")
def main(
    root: Path | None, out: Path, minutes: float, jobs: int, seeds: str, rows: str, keep_weights: bool, smoke: bool
) -> None:
    """Train and evaluate what is missing, for so many minutes."""
    start = time.monotonic()
    name = "gpu-cifar-smoke" if smoke else "gpu-cifar"
    out.mkdir(parents=True, exist_ok=True)
    work = Path("runs", name).resolve()
    unpack(out, work)
    further = {"train": ["--device", "cuda", "--precision", "bf16"], "evaluate": ["--device", "cuda"], "analyze": []}
    further["evaluate"] += ["--precision", "tf32"]
    if smoke:
        root, rows, seeds = work.with_name(f"{name}-data"), "none,madry+aad", "0"
        further = {"train": stand_in(root), "evaluate": ["--device", "cpu", "--attacks", "clean,fgsm"], "analyze": []}
    if root is None:
        raise click.UsageError("expected --root DIR, the folder of CIFAR-10's binary files")
    data = ["--data", "cifar10", "--root", str(root.resolve())]
    trainings = [Training("cifar10", row, int(seed), work) for seed in seeds.split(",") for row in rows.split(",")]
    results, lock = Results(out / f"{name}.jsonl"), threading.Lock()

    def left() -> float:
        return 60 * minutes - (time.monotonic() - start) - GRACE - CLOSING

    with (out / f"{name}.log").open("a") as log, environment() as variables:

        def tell(line: str) -> None:
            with lock:
                print(line, flush=True)
                print(line, file=log, flush=True)

        # what is begun first, so that little lies unfinished
        missing = [training for training in trainings if not recorded(training.evaluation)]
        missing.sort(key=lambda training: not training.folder.exists())
        tell(f"{len(trainings) - len(missing)} of {len(trainings)} trainings are evaluated already")
        with ThreadPoolExecutor(jobs) as pool:
            for one in [pool.submit(attempt, each, data, further, left, variables, results, tell) for each in missing]:
                one.result()
        finished = [training for training in trainings if recorded(training.evaluation)]
        left_out = set() if keep_weights else set().union(*(unneeded(each, results) for each in trainings))
        pack(out, work, left_out)
        if finished:
            page = ["--page", str((out / "cifar10.md").resolve()), "--rows", rows, "--seeds", seeds]
            words = ["-m", "benchmarks.robustness", "cifar10", "--tables", "--out", str(work), *page]
            subprocess.run([sys.executable, *words], cwd=ROOT, env=variables, check=False)
        tell(f"{len(finished)} of {len(trainings)} trainings are evaluated; {out} holds what the next call needs")
    sys.exit(0 if len(finished) == len(trainings) else 1)


if __name__ == "__main__":
    main()
