"""A run's records beside the same ones computed again: is it what its run.json says?"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from attnlab.config.verify import VerifyConfig
from attnlab.data.base import digest
from attnlab.errors import UserError
from attnlab.files import file_of
from attnlab.manifests import differing, map_methods, other_surroundings
from attnlab.models.checkpoint import DESCRIPTION, checked_weights, read_description
from attnlab.pipelines.accuracy_records import ARRAYS, IMAGES
from attnlab.pipelines.analyze import Analysis
from attnlab.pipelines.evaluate import Evaluation
from attnlab.pipelines.pending_parts import PendingParts, Progress, quietly
from attnlab.pipelines.record_differences import Compared, Names, compare_records, names_in
from attnlab.pipelines.reopen import positions_of, reopen
from attnlab.run_opening import open_run
from attnlab.runs import Run
from attnlab.words import counted

Drawn = dict[int, list[str]]  # number of a part -> images of it that are computed again
State = Literal["ok", "note", "failed"]


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Verification:
    """What became of a verification.

    Attributes:
        checks: Of hashes and surroundings, in order.
        values: Of the records that were computed again; empty where that made no sense.
    """

    checks: tuple[Check, ...]
    values: tuple[Compared, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return all(check.state != "failed" for check in self.checks) and all(value.holds for value in self.values)


def verify(folder: Path, config: VerifyConfig | None = None, progress: Progress = quietly) -> Verification:
    """Check the hashes of a run and compute some of its records again; of checkpoints check the weights' hashes.

    Args:
        folder: A finished run of `analyze`, `evaluate` or `attack`, or a folder of `train` or `sweep`.
        config: How many records, drawn by which seed, and where data and device are.
        progress: Called with numbers of images as they are computed.

    Raises:
        UserError: If it is no such folder, the run is not finished or its records are damaged, or its data or model
            cannot be had.
    """
    config = config or VerifyConfig()
    described = sorted(folder.rglob(DESCRIPTION))
    if not (folder / "run.json").exists() and described:
        return Verification(tuple(_of_checkpoint(path.parent, folder) for path in described))
    run = Run(folder)
    manifest = run.manifest
    if manifest["finished"] is None:
        raise UserError(f"expected a finished run, got {folder}, which is not: repeat its command to finish it first")
    numbers = sorted(int(path.stem.rpartition("-")[2]) for path in (folder / "records").glob("part-*.parquet"))
    parts = {number: run.image_ids(number) for number in numbers}
    with tempfile.TemporaryDirectory(prefix="attnlab-") as place:
        job = reopen(folder, manifest, Path(place) / "run", config.replay, config.workers)
        asked = job.manifest()
        checks = [_of_records(manifest, parts, job), *_of_sections(manifest, asked, job)]
        if any(check.state == "failed" and check.name in ("options", "model") for check in checks):
            return Verification((*checks, Check("sample", "failed", "not computed again: it would be another run")))
        other = other_surroundings(manifest, asked)
        checks.append(Check("surroundings", "note" if other else "ok", "; ".join(other) or "as recorded"))
        drawn = _drawn(job, parts, config)
        again = _again(job, run, drawn, parts, progress)
        names = names_in(manifest, map_methods(manifest))
        same = not other and manifest.get("batch_size") == asked["batch_size"]
        values = list(_values(run, again, drawn, names, manifest, same=same))
        count = sum(map(len, drawn.values()))
        text = f"{count} of {counted(sum(map(len, parts.values())), 'record')}, drawn by seed {config.seed}"
        if not any("pixels_sha256" in value.name for value in values):
            checks.append(Check("pixels", "note", "an older run, whose records hold no hashes of pixels"))
        if manifest["options"].get("saved"):
            checks.append(_of_files(folder, again.folder, [name for part in drawn.values() for name in part]))
    return Verification((*checks, Check("sample", "ok", text)), tuple(values))


def _of_checkpoint(folder: Path, top: Path) -> Check:
    name = str(folder.relative_to(top)) if folder != top else folder.name
    try:
        known = read_description(folder)["weights"]
        checked_weights(folder)
    except UserError as error:
        return Check(name, "failed", str(error))
    return Check(
        name, "ok" if known else "note", f"weights SHA-256 {known[-1]}" if known else "older: it names no hash"
    )


def _of_records(manifest: Mapping[str, Any], parts: Mapping[int, Sequence[str]], job: Analysis | Evaluation) -> Check:
    """Whether the parts are whole and of the images that run.json says; their checksums fit, as they were read."""
    names = [name for number in list(parts)[: len(parts) // job.models_count] for name in parts[number]]
    wanted, found = manifest["options"]["images"] * job.models_count, sum(map(len, parts.values()))
    if wanted != found:
        return Check("records", "failed", f"expected {wanted} in {counted(len(parts), 'part')}, got {found}")
    used = manifest["data"].get("used")
    if used is not None and digest(map(str, positions_of(job.images, names))) != used:
        return Check("records", "failed", "they are of other images than run.json says")
    return Check("records", "ok", f"checksums of {counted(len(parts), 'part')} fit, {counted(found, 'record')}")


def _of_sections(manifest: Mapping[str, Any], asked: Mapping[str, Any], job: Analysis | Evaluation) -> Iterator[Check]:
    """Options, data and model as run.json has them beside what they are now, and attnlab itself."""
    now = {**asked, "options": {**asked["options"], "images": manifest["options"]["images"]}}
    now["data"] = {**asked["data"], "used": manifest["data"].get("used")}
    for name, texts in differing(manifest, now, job.defaults()).items():
        if name == "batches":
            continue
        known = manifest[name].get("sha256") if name == "data" else None
        yield Check(
            name, "failed" if texts else "ok", "; ".join(texts) or (f"SHA-256 {known}" if known else "as recorded")
        )
    code = [f"{key} was {manifest.get(key)}, is {asked.get(key)}" for key in ("attnlab", "git")
            if manifest.get(key) != asked.get(key)]  # fmt: skip
    yield Check("code", "note" if code else "ok", "; ".join(code) or f"attnlab {asked['attnlab']}, {asked['git']}")


def _drawn(job: Analysis | Evaluation, parts: Mapping[int, Sequence[str]], config: VerifyConfig) -> Drawn:
    """Records to compute again, of each model: of batches drawn by the seed, since a batch is computed as a whole."""
    random, size = np.random.default_rng(config.seed), job.config.run.batch_size or 1
    numbers, each = list(parts), len(parts) // job.models_count
    drawn: Drawn = {}
    for first in range(0, len(numbers), each):
        own = numbers[first : first + each]
        batches = [
            (number, parts[number][at : at + size]) for number in own for at in range(0, len(parts[number]), size)
        ]
        left = config.sample
        for index in random.permutation(len(batches)):
            number, batch = batches[index]
            taken = random.permutation(len(batch))[:left]
            if left:
                drawn.setdefault(number, []).extend(batch[place] for place in sorted(taken))
            left -= len(taken)
    return drawn


def _again(
    job: Analysis | Evaluation, run: Run, drawn: Drawn, parts: Mapping[int, Sequence[str]], progress: Progress
) -> Run:
    """Compute the records that were drawn, as a run does that is resumed with all others done."""
    where = {name: place for place, name in enumerate(job.images.image_ids)}
    every = dict.fromkeys(name for part in parts.values() for name in part)
    job = replace(job, positions=[where[name] for name in every])
    missing = {number: [where[name] for name in parts[number]] for number in drawn}
    known = {
        number: {where[row["image_id"]]: row for row in run.rows(number) if row["image_id"] not in names}
        for number, names in drawn.items()
    }
    out = open_run(job.out, job.manifest(), job.SCHEMA)
    for _, images in job.compute(PendingParts(out, missing, known, [])):
        progress(images)
    return out


def _values(
    run: Run, again: Run, drawn: Drawn, names: Names, manifest: Mapping[str, Any], *, same: bool
) -> Iterator[Compared]:
    """The values of the records, by model where there are several."""
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for number, images in drawn.items():
        now = {row["image_id"]: row for row in again.rows(number)}
        for row in run.rows(number):
            if row["image_id"] in images:
                pairs.setdefault(row.get("model") or now[row["image_id"]].get("model") or "", []).append(
                    (row, now[row["image_id"]])
                )
    for model, of_model in pairs.items():
        for value in compare_records(of_model, names, manifest["options"]["precision"], same=same):
            yield replace(value, name=f"{model}: {value.name}") if len(pairs) > 1 else value


def _of_files(folder: Path, again: Path, image_ids: Sequence[str]) -> Check:
    """Adversarial images that a run of `attack` kept beside those made again, to the byte."""
    if not (folder / ARRAYS).is_dir():
        return Check("files", "note", "a copy of a run: its adversarial images are not here")
    differ = []
    for name in image_ids:
        for kept in (file_of(at, name, ending) for at, ending in ((Path(ARRAYS), ".npy"), (Path(IMAGES), ".png"))):
            made = again / kept
            if made.exists() and not ((folder / kept).exists() and made.read_bytes() == (folder / kept).read_bytes()):
                differ.append(str(kept))
    text = f"{counted(len(differ), 'file')} not what is made again, such as {differ[0]}" if differ else "as made again"
    return Check("files", "failed" if differ else "ok", text)
