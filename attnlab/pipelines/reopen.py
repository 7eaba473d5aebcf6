"""The job of a run once more, opened from its run.json in place of a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from attnlab.attacks import Attack
from attnlab.attacks.corruptions import Corruption
from attnlab.attacks.others import OtherAttack
from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.config.analyze import AUTO
from attnlab.config.export import ReplayOptions
from attnlab.data.base import ImageSet
from attnlab.errors import UserError
from attnlab.pipelines.analyze import Analysis, open_analysis
from attnlab.pipelines.evaluate import Evaluation, open_evaluation
from attnlab.pipelines.pairs import RESERVED
from attnlab.pipelines.recorded_inputs import NEEDED, check_code, check_said, recorded_images, recorded_threat
from attnlab.stores import parse_root

Opened = TypeVar("Opened", Analysis, Evaluation)


def reopen(
    folder: Path, manifest: Mapping[str, Any], out: Path, how: ReplayOptions, workers: int | None = None
) -> Analysis | Evaluation:
    """The job of a run, of all its data, which would write to `out`; with the batch sizes of the run.

    Raises:
        UserError: If run.json does not say with which data and model the run was made, they cannot be had, or the model
            is code that is not trusted.
    """
    options = manifest["options"]
    needed = (*NEEDED, "models" if manifest["kind"] == "evaluate" else "model")
    check_said(folder, options, needed, "made again")
    images, _ = recorded_images(manifest, how.root)
    check_code(folder, _models_of(options), trusted=how.trust_code)
    root = how.root if how.root is not None else manifest.get("root")
    root = parse_root(root) if isinstance(root, str) else root
    shared = {
        **{name: options[name] for name in ("data", "split", "resize", "precision", "memory_format")},
        **{name: options[name] for name in ("label", "weights_key", "part_size") if name in options},
        "root": root,
        "out": out,
        "seed": options.get("seed", 0),
        "batch_size": manifest.get("batch_size"),
        "device": how.device,
        "workers": workers,
        "trust_code": how.trust_code,
    }
    if manifest["kind"] == "analyze":
        return _analysis(manifest, images, shared)
    return _evaluation(manifest, images, shared)


def _models_of(options: Mapping[str, Any]) -> list[str]:
    """Names of all models of a run."""
    if "model" in options:
        return [options["model"]]
    return [one["name"] for one in options["models"].values()] + [options["transfer"]] * bool(options.get("transfer"))


def _analysis(manifest: Mapping[str, Any], images: ImageSet, shared: dict[str, Any]) -> Analysis:
    options, model = manifest["options"], manifest["model"]
    attack, eps = options["attack"], options["eps"]
    targets = set(options["target"].values())
    measures = [*options.get("measures", ()), *options.get("pair_measures", ())]
    lime = options.get("lime", {})
    given = {name: options[name] for name in options if name.startswith("lime_")}
    if lime:
        given |= {
            "lime_samples": AUTO if lime["patience"] else lime["samples"],
            "lime_superpixels": lime["superpixels"],
            "lime_hide": lime["hide"],
            "lime_batch_size": manifest.get("lime_batch_size"),
            "features": tuple(manifest["features"]),
        }
    threat = recorded_threat(attack)
    if isinstance(threat, Attack):
        threat = replace(threat, eps=eps[0])
        given |= {"norm": threat.norm, "eps": tuple(eps)}
    config = AnalyzeConfig.of(
        **shared,
        **given,
        **_stated(model),
        model=options["model"],
        weights=options["weights"],
        layer=model["layer"],
        method=tuple(options["methods"]),
        target=targets.pop() if len(targets) == 1 else "",
        attack=threat,
        measures=tuple(measures),
        keep_maps=options.get("keep_maps", False),
        map_batch_size=manifest.get("map_batch_size"),
        **({"truth": options["truth"]} if "truth" in options else {}),
    )
    return _named(open_analysis(config, images=images), options)


def _evaluation(manifest: Mapping[str, Any], images: ImageSet, shared: dict[str, Any]) -> Evaluation:
    options, described = manifest["options"], list(manifest["model"].values())
    models = options["models"]
    of_source = [manifest["model"][RESERVED]] if RESERVED in manifest["model"] else described
    layers = {one.get("layer") for one in of_source}
    stated = [_stated(one) for name, one in manifest["model"].items() if name != RESERVED]
    named = [one["weights"] for one in models.values() if "weights" in one]
    attacks = {name: _threat(known) for name, known in options["attacks"].items()}
    config = EvaluateConfig.of(
        **shared,
        **(stated[0] if all(one == stated[0] for one in stated) else {}),
        models=tuple(one["name"] for one in models.values()),
        names=tuple(models),
        weights=tuple(named or [options["weights"]]),
        layer=layers.pop() if len(layers) == 1 else None,
        attacks=attacks,
        transfer=options.get("transfer"),
        stop=options.get("stop", False),
        check=False,
    )
    job = _named(open_evaluation(config, images=images), options)
    if options.get("saved"):
        return replace(job, save=True, able=dict.fromkeys(job.models, attacks))
    return job


def _stated(model: Mapping[str, Any]) -> dict[str, Any]:
    """What a user stated of a model's images, as its description has it."""
    known = {name: model.get(name) for name in ("mean", "std", "channels")}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def _threat(known: Mapping[str, Any] | None) -> Attack | OtherAttack | Corruption | None:
    """An attack as run.json describes it; its stages are those of the method."""
    if known is None:
        return None
    if "method" in known and "objective" not in known:
        return OtherAttack(**{name: value for name, value in known.items() if name != "stages"})
    return recorded_threat(known)


def _named(job: Opened, options: Mapping[str, Any]) -> Opened:
    """The job, with what run.json says of names that decide nothing, such as the attack's."""
    named = {name: options[name] for name in ("attack_name", "saved", "data", "split", "label") if name in options}
    return replace(job, named=job.named | named)


def positions_of(images: ImageSet, image_ids: Sequence[str]) -> list[int]:
    """Indices of images by their names, or a UserError that names the first that is not there."""
    known = {image_id: position for position, image_id in enumerate(images.image_ids)}
    if missing := [image_id for image_id in image_ids if image_id not in known]:
        raise UserError(
            f"expected the data to hold image {missing[0]!r}, which the run has a record of; "
            f"{len(missing)} of {len(image_ids)} are missing: name the run's data with --root"
        )
    return [known[image_id] for image_id in image_ids]
