"""From the names a user gives to a training that is ready to run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from attnlab.attacks.parse import parse_eps
from attnlab.data import load_data
from attnlab.errors import UserError
from attnlab.models import load_model
from attnlab.models.checkpoint import trained_as
from attnlab.pipelines import defaults
from attnlab.pipelines.expect import expect_fit
from attnlab.pipelines.manifest import describe_data, surroundings
from attnlab.runs import expect_same, now, write_whole
from attnlab.training.distributed import world
from attnlab.training.images import hold_out, open_images
from attnlab.training.parse import WEIGHT, parse_defense
from attnlab.training.plan import DEFAULT_PLAN, Plan, plan_for
from attnlab.training.sources import expect_sources
from attnlab.training.trainer import Training

MANIFEST = "training.json"
#: seed of the images that are held out: the same for every run, so that figures on them can be compared
HELD_OUT_SEED = 0


@contextmanager
def prepare_training(
    *,
    defense: str = "aad",
    data: str = "scenes",
    root: Path | None = None,
    model: str | None = None,
    weights: str | None = None,
    layer: str | None = None,
    plan: str = DEFAULT_PLAN,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    eps: str | None = None,
    step_size: str | None = None,
    steps: int | None = None,
    ramp: float | None = None,
    held_out: int | None = None,
    alpha: float = WEIGHT,
    beta: float = WEIGHT,
    fill: str = "black",
    classification: str = "cross-entropy",
    sources: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    layout: str = "channels-last",
    compiled: bool = False,
    snapshots: bool = False,
    workers: int | None = None,
    out: Path | None = None,
) -> Iterator[Training]:
    """Open data and model and settle every default; the arguments are the options of `attnlab train`.

    Yields:
        The training; under torchrun this process is one of several until the block ends.

    Raises:
        UserError: If a name is unknown, a value out of range, something cannot be had, or the folder holds a training
            with other options.
    """
    parsed = parse_defense(defense, alpha=alpha, beta=beta, fill=fill, classification=classification)
    settled = _settle(plan_for(data, plan), locals())
    images = load_data(data, root, "train")
    train, held = hold_out(images, settled.held_out, HELD_OUT_SEED)
    train = train[:limit]
    place = defaults.choose_device(device)
    if place == torch.device("cuda"):
        place = torch.device("cuda", defaults.local_rank())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = load_model(settled.model, settled.weights, layer, seed=seed).place(place, "fp32", layout)
    expect_fit(classifier, images)
    static = tuple(load_model(source).place(place, "fp32", layout) for source in sources)
    if parsed.ensemble:
        expect_sources(classifier, static)
    folder = out or Path("runs") / f"{data}-{Path(settled.model).name.replace(':', '-')}-{defense}-{seed}"
    manifest = {
        "kind": "train",
        "options": {
            "data": data,
            "defense": defense,
            "settings": asdict(parsed),
            "plan": asdict(settled),
            "plan_name": plan,
            "sources": [model_.fingerprint() for model_ in static],
            "seed": seed,
            "precision": precision,
            "layout": layout,
        },
        "data": describe_data(images, train) | {"held_out": len(held)},
        "model": classifier.describe(),
        **surroundings(place),
    }
    with world(place) as processes:
        if processes.first:
            _open(folder, manifest)
        count = defaults.workers(images) if workers is None else workers
        yield Training(
            classifier=classifier,
            model=trained_as(settled.model)["network"],
            name=defense,
            defense=parsed,
            plan=settled,
            images=open_images(images, train, classifier.input_size, place, count),
            held_out=open_images(images, held, classifier.input_size, place, count),
            folder=folder,
            seed=seed,
            sources=static,
            bf16=precision == "bf16",
            compiled=compiled,
            snapshots=snapshots,
            world=processes,
        )


def _settle(plan: Plan, given: Mapping[str, Any]) -> Plan:
    """The plan with what the user gave in its place."""
    names = ("model", "weights", "epochs", "batch_size", "learning_rate", "steps", "ramp", "held_out")
    values: dict[str, Any] = {name: given[name] for name in names if given[name] is not None}
    for name in ("eps", "step_size"):
        if given[name]:
            values[name] = parse_eps(given[name], f"--{name.replace('_', '-')}")
    if values.get("model", plan.model) != plan.model and "weights" not in values:
        values["weights"] = "default" if Path(values["model"]).is_dir() else "none"
    return replace(plan, **values)


def _open(folder: Path, manifest: dict[str, Any]) -> None:
    """Make the folder, or check that it holds a training with the same options."""
    path = folder / MANIFEST
    if path.exists():
        expect_same(folder, json.loads(path.read_text()), manifest)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no training; choose another --out")
    write_whole(path, (json.dumps({**manifest, "started": now()}, indent=2) + "\n").encode())
