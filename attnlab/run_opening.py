"""Open a run folder for writing: make it, or go on with what another process, or several, began."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from attnlab import manifests
from attnlab.errors import UserError
from attnlab.files import alone_in, is_vacant, make_folder
from attnlab.runs import Run
from attnlab.shards import WHOLE, Shard


@contextmanager
def opened(
    folder: Path,
    manifest: Mapping[str, Any],
    schema: pa.Schema,
    defaults: Mapping[str, Any] | None = None,
    shard: Shard = WHOLE,
    free: Collection[str] = (),
) -> Iterator[Run]:
    """Open a run folder for this process alone, or for its shard, see `open_run`; a UserError if another one has it."""
    if "\0" in str(folder):
        raise UserError(f"expected --out to be a path, got {str(folder)!r}")
    _check_free(folder)
    make_folder(folder)
    with alone_in(folder, shard):
        yield open_run(folder, manifest, schema, defaults, alone=shard.whole, free=free)


def open_run(
    folder: Path,
    manifest: Mapping[str, Any],
    schema: pa.Schema,
    defaults: Mapping[str, Any] | None = None,
    *,
    alone: bool = True,
    free: Collection[str] = (),
) -> Run:
    """Make a run folder, or resume one that was made with the same options, see `check_same`.

    A manifest's "kind", "options", "data", "model" and batch sizes decide the results and must not differ; of the
    batch sizes in `free`, which this process chose itself, those that stand in run.json are right. Unless `alone`,
    other processes may be at work in the folder.
    """
    run = Run(folder, schema)
    _check_free(folder)
    if (folder / manifests.FILE).exists() or not run.create(manifest):
        stood = run.manifest
        before = dict(stood)
        if alone and not any((folder / "records").glob("part-*")):  # nothing was computed yet
            before |= {key: manifest[key] for key in manifests.BATCHES if key in manifest}
        asked = {**manifest, **{key: before[key] for key in free if key in before}}
        manifests.check_same(folder, before, asked, defaults)
        if before != stood:
            run.write_manifest(before)
    (folder / "records").mkdir(exist_ok=True)
    return run


def _check_free(folder: Path) -> None:
    """Refuse a folder that is neither a run nor free to become one."""
    vacant = is_vacant(folder)
    # looked for last: another process may just have made it
    if not vacant and not (folder / manifests.FILE).exists():
        raise UserError(f"{folder} exists and is no run; choose another --out")
