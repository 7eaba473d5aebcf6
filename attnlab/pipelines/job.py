"""From the names a user gives to an analysis that is ready to run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from attnlab.attacks.parse import SIGMA, parse_budgets
from attnlab.attention.lime import LimeSettings, parse_samples
from attnlab.data import load_data
from attnlab.data.geometry import read_batch
from attnlab.data.subset import choose
from attnlab.errors import UserError
from attnlab.manifests import recorded
from attnlab.models import load_model
from attnlab.models.preprocessing import Statistic
from attnlab.pipelines import defaults
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.budgets import parse_one
from attnlab.pipelines.parts import Progress
from attnlab.pipelines.settings import Settings
from attnlab.runs import Run
from attnlab.superpixels import AUTO, method_for
from attnlab.training.folder import tell_unfinished
from attnlab.words import counted

#: bytes of a LIME explanation in the records, at 299 px: compressed superpixels and weights
LIME_BYTES = 4_000
#: images that are cut for the estimate
TRIED = 2


@dataclass(frozen=True)
class Job:
    """An analysis that is ready to run.

    Attributes:
        out: Run folder.
        positions: Indices of the images it uses.
        cost: What LIME will take at most; empty without LIME, and where its speed was not tried.
        run: Runs it, telling the progress.
    """

    out: Path
    positions: list[int]
    cost: str
    run: Callable[[Progress], Run]


def prepare(
    *,
    data: str = "scenes",
    root: Path | None = None,
    split: str = "val",
    model: str | None = None,
    weights: str = "default",
    weights_key: str | None = None,
    mean: Statistic | None = None,
    std: Statistic | None = None,
    layer: str | None = None,
    method: str = "grad-cam",
    attack: str = "stepll",
    eps: str | None = None,
    steps: int | None = None,
    step_size: str | None = None,
    restarts: int = 1,
    sigma: float = SIGMA,
    label_smoothing: float = 0.0,
    target: str = "",
    geometry: str = "squash",
    seed: int = 0,
    limit: int | None = None,
    stratify: bool = False,
    lime_samples: str = "1000",
    lime_superpixels: str = AUTO,
    lime_hide: str = "grey",
    lime_segments: str = "own",
    lime_floor: bool = True,
    lime_batch_size: int | None = None,
    lime_compile: bool = False,
    features: tuple[int, ...] = (8, 10),
    device: str = "auto",
    precision: str = "fp32",
    layout: str = "folded",
    batch_size: int | None = None,
    workers: int | None = None,
    trust_code: bool = False,
    out: Path | None = None,
) -> Job:
    """Open data and model and settle every default; the arguments are the options of `attnlab analyze`.

    Raises:
        UserError: If a name is unknown, a value out of range, or something cannot be had.
    """
    samples, patience = parse_samples(lime_samples)
    chosen = parse_one(attack, data, steps=steps, step_size=step_size, restarts=restarts, sigma=sigma)
    settings = Settings(
        methods=tuple(name.strip() for name in method.split(",")),
        attack=replace(chosen, label_smoothing=label_smoothing),
        budgets=parse_budgets(eps) if eps is not None else (chosen.eps,),
        target=target,
        geometry=geometry,
        seed=seed,
        lime=LimeSettings(
            samples, "quickshift" if lime_superpixels == AUTO else lime_superpixels, lime_hide, features, patience
        ),
        lime_segments=lime_segments,
        lime_floor=lime_floor,
    )
    with_lime = "lime" in settings.methods
    if lime_compile and not with_lime:
        raise UserError(f"expected --lime-compile with --method lime, got {method}: it compiles LIME's passes alone")
    images = load_data(data, root, split)
    positions = choose(images, limit, stratify=stratify, seed=seed)
    model = model or defaults.model_for(data)
    place = defaults.choose_device(device)
    classifier = load_model(
        model, weights, layer, mean=mean, std=std, weights_key=weights_key, trust_code=trust_code
    ).place(place, precision, layout)
    tell_unfinished(model if weights == "default" else weights)
    if lime_compile:
        classifier.compile_inference()
    folder = out or Path("runs") / f"{data}-{split}-{Path(model).name.replace(':', '-')}"
    if with_lime and lime_superpixels == AUTO:
        # a run that was begun keeps its own
        before = recorded(folder, "options") or {}
        cut = before.get("lime", {}).get("superpixels") or method_for(images.channels, classifier.input_size)
        settings = replace(settings, lime=replace(settings.lime, superpixels=cut))
    readers = defaults.workers(images, with_lime) if workers is None else workers
    cost = ""
    if with_lime and lime_batch_size is None:
        # a run that is gone on with keeps its batch size, so that its last digits do not depend on the interruption
        lime_batch_size = recorded(folder, "lime_batch_size")
    if with_lime and lime_batch_size is None:
        lime_batch_size, speed = defaults.lime_batch_size(classifier)
        tried = read_batch(images, classifier.input_size, positions[:TRIED], geometry)
        cutting = defaults.cutting_seconds(tried, settings.lime.superpixels)
        cost = lime_cost(settings, len(positions), speed, cutting, readers)
        if lime_superpixels == AUTO and settings.lime.superpixels == "slic":
            cost += "; superpixels by slic, as quickshift finds too few in images this small"
    compiled = {"lime_compile": True} if lime_compile else {}
    keyed = {} if weights_key is None else {"weights_key": weights_key}
    names = {"data": data, "split": split, "model": model, "weights": weights, **keyed, "attack_name": attack}

    def run(progress: Progress) -> Run:
        return analyze(
            classifier,
            images,
            folder,
            settings,
            description={**names, "precision": precision, "layout": layout, **compiled},
            notes={"root": str(root.resolve()) if root else None},
            batch_size=batch_size
            or recorded(folder, "batch_size")
            or defaults.batch_size(place, classifier.input_size),
            lime_batch_size=lime_batch_size,
            workers=readers,
            positions=positions,
            progress=progress,
        )

    return Job(folder, positions, cost, run)


def lime_cost(settings: Settings, images: int, speed: float, cutting: float, workers: int) -> str:
    """What LIME takes at most, if every image is classified correctly, as one line.

    Args:
        settings: What is computed.
        images: How many there are.
        speed: Forward passes a second.
        cutting: Seconds that one image takes to be cut into superpixels.
        workers: Processes that cut beside the passes; 0 cuts in turn with them.
    """
    explanations = images * (1 + len(settings.budgets) + settings.lime_floor)
    forwards = explanations * settings.lime.samples
    cuts = images if settings.lime_segments == "shared" else explanations
    passing, cut = forwards / speed, cuts * cutting / max(1, workers)
    where = f" on {counted(workers, 'process')}" if workers else ""
    total = timedelta(seconds=round(max(passing, cut) if workers else passing + cut))
    return (
        f"LIME: at most {total}: {forwards:,} passes ({counted(images, 'image')} x {explanations // max(1, images)} "
        f"explanations x {settings.lime.samples} samples) at {speed:.0f} a second, {cuts:,} cuts into superpixels of "
        f"{cutting:.2f} s{where}; "
        f"records of about {explanations * LIME_BYTES / 1e6:.0f} MB"
    )
