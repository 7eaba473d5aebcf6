"""A worker of a Ray cluster: holds the models of a job, and computes the parts that it is given."""

import os
import platform
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from attnlab.errors import UserError
from attnlab.manifests import refused_surroundings
from attnlab.pipelines.job import Job
from attnlab.pipelines.pending_parts import Done
from attnlab.runs import Run

PATIENCE = 30.0  # seconds until what another machine wrote must be seen in a shared folder


@dataclass(frozen=True)
class Description:
    """What a worker found where it opened the data and the models."""

    out: Path
    manifest: dict[str, Any]
    defaults: dict[str, Any]
    chosen: tuple[str, ...]  # batch sizes that it chose by itself
    parts: dict[int, int]  # number of images of each part
    cost: str  # see `Job`, as of the next
    summary: str


class Worker:
    """An actor's class: its methods are called from the driver's machine. What it opens, it opens again after a loss.

    Args:
        config: Of the job.
        open_job: Opens it from the configuration.
        folder: Working directory of the driver, which paths are relative to.
        beside: Number of workers on this machine, which share its cores.
    """

    def __init__(self, config: Any, open_job: Callable[[Any], Job[Any]], folder: str, beside: int) -> None:
        self.config = config
        self.open_job = open_job
        self.folder = folder
        self.told: list[str] = []
        os.environ["LOCAL_WORLD_SIZE"] = str(beside)

    @cached_property
    def job(self) -> Job[Any]:
        """The job, opened here."""
        warnings.showwarning = lambda message, *_of: self.told.append(str(message))
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise UserError(
                f"expected {self.folder} on {platform.node()} too, got {error.strerror}: start the command in a folder "
                "that all machines of the cluster share"
            ) from None
        return self.open_job(self.config)

    @cached_property
    def begun(self) -> tuple[Job[Any], Run]:
        """The job as the run has it, and the run, to which this worker adds records."""
        run = Run(self.job.out, self.job.SCHEMA)
        run.begin_session(self.job.manifest())
        return self.job.as_begun(run), run

    def describe(self) -> Description:
        """Open data and models, and tell what the run is to be."""
        job = self.job
        parts = {number: len(part) for number, part in job.parts.items()}
        return Description(job.out, job.manifest(), job.defaults(), job.chosen, parts, job.cost, job.summary)

    def check_folder(self, mark: str) -> None:
        """Check that the run's folder is the driver's, which left a file of that name in it."""
        end = monotonic() + PATIENCE
        while not (self.job.out / mark).exists():
            if monotonic() > end:
                raise UserError(
                    f"expected {self.job.out.resolve()} to be one folder for all machines of the cluster, but what "
                    f"others write there {platform.node()} does not see; choose an --out on a shared file system"
                )
            sleep(0.5)

    def check_surroundings(self, manifest: Mapping[str, Any]) -> None:
        """Check that this worker's versions and threads are those of the first one."""
        if other := refused_surroundings(manifest, self.job.manifest()):
            raise UserError(
                f"expected the same versions and threads on all machines of the cluster, got others on "
                f"{platform.node()}: {'; '.join(other)}"
            )

    def begin(self) -> list[str]:
        """Check the models, and the parts that are there; returns its warnings."""
        job, run = self.begun
        job.begin(run, job.pending(run, job.parts))
        return self.warnings()

    def compute(self, numbers: Collection[int], first: Mapping[str, Any]) -> Iterator[tuple[Done, list[str]]]:
        """Compute these parts; yields what is done of which, and warnings that came up meanwhile.

        It may be the first call behind a loss, on another machine: `first` is the manifest as the first worker made it.
        """
        self.check_surroundings(first)
        job, run = self.begun
        work = job.pending(run, numbers)
        for done in work.done:
            yield done, self.warnings()
        for done in job.compute(work):
            yield done, self.warnings()

    def finish(self, seconds: float) -> list[str]:
        """Say of the run that it is finished; returns its warnings."""
        job, run = self.begun
        job.finish(run, seconds)
        return self.warnings()

    def warnings(self) -> list[str]:
        """What this worker warned of since it was asked last."""
        told, self.told = self.told, []
        return told
