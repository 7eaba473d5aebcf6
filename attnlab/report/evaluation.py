"""What an evaluation comes to: Tables 6 and 7 of its records, captions and a summary."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from attnlab.errors import UserError
from attnlab.records import read_evaluation
from attnlab.report.accuracy import A3, paired, table6, table7
from attnlab.report.base import Report
from attnlab.report.checks import check_lines
from attnlab.report.description import evaluation_setting, falls_short, steps_and_sigmas, with_names
from attnlab.report.tables import Paper, numbers_of_the_paper
from attnlab.runs import Run
from attnlab.words import counted

TITLES = {
    "table6": "Classification accuracy (%) under attack, at the last point of each attack",
    "table6_worst": "Classification accuracy (%) under attack, an image being lost as soon as any point on the way "
    "is misclassified",
    "table7": "Classification accuracy (%) of the images that the model classifies correctly, under plain and "
    "attention-augmented attacks",
    "paired": "Two models on the same images, exact McNemar tests",
}
#: data set -> the paper's network, split, number of images and eps (sections 5.1 and 5.3)
PAPER6 = {
    "mnist": ("lenet", "test", 10_000, 0.3),
    "cifar10": ("resnet9", "test", 10_000, 8 / 255),
    "imagenet": ("resnet50", "val", 50_000, 16 / 255),
}


def evaluation_report(run: Run) -> Report:
    """Make an evaluation's tables from its records.

    Raises:
        UserError: If there are none, or of a model that run.json does not name.
    """
    manifest = with_names(run.manifest)
    options = manifest["options"]
    records = read_evaluation(run.folder)
    unknown = set(records["model"]) - set(options["models"])
    if unknown:
        raise UserError(f"{run.folder / 'run.json'} is damaged (it does not name the model {min(unknown)!r})")
    frames = {"table6": table6(records, options["data"], options["models"], published6(manifest))}
    if not options.get("saved"):  # whose files are the last points
        frames["table6_worst"] = table6(records, options["data"], options["models"], worst=True)
    if any(A3 in name for name in options["attacks"]):
        frames["table7"] = table7(records, published7(manifest))
    if len(options["models"]) > 1:
        frames["paired"] = paired(records)
    titles = {name: TITLES[name] for name in frames}
    captions = {name: f"{title}. {_setting(manifest, name)}" for name, title in titles.items()}
    return Report(_summary(run, records), captions, frames, titles)


def published6(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: its network, split, eps, all images, one start."""
    options = manifest["options"]
    budgets = {attack["eps"] for attack in options["attacks"].values() if attack}
    network, split, count, eps = PAPER6.get(options["data"], ("", "", 0, 0.0))
    same = _as_published(options, network, split, count) and budgets <= {eps}
    return numbers_of_the_paper() if same else None


def published7(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: InceptionV3 on all of ImageNet, eps 4/255, 3 steps, sigma 10."""
    options = manifest["options"]
    attacks = [attack for attack in options["attacks"].values() if attack]
    undefended = all(model["defense"] == "none" for model in options["models"].values())
    same = options["data"] == "imagenet" and _as_published(options, "inception_v3", "val", 50_000) and undefended
    settings = {(attack["eps"], attack.get("steps")) for attack in attacks}
    sigmas = {attack.get("sigma") for attack in attacks} - {None}
    return numbers_of_the_paper() if same and settings == {(4 / 255, 3)} and sigmas == {10} else None


def _as_published(options: Mapping[str, Any], network: str, split: str, images: int) -> bool:
    networks = {model["network"] for model in options["models"].values()}
    one_start = all(attack.get("restarts", 1) == 1 for attack in options["attacks"].values() if attack)
    whole = networks == {network} and (options["split"], options["images"]) == (split, images)
    return whole and one_start and not options["transfer"] and not options["stop"] and options["weights"] == "default"


def _setting(manifest: Mapping[str, Any], table: str) -> str:
    """What the numbers depend on, as a caption says it."""
    setting = evaluation_setting(manifest, steps_and_sigmas(manifest["options"]) if table == "table7" else "")
    return f"{setting}; intervals: 95 %, Wilson" if table != "paired" else setting


def _summary(run: Run, records: pd.DataFrame) -> list[str]:
    manifest = with_names(run.manifest)
    models = manifest["options"]["models"]
    wanted = manifest["options"]["images"] * len(models)
    rows = run.table(["image_id", "skipped"]).to_pylist()
    skipped = len({row["image_id"] for row in rows if row["skipped"] is not None})
    done = len(records.drop_duplicates(["model", "image_id"]))
    lines = [f"{done} of {counted(wanted, 'record')} of images and models"]
    if skipped:
        lines.append(f"{counted(skipped, 'image')} could not be used; skipped.csv tells why")
    for name, attacks in manifest.get("left_out", {}).items():
        lines.append(f"{name}: left out {', '.join(attacks)}, which climb a gradient that its outputs do not have")
    short = [
        name for name, attack in manifest["options"]["attacks"].items() if attack and falls_short(attack, attack["eps"])
    ]
    if short:
        lines.append(f"{', '.join(short)}: too few or too short steps to reach eps; weaker than their eps says")
    lines += check_lines(run.folder, "no sign of masked gradients was found, which proves nothing")
    if manifest["finished"] is None:
        lines.append("unfinished: the same command goes on with this run")
    return lines
