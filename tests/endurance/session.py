"""One go of a command: its processes with a fault among them, until all have ended."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from endurance.commands import TORCHRUN, Command
from endurance.faults import GRACE, Fault
from endurance.shim import FORKED, STRUCK
from processes import Started, start

LOOK = 0.004  # seconds between two looks at processes
WORKING = 0.05  # seconds behind the start of workers within which one is killed
LIMIT = 150.0  # seconds after which a command counts as one that hangs
OUTLIVED = 12.0  # seconds that workers may outlive a process that was killed
INSTALL = "from endurance.shim import install\ninstall({!r}, {!r}, {!r}, {}, {})"


@dataclass
class Ended:
    """How the processes of a command ended."""

    codes: list[int] = field(default_factory=list)  # of each process; a signal is negative
    said: list[str] = field(default_factory=list)  # by each on both streams
    changes: list[int] = field(default_factory=list)  # of files, by each
    seconds: float = 0.0
    struck: bool = False  # whether the fault came before the command was done
    hung: bool = False
    left: list[str] = field(default_factory=list)  # processes that outlived it


class Session:
    """The processes of a command in a folder, and what is done to them."""

    def __init__(self, command: Command, place: Path, fault: Fault | None, whole: Ended | None, label: str) -> None:
        """Start them; `whole` is how the uninterrupted command ended, of which the fault's `at` is a share."""
        self.command, self.fault, self.began = command, fault, time.monotonic()
        self.moment: float | None = None  # seconds until a fault in time, or until it comes behind the first worker
        self.worked: float | None = None  # when its first worker was seen
        self.failed: float | None = None  # when one of several was seen to have failed
        if fault and whole and fault.timed:
            self.moment = fault.at * (WORKING if fault.kind == "dead-worker" else whole.seconds)
        self.events = [place.with_name(f"{place.name}-{label}-{rank}.events") for rank in range(command.count)]
        self.processes: list[Started] = []
        for rank, environment in enumerate(command.environments()):
            code = INSTALL.format(str(place), str(self.events[rank]), *self._of(rank, whole))
            self.processes.append(start(*command.words(rank), code=code, **environment))

    def _of(self, rank: int, whole: Ended | None) -> tuple[str, int, float]:
        """The fault in a process as `install` takes it: name, number of the change, clock."""
        fault = self.fault
        if fault is None or whole is None:
            return "", 0, 0.0
        mine = rank == fault.rank and not fault.timed
        number = max(1, round(fault.at * whole.changes[rank])) if mine else 0
        return ("kill" if fault.kind == "clock" else fault.kind) if mine else "", number, fault.clock

    def run(self) -> Ended:
        """Wait for the end of all, with the fault in time and what follows it."""
        struck_at: float | None = None
        followed = False
        met = False  # by a fault in time
        ended = Ended()
        while any(process.process.exitcode is None for process in self.processes):
            now = time.monotonic() - self.began
            if struck_at is None and (self._in_time(now) if self.moment is not None else self._struck()):
                struck_at, met = now, self.moment is not None
            if struck_at is not None and not followed and self.fault:
                followed = self._follow(now - struck_at)
            self._end_others(now)
            if now > LIMIT:
                ended.hung = True
                self._signal_all(signal.SIGKILL)
            time.sleep(LOOK)
        ended.seconds = time.monotonic() - self.began
        ended.struck = met or self._struck()
        ended.codes = [process.wait() for process in self.processes]
        ended.said = [process.said for process in self.processes]
        for path in self.events:
            ended.changes.append(len(path.read_bytes()) if path.exists() else 0)
            path.unlink(missing_ok=True)
            path.with_name(path.name + FORKED).unlink(missing_ok=True)
        ended.left = self._left()
        return ended

    def _struck(self) -> bool:
        fault = self.fault
        path = self.events[fault.rank] if fault else None
        return bool(path and path.exists() and STRUCK in path.read_bytes())

    def _in_time(self, now: float) -> bool:
        """Let the fault come if it is time to; False where it is not, or there is no worker to be killed."""
        fault = self.fault
        assert fault is not None
        pid = self.processes[fault.rank].process.pid
        if not self.events[fault.rank].exists():  # it leads no session yet
            return False
        if fault.kind == "dead-worker":
            workers = workers_of(pid, self.events[fault.rank])
            self.worked = self.worked or (now if workers else None)
            if self.worked is None or now < self.worked + (self.moment or 0.0) or not workers:
                return False
            with suppress(ProcessLookupError):
                os.kill(workers[-1], signal.SIGKILL)
            return True
        if now < (self.moment or 0.0):
            return False
        if fault.kind in ("kill", "clock"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            self._signal(pid, signal.SIGTERM if fault.kind == "term" else signal.SIGINT)
        return True

    def _follow(self, since: float) -> bool:
        """Send what follows a signal; whether nothing is to come any more."""
        fault = self.fault
        assert fault is not None
        second = {"interrupt": (fault.gap, signal.SIGINT), "term": (GRACE, signal.SIGKILL)}
        if fault.kind not in second:
            return True
        seconds, number = second[fault.kind]
        if since >= seconds:
            self._signal(self.processes[fault.rank].process.pid, number)
        return since >= seconds

    def _end_others(self, now: float) -> None:
        """End the others where one has failed, as torchrun does."""
        codes = [process.process.exitcode for process in self.processes]
        if self.command.launch != TORCHRUN or not any(codes) or None not in codes:
            return
        if self.failed is None:
            self.failed = now
            self._signal_all(signal.SIGTERM)
        elif now - self.failed > GRACE:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for process in self.processes:
            if process.process.exitcode is None:
                self._signal(process.process.pid, number)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)

    def _left(self) -> list[str]:
        """Processes of the sessions that these led, after the time that they may take to end."""
        end = time.monotonic() + OUTLIVED
        leaders = {process.process.pid for process in self.processes}
        while (left := members_of(leaders)) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [f"process {pid} ({name}) outlived the command" for pid, name in left.items()]


def workers_of(pid: int, events: Path) -> list[int]:
    """Living processes that a process has forked: not git and the like, which it has started."""
    with suppress(OSError):
        forked = {int(number) for number in events.with_name(events.name + FORKED).read_text().split()}
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if int(child) in forked]
    return []


def members_of(sessions: set[int]) -> dict[int, str]:
    """Living processes of these sessions, and their names."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            state, _parent, _group, session = rest.split()[:4]
            if int(session) in sessions and state != "Z":
                found[int(path.parent.name)] = name
    return found
