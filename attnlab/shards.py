"""The share of a run's parts that one of several processes computes: said by hand, by Slurm, by torchrun."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from attnlab.errors import UserError

#: most shards of a run: beyond the number of processes of any machine room
MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """Parts number, number + count, number + 2 count, ... of a run."""

    number: int = 0  # from 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether it is all of the run."""
        return self.count == 1

    def takes(self, part: int) -> bool:
        """Whether a part, by its number, is one of these."""
        return part % self.count == self.number

    def within(self, outer: "Shard") -> "Shard":
        """This shard of another one's processes: among all processes they have."""
        return Shard(outer.number * self.count + self.number, outer.count * self.count)


WHOLE = Shard()  # of a run, all


def parse_shard(text: str) -> Shard:
    """A shard from `2/8`, the second of eight.

    Raises:
        UserError: If it is none.
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count <= MOST:
        raise UserError(f"expected --shard i/n with 1 <= i <= n, such as 2/8 for the second of eight, got {text!r}")
    return Shard(number - 1, count)


def own_shard(given: Shard | None, environment: Mapping[str, str] = os.environ) -> tuple[Shard, str]:
    """The shard of this process, and what says so; all of a run, and nothing, where nothing does.

    A Slurm array's task stands for --shard where that is not given; torchrun's processes divide either among them.

    Raises:
        UserError: If the environment's numbers are no shard.
    """
    said = []
    shard = given or WHOLE
    if given:
        said.append(f"--shard {given}")
    elif "SLURM_ARRAY_TASK_ID" in environment:
        shard = _of_array(environment)
        if not shard.whole:
            task = environment["SLURM_ARRAY_TASK_ID"]
            said.append(f"task {task} of a Slurm array of {shard.count}; --shard 1/1 computes all")
    rank, size = _number(environment, "RANK", 0), launched(environment)
    if size > 1:
        if not 0 <= rank < size:
            raise UserError(f"expected RANK from 0 to WORLD_SIZE - 1, got RANK {rank} and WORLD_SIZE {size}")
        shard = Shard(rank, size).within(shard)
        said.append(f"process {rank + 1} of torchrun's {size}")
    return shard, ", ".join(said)


def launched(environment: Mapping[str, str] = os.environ) -> int:
    """Number of processes that torchrun started; 1 without it."""
    return _number(environment, "WORLD_SIZE", 1)


def _of_array(environment: Mapping[str, str]) -> Shard:
    """The shard of a task of a Slurm array, whose numbers may begin anywhere and leave gaps."""
    task = _number(environment, "SLURM_ARRAY_TASK_ID", 0)
    count = _number(environment, "SLURM_ARRAY_TASK_COUNT", 1)
    first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
    step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
    number, rest = divmod(task - first, max(1, step))
    if rest or not 0 <= number < count:
        raise UserError(
            f"expected evenly spaced tasks of a Slurm array, got task {task} of {count} from {first} in steps of "
            f"{step}; name the shard with --shard i/n"
        )
    return Shard(number, count)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise UserError(f"expected {name} to be a whole number, got {text!r}") from None
