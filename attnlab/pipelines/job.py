"""The work of a command that writes records, part by part: the one path that every way to run it takes."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa

from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.data import TRUTHS
from attnlab.data.base import ImageSet
from attnlab.data.summary import summarise
from attnlab.failures import keeping
from attnlab.pipelines.checks import check_usable
from attnlab.pipelines.pending_parts import Done, PendingParts, Progress, cut_in_parts, pending_parts, quietly
from attnlab.records import skipped_images
from attnlab.run_opening import opened
from attnlab.runs import Run
from attnlab.shards import Shard, own_shard

Config = TypeVar("Config", AnalyzeConfig, EvaluateConfig)


@dataclass(frozen=True, kw_only=True)
class Job(ABC, Generic[Config]):
    """Work that is ready to run: data and models are open."""

    SCHEMA: ClassVar[pa.Schema]  # of its records

    config: Config  # every default is settled
    images: ImageSet
    positions: list[int]  # indices of the images it uses
    out: Path
    named: dict[str, Any]  # what the manifest says under "options" of data and models
    chosen: tuple[str, ...]  # batch sizes that this process chose by itself: those that the run has go before
    cost: str = ""  # what LIME takes at most; empty without LIME, and where its speed was not tried

    @abstractmethod
    def manifest(self) -> dict[str, Any]:
        """Content of run.json."""

    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """Values of options that manifests of older versions lack."""

    @abstractmethod
    def begin(self, run: Run, work: PendingParts) -> None:
        """Check the models before the parts that are missing are computed."""

    @abstractmethod
    def compute(self, work: PendingParts) -> Iterator[Done]:
        """Compute and write the parts that are missing; yields what is done of which, as it is."""

    def conclude(self, run: Run) -> None:
        """Add to a run all of whose parts are there what is said of the whole."""

    @property
    def shard(self) -> Shard:
        """What this process computes of the run's parts."""
        return own_shard(self.config.processes.shard)[0]

    @property
    def shard_from(self) -> str:
        """What said so; empty where this process computes all."""
        return own_shard(self.config.processes.shard)[1]

    @property
    def summary(self) -> str:
        """What the images are, in a line: counts, ground truth, what cannot be used and why."""
        truth = getattr(self.config.data, "truth", TRUTHS[0])
        split = self.named.get("split", "")
        return f"{self.images.name} {split}".strip() + f": {summarise(self.images, self.positions, truth)}"

    @property
    def models_count(self) -> int:
        """Number of models, each of which has records of every image."""
        return 1

    @property
    def parts(self) -> dict[int, list[int]]:
        """Indices of the images of each part of the run, by its number."""
        return cut_in_parts(self.positions, self.config.run.part_size, self.models_count)

    @property
    def count(self) -> int:
        """Images that this process looks at, those of each model counted on their own."""
        return sum(len(part) for number, part in self.parts.items() if self.shard.takes(number))

    def missing(self, run: Run) -> list[int]:
        """Numbers of the parts that no process has written yet."""
        return [number for number in self.parts if not run.part(number).exists()]

    def run(self, progress: Progress = quietly) -> Run:
        """Write what is missing of this process's parts, and where no other is missing then, what is said of the whole.

        Arguments and errors are those of the function that opened the job.
        """
        manifest, shard = self.manifest(), self.shard
        with opened(self.out, manifest, self.SCHEMA, self.defaults(), shard, self.chosen) as run, keeping(self.out):
            start = perf_counter()
            job = self.as_begun(run)
            work = job.pending(run, [number for number in job.parts if shard.takes(number)])
            if work.missing:
                run.begin_session(manifest, shard)
            job.begin(run, work)
            progress(sum(images for _, images in work.done))
            for _, images in job.compute(work):
                progress(images)
            if not job.missing(run):
                job.finish(run, perf_counter() - start)
        return run

    def pending(self, run: Run, numbers: Collection[int]) -> PendingParts:
        """Which of these parts are missing."""
        parts = self.parts
        return pending_parts(run, self.images.image_ids, {number: parts[number] for number in numbers})

    def finish(self, run: Run, seconds: float) -> None:
        """Say of a run all of whose parts are there that it is finished, and add what is said of the whole."""
        run.finish(seconds)
        run.write_skipped(skipped_images(run))
        check_usable(run)
        self.conclude(run)

    def as_begun(self, run: Run) -> Self:
        """The same job with the batch sizes of the run, where this process chose its own."""
        manifest = run.manifest
        sizes = {name: manifest[name] for name in self.chosen if name in manifest}
        return replace(self, config=self.config.having(**sizes))
