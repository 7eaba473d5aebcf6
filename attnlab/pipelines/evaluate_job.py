"""From the names a user gives to an evaluation that is ready to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.attacks.parse import SIGMA, TABLE6, parse_attacks
from attnlab.data import DATASETS, load_data
from attnlab.data.subset import choose
from attnlab.manifests import recorded
from attnlab.models import load_model
from attnlab.models.checkpoint import trained_as
from attnlab.models.preprocessing import Statistic
from attnlab.pipelines import defaults
from attnlab.pipelines.craft import Craft, only_attack
from attnlab.pipelines.evaluate import evaluate
from attnlab.pipelines.evaluation import Evaluation
from attnlab.pipelines.expect import load_source
from attnlab.pipelines.pairs import Pair, pair_up
from attnlab.pipelines.parts import Progress
from attnlab.runs import Run
from attnlab.training.folder import tell_unfinished


@dataclass(frozen=True)
class Job:
    """An evaluation that is ready to run.

    Attributes:
        out: Run folder.
        positions: Indices of the images it uses.
        run: Runs it, telling the progress.
    """

    out: Path
    positions: list[int]
    run: Callable[[Progress], Run]


def prepare_evaluation(
    *,
    data: str = "scenes",
    root: Path | None = None,
    split: str | None = None,
    models: Sequence[str] = (),
    weights: str | Sequence[str] = "default",
    weights_key: str | None = None,
    names: Sequence[str] = (),
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

    `weights` may be one for each of `models`, in their order, and `names` what tables call them; see `pair_up`. With
    `save` the adversarial images of the one attack are written to the run folder: `attnlab attack`.

    Raises:
        UserError: If a name is unknown, a value out of range, or something cannot be had.
    """
    split = split or DATASETS.expect(data).accuracy_split
    parsed = parse_attacks(attacks, data, eps=eps, steps=steps, step_size=step_size, restarts=restarts, sigma=sigma)
    evaluation = Evaluation(only_attack(parsed) if save else parsed, geometry, seed, stop)
    images = load_data(data, root, split)
    positions = choose(images, limit, stratify=stratify, seed=seed)
    given = [weights] if isinstance(weights, str) else list(weights)
    pairs = pair_up(list(models) or [defaults.model_for(data)], given, names)
    place = defaults.choose_device(device)
    from_files = [pair for pair in pairs if pair.weights not in ("default", "none")]
    placed = {}
    for pair in pairs:
        classifier = load_model(
            pair.model,
            pair.weights,
            None if transfer else layer,
            mean=mean,
            std=std,
            weights_key=weights_key if pair in from_files or not from_files else None,
            trust_code=trust_code,
        )
        tell_unfinished(pair.model if pair.weights == "default" else pair.weights)
        placed[pair.label] = classifier.place(place, precision, layout)
    source = None
    if transfer:
        source = load_source("--transfer", transfer, layer, stated=mean is not None, trust_code=trust_code)
        source = source.place(place, precision, layout)
    first = next(iter(placed.values()))
    description = {
        "data": data,
        "split": split,
        "models": {pair.label: _described(pair, told_each=len(given) > 1) for pair in pairs},
        "weights": ", ".join(given) or "default",
        **({"weights_key": weights_key} if weights_key is not None else {}),
        "transfer": transfer,
        "saved": save,
        "precision": precision,
        "layout": layout,
    }
    folder = (
        out or Path("runs") / f"{data}-{split}-{'attack' if save else 'evaluate'}-{pairs[0].label.replace(':', '-')}"
    )

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

    return Job(folder, positions * len(placed), run)


def _described(pair: Pair, *, told_each: bool) -> dict[str, str]:
    """What the manifest says of a model; of its weights, where not all models have the same."""
    weights = {"weights": pair.weights} if told_each else {}
    return {"name": pair.model, **weights, **trained_as(pair.model, pair.weights)}
