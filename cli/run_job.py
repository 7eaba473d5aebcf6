"""Run a job that writes records, with its progress, and show its tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from attnlab.config import AnalyzeConfig, AttackConfig, EvaluateConfig
from attnlab.errors import printable
from attnlab.manifests import recorded
from attnlab.words import counted

from .console import image_progress
from .imports import uncollected
from .tables import show_run

if TYPE_CHECKING:
    from attnlab.pipelines.job import Job
    from attnlab.pipelines.ray_engine import RayJob


def run_job(config: AnalyzeConfig | EvaluateConfig | AttackConfig, **shown: Any) -> "Job[Any] | RayJob | None":
    """Run a configuration's job and show its tables, as `show_run` does; None where parts of others are missing."""
    with _opened(config) as job:
        if recorded(job.out, "finished") is None:
            click.echo(printable(job.summary), err=True)
        if job.cost:
            click.echo(job.cost, err=True)
        if job.shard_from:
            click.echo(f"shard {job.shard}: {counted(job.count, 'image')} ({job.shard_from})", err=True)
        with image_progress(job.count, job.out, job.shard) as progress:
            run = job.run(progress)
        missing = job.missing(run)
    if not missing:
        show_run(job.out, **shown)
        return job
    left = f"{len(missing)} of {counted(len(job.parts), 'part')}"
    line = f"{job.out}: shard {job.shard} is done; missing is {left} of the run"
    click.echo(printable(f"{line}, and whoever adds the last makes the tables"))
    return None


@contextmanager
def _opened(config: AnalyzeConfig | EvaluateConfig | AttackConfig) -> "Iterator[Job[Any] | RayJob]":
    """The job of a configuration, on the engine that it names."""
    open_job: Callable[[Any], Job[Any]]
    with uncollected():
        if isinstance(config, AnalyzeConfig):
            from attnlab.pipelines.analyze import open_analysis as open_job
        else:
            from attnlab.pipelines.evaluate import open_evaluation as open_job
        from attnlab.pipelines.on_ray import on_ray
    if config.processes.engine == "ray":
        with on_ray(config, open_job) as job:
            yield job
    else:
        yield open_job(config)
