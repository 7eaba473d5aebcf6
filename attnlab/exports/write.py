"""Export a run: check what was asked for, take a folder, and let a format write."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab import __version__
from attnlab.config import ExportConfig
from attnlab.errors import UserError, check_installed
from attnlab.exports import EXPORTS
from attnlab.files import is_vacant, write_whole
from attnlab.manifests import map_methods
from attnlab.records import Row, number_of, rows_of
from attnlab.report.description import predicted_labels, with_names
from attnlab.runs import Run
from attnlab.words import counted

#: file in an export's folder that says of which run it is, so that nothing else is overwritten
MARK = ".attnlab-export"
ALWAYS = frozenset(["out", "images", "method"])  # options that every format takes

Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""From a number of images to a context, whose function is called with the number newly done."""


@dataclass(frozen=True)
class Export:
    """A run that is to be exported.

    Attributes:
        run: Which.
        manifest: Its manifest, with names.
        out: Folder to write to.
        config: What was asked for.
        image_ids: Images that have a record, in the run's order; of those that were named, these.
        identity: What tells this run, and the version that exports it, from others.
        progress: Shows how many pictures are made.
    """

    run: Run
    manifest: dict[str, Any]
    out: Path
    config: ExportConfig
    image_ids: list[str] = field(repr=False)
    identity: str
    progress: Progress = lambda total: nullcontext(lambda count: None)

    def rows(self) -> Iterator[Row]:
        """Records of its images, see `rows_of`; of the method named, else as the first that maps sees them."""
        return rows_of(self.run, self.config.images or None, method=self.config.method)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of its folder, whole or not at all."""
        write_whole(self.out / name, content)
        return self.out / name


def export(name: str, folder: Path, config: ExportConfig | None = None, progress: Progress | None = None) -> list[str]:
    """Export a run.

    Args:
        name: A format in EXPORTS.
        folder: A run of `analyze` or `evaluate`, finished or not.
        config: Options.
        progress: Shows how many pictures are made.

    Returns:
        Lines for people: what was written, and how to open it.

    Raises:
        UserError: If there is no such format, or it does not take that run or one of the options; if a package it needs
            is missing; if the folder holds no readable run, or `out` something else; if pictures need data or a model
            that cannot be had.
    """
    config = config or ExportConfig()
    spec = EXPORTS.expect(name)
    _check_options(name, config)
    run = Run(folder)
    manifest = with_names(run.manifest)
    kind = manifest["kind"]
    if kind not in spec.kinds:
        others = ", ".join(other for other, known in EXPORTS.items() if kind in known.kinds)
        raise UserError(
            f"expected a run of {' or '.join(spec.kinds)} for {name}, got {folder}, one of {kind}, which is exported "
            f"as {others}"
        )
    if spec.package:
        check_installed(spec.package, spec.package)
    if config.method:
        number_of(folder, manifest, config.method)
    found = dict.fromkeys(row["image_id"] for row in rows_of(run, config.images or None, ["image_id"]))
    unknown = [image_id for image_id in config.images if image_id not in found]
    if unknown:
        raise UserError(f"{folder} has no record of image {unknown[0]!r}")
    if not found:
        raise UserError(f"{folder} has no record of an image that could be used; skipped.csv says why")
    identity = _identity(manifest, config.method)
    out = config.out or folder / f"export-{name}"
    _take(out, name, identity, folder)
    made = Export(run, manifest, out, config, list(found), identity, progress or Export.progress)
    lines = spec.write(made)
    if unlabelled := predicted_labels(manifest):
        lines.append(unlabelled)
    several = map_methods(manifest)
    if several[1:] and not config.method and not spec.all_methods:
        lines.append(f"maps and IoUs are of {several[0]}, the first of {', '.join(several)}; --method names another")
    if manifest["finished"] is None:
        models = len(manifest["options"].get("models", [""])) if kind == "evaluate" else 1
        whole = counted(manifest["options"]["images"] * models, "record" if models > 1 else "image")
        done = sum(1 for _ in rows_of(run, columns=["image_id"]))
        lines.append(f"unfinished: {done} of {whole} so far; repeat the run's command to resume it")
    return lines


def _check_options(name: str, config: ExportConfig) -> None:
    """Refuse an option that the format does not take."""
    given = config.flat()
    for leaf in config.leaves():
        if leaf.name not in EXPORTS[name].options | ALWAYS and given[leaf.name] != leaf.field.default:
            taking = ", ".join(other for other, spec in EXPORTS.items() if leaf.name in spec.options)
            raise UserError(f"expected {leaf.flag} with {taking} alone, got it with {name}")


def _identity(manifest: dict[str, Any], method: str | None) -> str:
    """A hash of what decides a run's records, and of this version, which may draw otherwise than another."""
    own = [__version__, *(manifest.get(key) for key in ("kind", "started", "options", "data", "model"))]
    own += [method] if method else []
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


def _take(out: Path, name: str, identity: str, folder: Path) -> None:
    """Make the folder, or take one that holds the same export."""
    mark = f"{name} {identity}\n".encode()
    try:
        same = (out / MARK).read_bytes() == mark
    except OSError:
        same = False
    if not same:
        if not is_vacant(out):
            raise UserError(
                f"{out} exists and is no export of {folder} as {name} by this version; choose another --out"
            )
        write_whole(out / MARK, mark)
