"""What a run is, in words: from its manifest."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from attnlab.records import as_fraction

#: options that have a line of their own, or whose line would say nothing
TOLD = ("data", "split", "images", "model", "models", "weights", "attack", "attack_name", "attacks", "eps", "order")

Manifest = Mapping[str, Any]


def title(manifest: Manifest) -> str:
    """What was looked at."""
    options = manifest["options"]
    models = options.get("models") or [Path(options["model"]).name]
    return f"{', '.join(models)} on {options['data']} ({options['split']})"


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Terms and what a run says of each."""
    options, data = manifest["options"], manifest["data"]
    boxes = "with boxes" if data["has_boxes"] else "without boxes"
    told = [("data", f"{options['data']}, {options['split']}: {options['images']} images, {boxes}")]
    told += _models(manifest)
    told += _attacks(options)
    for name, value in options.items():
        if name not in TOLD and value not in (None, False, [], {}):
            told.append((name.replace("_", " "), _words(value)))
    told.append(("computed on", f"{manifest['device']}, {manifest['threads']} threads; {manifest['platform']}"))
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    told.append(("software", f"attnlab {manifest['attnlab']}, Python {manifest['python']}, {versions}"))
    if manifest["git"]:
        told.append(("commit", manifest["git"]))
    told.append(("started", _time(manifest["started"])))
    if manifest["finished"]:
        seconds = timedelta(seconds=round(manifest["seconds"]))
        told.append(("finished", f"{_time(manifest['finished'])}, {seconds} in the last session"))
    told.append(("SHA-256 of the images' names, labels, boxes and sizes", data["sha256"]))
    return told


def _models(manifest: Manifest) -> list[tuple[str, str]]:
    options, known = manifest["options"], manifest["model"]
    if "models" not in options:
        return [("model", _model(options["model"], f"weights {options['weights']}", known))]
    return [
        (
            f"model {name}",
            _model(
                model["network"],
                f"defence {model['defense']}, weights {model.get('weights', options['weights'])}",
                known[name],
            ),
        )
        for name, model in options["models"].items()
    ]


def _model(name: str, how: str, known: Mapping[str, Any]) -> str:
    height, width = known["input_size"]
    layer = f", attention at {known['layer']}" if known["layer"] else ""
    cells = f" ({' x '.join(map(str, known['map_shape']))} cells)" if known.get("map_shape") else ""
    return f"{name}, {how}, {height} x {width} px, {known['classes']} classes{layer}{cells}, SHA-256 {known['sha256']}"


def _attacks(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "attacks" not in options:
        budgets = ", ".join(map(as_fraction, options["eps"]))
        return [("attack", f"{options['attack_name']}, eps {budgets} ({_words(options['attack'])})")]
    return [(f"attack {name}", _words(attack) if attack else "none") for name, attack in options["attacks"].items()]


def _words(value: Any) -> str:
    """A value of a manifest as people read it."""
    if isinstance(value, Mapping):
        told = [(name.replace("_", " "), inner) for name, inner in value.items() if inner not in (None, False)]
        return ", ".join(
            f"{name} {as_fraction(inner) if name in ('eps', 'step size') else _words(inner)}" for name, inner in told
        )
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _time(stamp: str) -> str:
    return f"{stamp[:16].replace('T', ' ')} UTC"
