"""Generated cases by the thousand: `make fuzz`, with other options `make fuzz FUZZ="--only csv --seed 3"`.

A case is made of its seed, its kind and its number alone. It ends accepted, where what was read is held to what was
written or to an independent reading; refused, in one line; or skipped with a reason. Anything else fails it: another
exception, a number that differs, more than its time; then the program exits with 1.
"""

import argparse
import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from random import Random
from typing import NamedTuple

from endurance.cases import Case, Skipped, short

COMMAND = "PYTHONPATH=tests python -m endurance.fuzz"
BLOCK = 20  # cases that a process takes at a time
PATIENCE = 90.0  # seconds a case may take


class Kind(NamedTuple):
    """Where the case of a kind is, and its share of all."""

    module: str
    case: str
    share: int

    def load(self) -> Case:
        """The function."""
        case: Case = getattr(importlib.import_module(f"endurance.{self.module}"), self.case)
        return case


KINDS = {
    "images": Kind("images", "image_case", 2900),
    "csv": Kind("tables", "csv_case", 1400),
    "voc": Kind("annotations", "voc_case", 600),
    "coco": Kind("annotations", "coco_case", 1000),
    "yolo": Kind("annotations", "yolo_case", 600),
    "imagenet": Kind("annotations", "imagenet_case", 500),
    "options": Kind("options", "options_case", 1400),
    "folders": Kind("folders", "folder_case", 800),
    "checkpoints": Kind("folders", "checkpoint_case", 300),
    "networks": Kind("networks", "network_case", 500),
}


class Block(NamedTuple):
    """Some cases of a kind, of which a process runs one after the other."""

    kind: str
    numbers: range
    seed: int


class Late(BaseException):
    """A case took more than its time."""


def run_case(kind: str, number: int, seed: int) -> str:
    """Run one case in an empty folder; returns ACCEPTED or REFUSED, raises what fails it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[kind].load()(Random(f"{seed}/{kind}/{number}"), Path(folder))


def run_block(block: Block) -> tuple[Counter[str], dict[int, str]]:
    """Count how the cases end; the failing ones by their numbers, each with what failed."""
    counts, failed = Counter[str](), dict[int, str]()
    for number in block.numbers:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)  # where no signal is looked at
        try:
            counts[run_case(block.kind, number, block.seed)] += 1
        except Skipped as reason:
            counts[f"skipped: {reason}"] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failed[number] = short(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
    return counts, failed


def _late(*_: object) -> None:
    raise Late(f"more than {PATIENCE:g} seconds")


def begin() -> None:
    """Prepare a process: a clock for hanging cases, and silence from libraries that print of damaged files."""
    signal.signal(signal.SIGALRM, _late)
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _blocks(count: int, seed: int, kinds: list[str]) -> Iterator[Block]:
    total = sum(KINDS[kind].share for kind in kinds)
    for kind in kinds:
        cases = round(count * KINDS[kind].share / total)
        for start in range(0, cases, BLOCK):
            yield Block(kind, range(start, min(start + BLOCK, cases)), seed)


def run_all(blocks: list[Block], jobs: int) -> Iterator[tuple[Block, Counter[str], dict[int, str]]]:
    """Run blocks in processes; those of a process that died once more, each alone."""
    left = dict.fromkeys(blocks)
    try:
        with _pool(jobs) as pool:
            futures = {pool.submit(run_block, block): block for block in blocks}
            for future in as_completed(futures):
                yield futures[future], *future.result()
                del left[futures[future]]
    except BrokenProcessPool:
        for block in left:
            try:
                with _pool(1) as pool:
                    yield block, *pool.submit(run_block, block).result()
            except BrokenProcessPool:
                yield block, Counter(), {block.numbers[0]: f"its process died, in one of {len(block.numbers)} cases"}


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), begin)


def main() -> int:
    """Run all, or the one that is named; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m endurance.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="number of cases, of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=list(KINDS), help="kind of cases; may be given several times"
    )
    parser.add_argument("--case", type=int, help="the number of one case, with --only: what failed is raised")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    given = parser.parse_args()
    kinds = given.only or list(KINDS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.case is not None:
        print(run_case(kinds[0], given.case, given.seed))
        return 0
    start = time.monotonic()
    counts = {kind: Counter[str]() for kind in kinds}
    failures = 0
    for block, ended, failed in run_all(list(_blocks(given.count, given.seed, kinds)), given.jobs):
        counts[block.kind] += ended
        for number, what in failed.items():
            print(f"FAILED {block.kind} {number}: {what}")
            print(f"  {COMMAND} --seed {block.seed} --only {block.kind} --case {number}", flush=True)
        failures += len(failed)
    for kind, ended in counts.items():
        print(f"{kind:<12}" + ", ".join(f"{count} {how}" for how, count in ended.most_common()))
    total = sum(map(Counter.total, counts.values())) + failures
    print(f"{total} cases of seed {given.seed} in {time.monotonic() - start:.0f} s, {failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
