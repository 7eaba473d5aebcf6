"""Configuration of a verification of a run."""

from dataclasses import dataclass, field

from attnlab.config.export import ReplayOptions
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import RunOptions
from attnlab.seeding import check_seed


@dataclass(frozen=True)
class VerifyConfig(Options):
    """Configuration of `attnlab verify`.

    Attributes:
        sample: Number of records to compute again, of each model of the run.
        seed: Seed that draws them.
        workers: As for `analyze`.
    """

    sample: int = option(20, least=1)
    seed: int = option(0, check=lambda value, flag: check_seed(value))
    workers: int | None = variant(RunOptions, "workers")
    replay: ReplayOptions = field(default_factory=ReplayOptions)
