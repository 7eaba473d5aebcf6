"""The paper's numbers, and the runs that they may stand beside: those of its own setting."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from attnlab.recorded_attacks import is_targeted, norm_of, where_of
from attnlab.report.tables import Paper

#: the methods of the paper, and the class each explains
MAPS_OF_THE_PAPER = "grad-cam"
TARGETS_OF_THE_PAPER = {MAPS_OF_THE_PAPER: "true", "lime": "predicted"}
#: data set -> the paper's network, split, number of images and eps (sections 5.1 and 5.3)
PAPER6 = {
    "mnist": ("lenet", "test", 10_000, 0.3),
    "cifar10": ("resnet9", "test", 10_000, 8 / 255),
    "imagenet": ("resnet50", "val", 50_000, 16 / 255),
}


def published(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: InceptionV3 on all of ImageNet's validation split, StepLL.

    Maps are of Mixed_7c and of the classes that the paper explains; methods that it does not have may stand beside its
    own. Any eps and resizing will do: it names neither.
    """
    options = manifest["options"]
    attack = {"objective": "least-likely", "steps": 1, "label_smoothing": 0.0, "sigma": None}
    setting = {"data": "imagenet", "split": "val", "model": "inception_v3", "weights": "default", "images": 50_000}
    same = all(options.get(key) == value for key, value in setting.items())
    same &= all(options["attack"].get(key, "") == value for key, value in attack.items()) and _usual(options["attack"])
    same &= manifest["model"]["layer"] == "Mixed_7c"
    same &= all(options["target"].get(method, target) == target for method, target in TARGETS_OF_THE_PAPER.items())
    return numbers_of_the_paper() if same else None


def numbers_of_the_paper() -> Paper:
    """All published numbers."""
    numbers: Paper = json.loads(files("attnlab.report").joinpath("paper.json").read_text(encoding="utf-8"))
    return numbers


def published6(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: its network, split, eps, all images, one start."""
    options = manifest["options"]
    budgets = {attack["eps"] for attack in options["attacks"].values() if attack and "eps" in attack}
    network, split, count, eps = PAPER6.get(options["data"], ("", "", 0, 0.0))
    same = _as_published(options, network, split, count) and budgets <= {eps}
    return numbers_of_the_paper() if same else None


def published7(manifest: Mapping[str, Any]) -> Paper | None:
    """The paper's numbers, if the run is the paper's: InceptionV3 on all of ImageNet, eps 4/255, 3 steps, sigma 10."""
    options = manifest["options"]
    attacks = [attack for attack in options["attacks"].values() if attack]
    undefended = all(model["defense"] == "none" for model in options["models"].values())
    same = options["data"] == "imagenet" and _as_published(options, "inception_v3", "val", 50_000) and undefended
    settings = {(attack.get("eps"), attack.get("steps")) for attack in attacks}
    sigmas = {attack.get("sigma") for attack in attacks} - {None}
    return numbers_of_the_paper() if same and settings == {(4 / 255, 3)} and sigmas == {10} else None


def _usual(attack: Mapping[str, Any]) -> bool:
    """Whether an attack is as the paper's are: in L-infinity, everywhere, untargeted."""
    return norm_of(attack) == "linf" and not where_of(attack) and not is_targeted(attack)


def _as_published(options: Mapping[str, Any], network: str, split: str, images: int) -> bool:
    networks = {model["network"] for model in options["models"].values()}
    attacks = [attack for attack in options["attacks"].values() if attack]
    one_start = all(attack.get("restarts", 1) == 1 and _usual(attack) for attack in attacks)
    whole = networks == {network} and (options["split"], options["images"]) == (split, images)
    return whole and one_start and not options["transfer"] and not options["stop"] and options["weights"] == "default"
