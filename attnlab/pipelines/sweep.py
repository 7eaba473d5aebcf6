"""Trainings over a grid of alpha and beta, and what came of them (Fig. 8 of the paper)."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from attnlab.config import SweepConfig
from attnlab.errors import UserError
from attnlab.files import write_whole
from attnlab.manifests import check_same
from attnlab.pipelines.opening import run_folder
from attnlab.pipelines.train import Watch, prepare_training, quietly, training_defaults
from attnlab.shards import launched
from attnlab.training import AAD
from attnlab.training.folder import MANIFEST, is_begun, prolonged, read_manifest
from attnlab.training.log import LOG, read_epochs
from attnlab.training.parse import spelled_out

TABLE = "sweep.csv"
#: what is swept, and its name in a training's manifest
WEIGHTS = {name: f"defense's {name}" for name in ("alpha", "beta")}
TRAININGS = f"alpha-*-beta-*/{MANIFEST}"  # their manifests, below the folder of a sweep


def sweep(config: SweepConfig, watch: Watch = quietly) -> pd.DataFrame:
    """Train with every alpha and every beta, each in OUT/alpha-A-beta-B/; what is there already is resumed.

    After each training, OUT/sweep.csv is written again as `sweep_table` has it.
    """
    for name, values in (("--alphas", config.alphas), ("--betas", config.betas)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"expected {name} of one or more values, each once, got {_written(values) or 'none'}")
        if not all(0 <= value < float("inf") for value in values):
            raise UserError(f"expected {name} of at least 0, got {_written(values)}")
    defense, out = config.defense.name, sweep_folder(config)
    if AAD not in spelled_out(defense):
        raise UserError(f"expected a --defense with +aad, whose alpha and beta can be swept, got {defense}")
    if launched() > 1:
        raise UserError(
            "expected a sweep in a process of its own, got torchrun; several sweeps at once, each with other --alphas "
            "and the same --out, share the work"
        )
    for alpha, beta in product(config.alphas, config.betas):
        folder = out / f"alpha-{alpha:g}-beta-{beta:g}"
        with prepare_training(config.training(alpha, beta, folder)) as training:
            _check_one_grid(out, folder)
            with watch(training) as shown:
                training.run(*shown)
        write_whole(out / TABLE, sweep_table(out).to_csv(index=False, lineterminator="\n").encode())
    return sweep_table(out)


def sweep_folder(config: SweepConfig) -> Path:
    """Folder of a sweep."""
    return config.run.out or run_folder(config.data.name, "sweep", config.defense.name, str(config.run.seed))


def sweep_table(out: Path | str) -> pd.DataFrame:
    """Results of the finished trainings of a sweep, rising by alpha, then beta.

    Columns: alpha, beta, epoch (of the checkpoint that was kept), n (held-out images), clean, robust (accuracy on
    these in percent, without an attack and under PGD with the training's budget).
    """
    rows = []
    for path in Path(out).glob(TRAININGS):
        options, epochs = read_manifest(path.parent)["options"], read_epochs(path.with_name(LOG))
        if len(epochs) == options["epochs"]:
            kept = [line for line in epochs if line["best"]][-1]
            weights = {name: options[key] for name, key in WEIGHTS.items()}
            rows.append({**weights, **kept})
    table = pd.DataFrame(rows, columns=["alpha", "beta", "epoch", "n", "clean", "robust"])
    return table.sort_values(["alpha", "beta"], ignore_index=True)


def _check_one_grid(out: Path, folder: Path) -> None:
    """Check that the trainings of a sweep that are begun differ from another one in alpha and beta alone."""
    manifest = read_manifest(folder)
    for path in out.glob(TRAININGS):
        if is_begun(path.parent):
            other = read_manifest(path.parent)
            other["options"] |= {key: manifest["options"][key] for key in WEIGHTS.values()}
            check_same(out, prolonged(path.parent, other, manifest), manifest, training_defaults())


def _written(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
