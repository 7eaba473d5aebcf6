"""Fault commands at random moments, repeat them, and compare what they leave with uninterrupted ones, byte for byte.

    python -m endurance.soak --count 200 --seed 0 --jobs 2 --out DIR

A seed is a case: it decides the command, the faults and their moments. The journal in DIR keeps the results of all
seeds. Repeat the command to try those that failed or were not reached.
"""

import json
import multiprocessing.forkserver
import pkgutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from endurance.case import Bench, Outcome, can_mount
from endurance.commands import COMMANDS, prepare_environment
from endurance.faults import FAULTS, drawn
from processes import start

from attnlab.errors import UserError
from attnlab.files import make_folder

JOURNAL = "journal.jsonl"


@click.command()
@click.option("--count", default=200, show_default=True, help="Number of cases.")
@click.option("--seed", default=0, show_default=True, help="The first case's.")
@click.option("--only", default="", help="Commands whose names begin so, or one fault.")
@click.option("--jobs", default=2, show_default=True, help="Cases at a time.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/soak"), show_default=True, help="Folder.")
def main(count: int, seed: int, only: str, jobs: int, out: Path) -> None:
    """Try so many cases; print counts by command and fault, and every seed that failed."""
    out = out.resolve()
    try:
        make_folder(out)
    except UserError as error:
        raise click.ClickException(str(error)) from None
    mounts = can_mount()  # before commands' server starts, which has to see what is mounted
    begin()
    seeds = cases(count, seed, only, mounts=mounts)
    done = {line["seed"]: line for line in read_journal(out / JOURNAL) if not line["wrong"]}
    click.echo(f"{len(done.keys() & set(seeds))} of {len(seeds)} cases are done already")
    if not mounts:
        click.echo("no small disks: mounting needs root")
    bench = Bench(out / "work")
    for name in sorted({drawn(one)[0] for one in seeds if one not in done}):
        bench.uninterrupted(COMMANDS[name].like or name)
        ended = bench.uninterrupted(name)[1]
        click.echo(f"{name}: {ended.seconds:.1f} s, {sum(ended.changes)} changes of files")
    with ThreadPoolExecutor(jobs) as pool, (out / JOURNAL).open("a") as journal:
        for case in as_completed(pool.submit(bench.try_case, one) for one in seeds if one not in done):
            outcome = case.result()
            line = asdict(outcome)
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            done[outcome.seed] = line
            click.echo(told(outcome))
    sys.exit(summary([done[one] for one in seeds]))


def begin() -> None:
    """Start the server that commands are forked from, with all of attnlab imported."""
    prepare_environment()
    import attnlab
    import attnlab_cli

    names = ["attnlab_cli"]
    for package in (attnlab, attnlab_cli):
        names += [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    multiprocessing.set_forkserver_preload([name for name in names if not name.endswith("__main__")])
    multiprocessing.forkserver.ensure_running()
    start("list").wait()  # so that no command's time holds that of the imports


def cases(count: int, seed: int, only: str, *, mounts: bool) -> list[int]:
    """Seeds of so many cases from one on; where nothing can be mounted, without small disks."""
    if only and not any(name.startswith(only) for name in [*COMMANDS, *FAULTS]):
        raise click.UsageError(f"expected --only to begin one of {', '.join([*COMMANDS, *FAULTS])}, got {only!r}")
    found: list[int] = []
    while len(found) < count:
        name, faults = drawn(seed)
        if (mounts or faults[0].kind != "small-disk") and (name.startswith(only) or faults[0].kind == only):
            found.append(seed)
        seed += 1
    return found


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Lines of a journal; a last one that was cut short is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def told(outcome: Outcome) -> str:
    """An outcome in a line, and what is wrong below it."""
    state = "WRONG" if outcome.wrong else "missed" if outcome.missed else "ok"
    line = f"{outcome.seed:5d} {state:6} {outcome.seconds:5.1f} s  {outcome.command}: {', '.join(outcome.faults)}"
    return "\n".join([line, *(f"      {one}" for one in outcome.wrong)])


def summary(lines: list[dict[str, Any]]) -> int:
    """Print how many cases of each command and fault held; return 1 where one did not."""
    came = [line for line in lines if not line["missed"]]
    kinds = Counter((line["command"], line["faults"][0].split(" ")[0]) for line in came)
    click.echo(f"\n{'':18}" + "".join(f"{fault:>12}" for fault in FAULTS) + f"{'all':>6}")
    for name in COMMANDS:
        row = [kinds[name, fault] for fault in FAULTS]
        click.echo(f"{name:18}" + "".join(f"{number or '':>12}" for number in row) + f"{sum(row):6}")
    wrong = [line for line in lines if line["wrong"]]
    faults = sum(len(line["faults"]) for line in came)
    click.echo(f"{len(came)} cases, {faults} faults, {len(lines) - len(came)} missed, {len(wrong)} wrong")
    for line in wrong:
        words = f"python -m endurance.soak --count 1 --seed {line['seed']}"
        click.echo(f"{line['command']}, {', '.join(line['faults'])}: {words}\n      {line['wrong'][0][:300]}")
    return int(bool(wrong))


if __name__ == "__main__":
    main()
