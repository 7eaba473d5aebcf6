"""The faults: at which command each can come, when, and how a command may end of it."""

import re
import signal
from dataclasses import dataclass
from random import Random

from endurance.commands import COMMANDS, Command

#: each fault and what it is
FAULTS = {
    "kill": "kill -9 of a process",
    "term": "SIGTERM to all processes as Slurm sends it, SIGKILL after a grace",
    "interrupt": "SIGINT twice, as from an impatient Ctrl-C",
    "dead-worker": "kill -9 of one worker process",
    "full-disk": "no space left from a change of a file on",
    "small-disk": "a file system of its own, in memory, that fills up amid a file",
    "read-only": "a folder that no process may write from a change of a file on",
    "clock": "the clock set back by years, then kill -9",
}
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
YEARS = 400.0 * 86400  # seconds; a clock is set back by so much, and up to forty times as much
MOST = 3  # faults of a case, one after the other
ON_TIME = 0.4  # share of the faults that come at a moment in time, others at a change of a file
TIMED = ("kill", "term", "interrupt", "clock")  # those that may; dead-worker always does

PAIRS = [
    (name, fault)
    for name, command in COMMANDS.items()
    for fault in FAULTS
    if (fault != "dead-worker" or command.workers) and not (fault == "small-disk" and command.over)
]


@dataclass(frozen=True)
class Fault:
    """A fault that is drawn.

    Attributes:
        kind: A name in FAULTS.
        rank: The process that it meets, where it meets one.
        at: When, as a share of the uninterrupted command: of its changes of files, or of its time where `timed`. Of a
            small disk, the share of what the command writes that it holds.
        timed: Whether it comes at a moment in time.
        gap: Seconds until the second SIGINT.
        clock: Seconds by which the clock is set back.
    """

    kind: str
    rank: int
    at: float
    timed: bool
    gap: float
    clock: float

    def __str__(self) -> str:
        where = "its space" if self.kind == "small-disk" else "its time" if self.timed else "its changes of files"
        return f"{self.kind} at {self.at:.3f} of {where}" + (f" in process {self.rank}" if self.rank else "")


def drawn(seed: int) -> tuple[str, list[Fault]]:
    """The command of a case, and the faults that it has one after the other."""
    random = Random(seed)
    order = Random(seed // len(PAIRS)).sample(PAIRS, len(PAIRS))  # each pair comes once in so many seeds
    name, first = order[seed % len(PAIRS)]
    kinds = [first]
    while len(kinds) < MOST and random.random() < 0.35:
        again = [fault for command, fault in PAIRS if command == name and fault != "small-disk"]
        kinds.append(random.choice(again))
    return name, [_drawn(kind, COMMANDS[name], random) for kind in kinds]


def _drawn(kind: str, command: Command, random: Random) -> Fault:
    return Fault(
        kind=kind,
        rank=random.randrange(command.count),
        at=random.uniform(0.02, 0.98),
        timed=kind == "dead-worker" or (kind in TIMED and random.random() < ON_TIME),
        gap=random.choice((0.01, 0.1, 0.4, 1.5)),
        clock=YEARS * random.uniform(1, 40) if kind == "clock" else 0.0,
    )


#: what the struck command may exit with, by fault; a signal is negative
CODES: dict[str, tuple[int, ...]] = {
    "kill": (-signal.SIGKILL,),
    "term": (130,),
    "interrupt": (130,),
    "dead-worker": (1,),
    "full-disk": (1,),
    "small-disk": (1,),
    "read-only": (1,),
    "clock": (-signal.SIGKILL,),
}
#: what the last line says then
SAYS = {
    "term": r"Interrupted\.",
    "interrupt": r"Interrupted\.",
    "dead-worker": r"Error: .*worker.*",
    "full-disk": r"Error: .*[Nn]o space left on device.*",
    "small-disk": r"Error: .*[Nn]o space left on device.*",
    "read-only": r"Error: .*Read-only file system.*",
}
#: what to do, said beside it by a command that keeps what is finished
RESUMED = r"repeat the command to resume|choose another folder with --out|try fewer --workers"
HANDED_ON = ("dead-worker", "full-disk", "small-disk", "read-only")  # faults that end in an error


def complaints(kind: str, command: Command, code: int, said: str) -> list[str]:
    """What is wrong with how a command ended of a fault that met it, and with what it said."""
    wrong = []
    lines = said.strip().splitlines() or [""]
    if code not in CODES[kind]:
        wrong.append(f"{kind}: expected exit code {' or '.join(map(str, CODES[kind]))}, got {code}: {lines[-1]}")
    elif kind in SAYS and not re.fullmatch(SAYS[kind], lines[-1]):
        wrong.append(f"{kind}: its last line is {lines[-1]!r}")
    elif kind in HANDED_ON and command.resumes and not re.search(RESUMED, said):
        wrong.append(f"{kind}: its error does not say how to go on: {lines[-1]!r}")
    return wrong


#: lines of torch's log, where a dead worker's signal comes amid an import that torch tries; the error follows
TORCHS_OWN = re.compile(r"^W\d{4} .*torch/autograd/profiler\.py.*\n", re.MULTILINE)
UNREADABLE = re.compile(r"Traceback \(most recent call last\)|Exception ignored|Fatal Python error|Segmentation")


def unreadable(said: str) -> list[str]:
    """Tracebacks and what else no user should see."""
    own = TORCHS_OWN.sub("", said)
    found = UNREADABLE.search(own)
    return [f"it printed {found[0]!r}: {own[found.start() :][:1500]}"] if found else []
