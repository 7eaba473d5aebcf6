"""Run a job that writes records, with its progress, and show its tables."""

from typing import TYPE_CHECKING, Any

import click

from attnlab.errors import printable
from attnlab.words import counted

from .console import image_progress
from .tables import show_run

if TYPE_CHECKING:
    from attnlab.pipelines.job import Job


def run_job(job: "Job[Any]", **shown: Any) -> bool:
    """Run a job and show its tables, as `show_run` does; False where other processes have parts to compute yet."""
    if job.shard_from:
        click.echo(f"shard {job.shard}: {counted(job.count, 'image')} ({job.shard_from})", err=True)
    with image_progress(job.count, job.out, job.shard) as progress:
        run = job.run(progress)
    missing = job.missing(run)
    if missing:
        there = f"{len(job.parts) - len(missing)} of {counted(len(job.parts), 'part')} are there"
        line = f"{job.out}: shard {job.shard} is done; {there}, and the process that adds the last one makes the tables"
        click.echo(printable(line))
    else:
        show_run(job.out, **shown)
    return not missing
