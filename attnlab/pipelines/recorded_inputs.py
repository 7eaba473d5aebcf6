"""What a run's run.json says that it was made of: data, code and attack, for those that make it again."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.data import load_dataset
from attnlab.data.base import ImageSet, as_recorded
from attnlab.errors import UserError
from attnlab.models.load import runs_code
from attnlab.models.own_code import check_trusted, is_code
from attnlab.recorded_attacks import is_corruption
from attnlab.stores import Root

NEEDED = ("data", "split", "precision", "memory_format")  # of the options of any run that is made again


def check_said(folder: Path, options: Mapping[str, Any], needed: Iterable[str], purpose: str) -> None:
    """Refuse a run whose run.json lacks options that are needed; `purpose` follows "so it cannot be"."""
    if missing := [name for name in needed if name not in options]:
        raise UserError(f"{folder} does not say with which {', '.join(missing)} it was made, so it cannot be {purpose}")


def recorded_images(manifest: Mapping[str, Any], root: Root | str | None = None) -> tuple[ImageSet, str]:
    """The data of a run, read as it read them, and what older rules that takes, in words; root: where they lie now."""
    options = manifest["options"]
    root = manifest.get("root") if root is None else root
    images = load_dataset(options["data"], root, options["split"], options.get("label"))
    return as_recorded(images, manifest["data"])


def check_code(folder: Path, models: Iterable[str], *, trusted: bool) -> None:
    """Refuse models of a run that are code, unless it is trusted; warn of it then."""
    for name in models:
        if not trusted or is_code(name):  # of a checkpoint folder, load_model warns itself
            check_trusted(runs_code(name), folder / "run.json", trusted)


def recorded_threat(known: Mapping[str, Any]) -> Attack | Corruption:
    """An attack of the loop or a corruption, as run.json describes it."""
    return Corruption(**known) if is_corruption(known) else Attack(**known)
