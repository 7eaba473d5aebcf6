"""Configuration of an export of a run for other programs."""

from dataclasses import dataclass, field
from pathlib import Path

from attnlab.config.figures import ShownDataOptions, words
from attnlab.config.option import Options, option, variant
from attnlab.config.sections import ModelOptions, RunOptions
from attnlab.stores import Url


@dataclass(frozen=True)
class ReplayOptions(Options):
    """How the images of a run are read and attacked again, since its records hold no pixels."""

    root: Path | Url | None = variant(ShownDataOptions, "root")
    device: str = variant(RunOptions, "device")
    trust_code: bool = variant(ModelOptions, "trust_code")


@dataclass(frozen=True)
class ExportConfig(Options):
    """Configuration of `attnlab export`.

    Attributes:
        out: Folder to write to; by default RUN/export-FORMAT. An export of the same run there is completed.
        images: Ids of the images to export; by default all.
        no_images: For coco: write annotations.json alone, which needs neither data nor model.
        method: Of a run of several methods that map, the one whose maps and IoUs are exported; by default the first,
            for csv all.
        name: For fiftyone: name of the data set; by default that of the run's folder.
    """

    out: Path | None = option(None, parse=Path)
    images: tuple[str, ...] = option((), parse=words, metavar="ID,...")
    no_images: bool = False
    method: str | None = option(None, names="methods")
    name: str | None = None
    replay: ReplayOptions = field(default_factory=ReplayOptions)
