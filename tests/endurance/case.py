"""A case: a command that is faulted, repeated until it ends, and compared with one that nothing interrupted."""

import ctypes
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from endurance.commands import COMMANDS, OUT
from endurance.faults import TIMED, Fault, complaints, drawn, unreadable
from endurance.results import differences, size_of
from endurance.session import Ended, Session

SOONER = 4  # times that a fault which came too late is tried again, at half its time
OTHERS = "another process of this training ended"  # what those say that end because of one
NEW_NAMESPACE = 0x20000  # of mounts, see unshare(2)


@dataclass
class Outcome:
    """What came of a case."""

    seed: int
    command: str
    faults: list[str]
    wrong: list[str] = field(default_factory=list)
    missed: bool = False  # the command was done before the fault could come
    seconds: float = 0.0


class Bench:
    """A folder in which cases are tried, and the uninterrupted commands that they are compared with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole: dict[str, Ended] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def uninterrupted(self, name: str) -> tuple[Path, Ended]:
        """Folder and end of a command that nothing interrupts; run where it was not yet."""
        place, command = self.folder / "whole" / name, COMMANDS[name]
        if name not in self.whole:
            self.begin(name, place)
            ended = Session(command, place, None, None, "whole").run()
            wrong = [*ended.left, *(line for said in ended.said for line in unreadable(said))]
            if any(ended.codes) or wrong:
                raise SystemExit(f"the uninterrupted {name} ended with {ended.codes}: {wrong or ended.said}")
            self.whole[name] = ended
        return place, self.whole[name]

    def begin(self, name: str, place: Path) -> None:
        """Make the folder in which a command begins; what was there before goes."""
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if over := COMMANDS[name].over:
            shutil.copytree(self.uninterrupted(over)[0] / OUT, place / OUT)

    def try_case(self, seed: int) -> Outcome:
        """Run the case of a seed; its folder stays where something is wrong."""
        name, faults = drawn(seed)
        outcome = Outcome(seed, name, [str(fault) for fault in faults])
        start, place = time.monotonic(), self.folder / f"seed-{seed}"
        like, _ = self.uninterrupted(COMMANDS[name].like or name)
        _, whole = self.uninterrupted(name)
        disk = None
        if faults[0].kind == "small-disk":
            disk = Disk(place, faults[0].at * size_of(like))
        for attempt in range(SOONER):
            if disk:
                disk.remove()
            self.begin(name, place)
            if disk:
                disk.mount()
            outcome.wrong = []
            if self._faulted(name, place, replace(faults[0], at=faults[0].at / 2**attempt), whole, outcome):
                break
        else:
            outcome.missed = not outcome.wrong
        if disk:
            disk.grow()
        for fault in faults[1:] if not (outcome.missed or outcome.wrong) else ():
            self._faulted(name, place, fault, whole, outcome)
        if not outcome.missed and not outcome.wrong:
            self._finish(name, place, whole, outcome)
            outcome.wrong += differences(like / OUT, place / OUT)
        if disk:
            disk.remove()
        if not outcome.wrong:
            shutil.rmtree(place)
        outcome.seconds = round(time.monotonic() - start, 1)
        return outcome

    def _faulted(self, name: str, place: Path, fault: Fault, whole: Ended, outcome: Outcome) -> bool:
        """Run a command with a fault and note what is wrong with its end; whether the fault came."""
        command = COMMANDS[name]
        if not fault.timed and not whole.changes[fault.rank]:  # a process of a training that writes nothing
            fault = replace(fault, timed=True) if fault.kind in TIMED else replace(fault, rank=0)
        ended = Session(command, place, fault, whole, "faulted").run()
        if fault.clock:
            age(place, fault.clock)
        struck = ended.struck or (fault.kind == "small-disk" and any(ended.codes))
        small = fault.kind == "small-disk"  # which each process meets, or ends because another did
        ranks = [rank for rank, code in enumerate(ended.codes) if code == 1] if small else [fault.rank]
        met = [rank for rank in ranks if struck and ended.codes[rank]]
        for rank in met:
            if not (small and OTHERS in ended.said[rank]):
                outcome.wrong += complaints(fault.kind, command, ended.codes[rank], ended.said[rank])
        outcome.wrong += [line for said in ended.said for line in unreadable(said)] + ended.left
        if ended.hung:
            outcome.wrong.append(f"{fault.kind}: it hung: {ended.said}")
        if not struck and any(ended.codes):
            outcome.wrong.append(f"it ended with {ended.codes} before the fault: {ended.said}")
        return struck and (bool(met) or fault.kind == "dead-worker")  # whose work may have been done

    def _finish(self, name: str, place: Path, whole: Ended, outcome: Outcome) -> None:
        """Repeat the command, which nothing interrupts now."""
        ended = Session(COMMANDS[name], place, None, None, "repeated").run()
        outcome.wrong += [line for said in ended.said for line in unreadable(said)] + ended.left
        if any(ended.codes):
            outcome.wrong.append(f"repeated, it ended with {ended.codes}: {ended.said}")


def age(place: Path, seconds: float) -> None:
    """Let files look as old as the clock said that was set back."""
    for path in place.rglob("*"):
        then = path.stat().st_mtime - seconds
        if then > 0:
            os.utime(path, (then, then))


class Disk:
    """A file system in memory over a folder, which it needs the right to mount."""

    def __init__(self, place: Path, size: float) -> None:
        self.place, self.size = place, max(8192, int(size))

    def mount(self) -> None:
        """Mount it, of a size in bytes."""
        words = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", str(self.place)]
        subprocess.run(words, check=True)

    def grow(self) -> None:
        """Make room."""
        subprocess.run(["mount", "-o", "remount,size=256m", str(self.place)], check=True)

    def remove(self) -> None:
        """Take it away, and what it holds."""
        subprocess.run(["umount", str(self.place)], check=False, capture_output=True)


def can_mount() -> bool:
    """Whether file systems can be mounted that nobody else sees; from then on no other process does."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    if ctypes.CDLL(None).unshare(NEW_NAMESPACE) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True).returncode == 0
