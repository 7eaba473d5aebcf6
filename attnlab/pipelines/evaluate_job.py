"""From the names a user gives to an evaluation that is ready to run."""

from collections.abc import Sequence
from pathlib import Path

from attnlab.attacks.parse import SIGMA
from attnlab.data import load_data
from attnlab.data.subset import choose
from attnlab.errors import UserError
from attnlab.manifests import recorded
from attnlab.models import load_model
from attnlab.models.checkpoint import trained_as
from attnlab.models.preprocessing import Statistic
from attnlab.pipelines import defaults
from attnlab.pipelines.budgets import parse_attacks
from attnlab.pipelines.craft import Craft, only_attack
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.evaluation import Evaluation
from attnlab.pipelines.expect import load_source
from attnlab.pipelines.job import Job
from attnlab.pipelines.parts import Progress
from attnlab.runs import Run

#: the columns of Table 6
TABLE6 = "clean,fgsm,pgd10,pgd20,pgd40,pgd100,cw10,cw20,cw40,cw100"


def prepare_evaluation(
    *,
    data: str = "scenes",
    root: Path | None = None,
    split: str | None = None,
    models: Sequence[str] = (),
    weights: str = "default",
    mean: Statistic | None = None,
    std: Statistic | None = None,
    attacks: str = TABLE6,
    eps: str | None = None,
    steps: int | None = None,
    step_size: str | None = None,
    restarts: int = 1,
    sigma: float = SIGMA,
    transfer: str | None = None,
    stop: bool = False,
    check: bool = True,
    save: bool = False,
    layer: str | None = None,
    geometry: str = "squash",
    seed: int = 0,
    limit: int | None = None,
    stratify: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    layout: str = "folded",
    batch_size: int | None = None,
    workers: int | None = None,
    trust_code: bool = False,
    out: Path | None = None,
) -> Job:
    """Open data and models and settle every default; the arguments are the options of `attnlab evaluate`.

    With `save` the adversarial images of the one attack are written to the run folder: `attnlab attack`.

    Raises:
        UserError: If a name is unknown, a value out of range, or something cannot be had.
    """
    split = split or defaults.SPLITS.get(data, "test")
    parsed = parse_attacks(attacks, data, eps=eps, steps=steps, step_size=step_size, restarts=restarts, sigma=sigma)
    evaluation = Evaluation(only_attack(parsed) if save else parsed, geometry, seed, stop)
    images = load_data(data, root, split)
    positions = choose(images, limit, stratify=stratify, seed=seed)
    names = list(models) or [defaults.model_for(data)]
    if len(names) > 1 and weights not in ("default", "none"):
        raise UserError("expected one --model with a file of --weights, got several")
    place = defaults.choose_device(device)
    labels = _short_names(names)
    placed = {
        label: load_model(name, weights, None if transfer else layer, mean=mean, std=std, trust_code=trust_code).place(
            place, precision, layout
        )
        for label, name in zip(labels, names, strict=True)
    }
    source = None
    if transfer:
        source = load_source("--transfer", transfer, layer, trust_code=trust_code).place(place, precision, layout)
    first = next(iter(placed.values()))
    description = {
        "data": data,
        "split": split,
        "models": {
            label: {"name": name, **trained_as(name, weights)} for label, name in zip(labels, names, strict=True)
        },
        "weights": weights,
        "transfer": transfer,
        "saved": save,
        "precision": precision,
        "layout": layout,
    }
    folder = out or Path("runs") / f"{data}-{split}-{'attack' if save else 'evaluate'}-{labels[0].replace(':', '-')}"

    def run(progress: Progress) -> Run:
        return evaluate(
            placed,
            images,
            folder,
            evaluation,
            source=source,
            strike=Craft(folder) if save else None,
            check=check and not save,
            description=description,
            batch_size=batch_size or recorded(folder, "batch_size") or defaults.batch_size(place, first.input_size),
            workers=defaults.workers(images) if workers is None else workers,
            positions=positions,
            progress=progress,
        )

    return Job(folder, positions * len(placed), "", run)


def _short_names(names: Sequence[str]) -> list[str]:
    """A name for each model: the last part of its path where that tells them apart."""
    short = [Path(name).name for name in names]
    if len(set(names)) < len(names):
        raise UserError(f"expected each --model once, got {', '.join(names)}")
    return short if len(set(short)) == len(short) else list(names)
