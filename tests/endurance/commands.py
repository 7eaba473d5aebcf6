"""The commands that are faulted: each small, on the built-in data, and in every way that processes share its work."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from shlex import split

OUT = "out"  # the folder that each command writes, in a folder of the case's own
#: of a command that several processes share, how they are started: as torchrun does it, or by --shard
TORCHRUN, SHARDS = "torchrun", "shards"


@dataclass(frozen=True)
class Command:
    """A command and what is known of it.

    Attributes:
        line: What follows `attnlab`.
        launch: TORCHRUN or SHARDS where two processes share it, else "".
        workers: Whether it has worker processes: `dead-worker` kills one of them.
        over: Name of the command whose folder it works on; "" where it begins with none.
        like: Name of the command whose results it has to have; "" for those of its own uninterrupted run.
        resumes: Whether its errors say that what is finished is kept.
    """

    line: str
    launch: str = ""
    workers: bool = False
    over: str = ""
    like: str = ""
    resumes: bool = True

    @property
    def count(self) -> int:
        """Number of processes."""
        return 2 if self.launch else 1

    def words(self, rank: int) -> list[str]:
        """What follows `attnlab` in one of its processes."""
        return split(self.line) + (["--shard", f"{rank + 1}/2"] if self.launch == SHARDS else [])

    def environments(self) -> list[dict[str, str]]:
        """Variables of each of its processes."""
        if self.launch != TORCHRUN:
            return [{}] * self.count
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} for rank in range(2)]


RUN = f"--limit 20 --part-size 4 --batch-size 2 --device cpu --out {OUT}"
ANALYZE = f"analyze {RUN} --eps 4/255,16/255"
LIME = "analyze --limit 6 --part-size 2 --batch-size 2 --method lime --lime-superpixels slic --lime-samples 30 "
LIME += f"--lime-batch-size 15 --device cpu --out {OUT}"
EVALUATE = f"evaluate {RUN} --attacks clean,fgsm,pgd2"
ATTACK = f"attack {RUN} --attack pgd2"
PLAN = f"--limit 24 --held-out 12 --batch-size 6 --steps 1 --device cpu --out {OUT}"
TRAIN = f"train {PLAN} --epochs 2 --defense madry+aad --snapshots"

#: name -> command; those that work on another's folder stand behind it
COMMANDS = {
    "analyze": Command(f"{ANALYZE} --workers 0"),
    "analyze-workers": Command(f"{ANALYZE} --workers 2", workers=True, like="analyze"),
    "analyze-torchrun": Command(f"{ANALYZE} --workers 0", TORCHRUN, like="analyze"),
    "analyze-shards": Command(f"{ANALYZE} --workers 1", SHARDS, workers=True, like="analyze"),
    "lime": Command(f"{LIME} --workers 0"),
    "lime-workers": Command(f"{LIME} --workers 2", workers=True, like="lime"),
    "evaluate": Command(f"{EVALUATE} --workers 0"),
    "evaluate-workers": Command(f"{EVALUATE} --workers 2", workers=True, like="evaluate"),
    "evaluate-shards": Command(f"{EVALUATE} --workers 0", SHARDS, like="evaluate"),
    "attack": Command(f"{ATTACK} --workers 0"),
    "attack-torchrun": Command(f"{ATTACK} --workers 1", TORCHRUN, workers=True, like="attack"),
    "train": Command(f"{TRAIN} --workers 0"),
    "train-workers": Command(f"{TRAIN} --workers 2", workers=True, like="train"),
    "train-torchrun": Command(f"{TRAIN} --workers 0", TORCHRUN),
    "sweep": Command(f"sweep {PLAN} --epochs 1 --alphas 0,0.1 --betas 0.01 --workers 0"),
    "figures": Command(f"figures {OUT} --only figure1,success-against-iou", over="analyze", resumes=False),
    "figures-overlays": Command(
        f"figures {OUT} --only iou-distributions --overlays", workers=True, over="analyze", resumes=False
    ),
    "report": Command(f"report {OUT} --device cpu", over="analyze", resumes=False),
    "tables": Command(f"tables {OUT} --format latex", over="evaluate", resumes=False),
}


def prepare_environment(put: Callable[[str, str], None] = os.environ.__setitem__) -> None:
    """Set what decides results or printed text beside the code: before any process is started."""
    for name, value in {"COLUMNS": "110", "TERM": "dumb", "TZ": "UTC", "MPLBACKEND": "Agg"}.items():
        put(name, value)
