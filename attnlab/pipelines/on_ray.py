"""Jobs on a Ray cluster, where Ray is installed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from attnlab.errors import UserError
from attnlab.pipelines.job import Job
from attnlab.pipelines.pending_parts import Progress
from attnlab.runs import Run

if TYPE_CHECKING:
    from attnlab.pipelines.ray_engine import RayJob


def on_ray(config: Any, open_job: Callable[[Any], Job[Any]]) -> "AbstractContextManager[RayJob]":
    """A configuration's job, open on the workers of a Ray cluster for the time of the context, see `ray_job`."""
    try:
        from attnlab.pipelines.ray_engine import ray_job
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("expected Ray for --engine ray, but it is not installed: pip install 'attnlab[ray]'") from None
    return ray_job(config, open_job)


def run_on_ray(config: Any, open_job: Callable[[Any], Job[Any]], progress: Progress, *objects: object) -> Run:
    """Compute the job of a configuration on a Ray cluster; `objects` is what the caller has in place of names."""
    if any(item is not None for item in objects):
        raise UserError("expected names of models and data with --engine ray, whose workers open them, got objects")
    with on_ray(config, open_job) as job:
        return job.run(progress)
