"""Describe a run in words, from its manifest."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attnlab.report.attack_words import strength_of
from attnlab.report.description import Manifest, cells_of, data_of, predicted_labels
from attnlab.words import as_fraction, counted

#: options that have a line of their own, or whose line would say nothing
NAMED = ("data", "split", "images", "model", "models", "weights", "attack", "attack_name", "attacks", "eps", "order")


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Terms and what a run says of each."""
    options, data = manifest["options"], manifest["data"]
    boxes = "with boxes or masks" if data.get("has_boxes") else "without boxes"
    boxes = ", ".join(filter(None, (boxes, predicted_labels(manifest))))
    lines = [("data", f"{data_of(options)}: {counted(options['images'], 'image')}, {boxes}")]
    lines += _models(manifest)
    if "attacks" in options:
        attacks = options["attacks"].items()
        lines += [(f"attack {name}", _words(attack) if attack else "none") for name, attack in attacks]
    else:
        attack = f"{', '.join(strength_of(options)[:2])} ({_words(options['attack'])})"
        lines.append(("attack", attack))
    for name, value in options.items():
        if name not in NAMED and value not in (None, False, [], {}):
            lines.append((name.replace("_", " "), _words(value)))
    if "device" in manifest:
        threads = f", {counted(manifest['threads'], 'thread')}" if "threads" in manifest else ""
        lines.append(("computed on", f"{manifest['device']}{threads}; {manifest.get('platform', '?')}"))
    versions = {"attnlab": manifest.get("attnlab", "?"), "Python": manifest.get("python", "?")}
    versions |= manifest.get("versions", {})
    lines.append(("software", ", ".join(f"{name} {version}" for name, version in versions.items())))
    if manifest.get("git"):
        lines.append(("commit", manifest["git"]))
    if "started" in manifest:
        lines.append(("started", _time(manifest["started"])))
    if manifest["finished"]:
        seconds = timedelta(seconds=round(manifest.get("seconds", 0)))
        lines.append(("finished", f"{_time(manifest['finished'])}, {seconds} in the last session"))
    if "sha256" in data:
        lines.append(("SHA-256 of the images' names, labels, boxes, masks and sizes", data["sha256"]))
    return lines


def _models(manifest: Manifest) -> list[tuple[str, str]]:
    options, known = manifest["options"], manifest["model"]
    if "models" not in options:
        return [("model", _model(options["model"], options["weights"], known))]
    lines = []
    for name, model in options["models"].items():
        network = f"{model['network']}, defence {model['defense']}"
        weights = model.get("weights", options["weights"])
        lines.append((f"model {name}", _model(network, weights, known.get(name, {}))))
    return lines


def _model(name: str, weights: str, known: Mapping[str, Any]) -> str:
    cells = f" ({cells_of(known)} cells)" if known.get("map_shape") else ""
    parts = [
        name,
        f"weights {weights}" if weights else "",
        f"{' x '.join(map(str, known['input_size']))} px" if "input_size" in known else "",
        counted(known["classes"], "class") if "classes" in known else "",
        f"attention at {known['layer']}{cells}" if known.get("layer") else "",
        f"SHA-256 {known['sha256']}" if "sha256" in known else "",
    ]
    return ", ".join(filter(None, parts))


def _words(value: Any) -> str:
    """A value of a manifest as people read it."""
    if isinstance(value, Mapping):
        parts = [(name.replace("_", " "), inner) for name, inner in value.items() if inner not in (None, False)]
        return ", ".join(
            f"{name} {as_fraction(inner) if name in ('eps', 'step size') else _words(inner)}" for name, inner in parts
        )
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _time(stamp: str) -> str:
    return f"{stamp[:16].replace('T', ' ')} UTC"
