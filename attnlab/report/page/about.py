"""What a run is, in words: from its manifest."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attnlab.report.description import Manifest, cells_of, data_of, eps_of
from attnlab.words import as_fraction, counted

#: options that have a line of their own, or whose line would say nothing
TOLD = ("data", "split", "images", "model", "models", "weights", "attack", "attack_name", "attacks", "eps", "order")


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Terms and what a run says of each."""
    options, data = manifest["options"], manifest["data"]
    boxes = "with boxes" if data.get("has_boxes") else "without boxes"
    told = [("data", f"{data_of(options)}: {counted(options['images'], 'image')}, {boxes}")]
    told += _models(manifest)
    told += _attacks(options)
    for name, value in options.items():
        if name not in TOLD and value not in (None, False, [], {}):
            told.append((name.replace("_", " "), _words(value)))
    if "device" in manifest:
        threads = f", {counted(manifest['threads'], 'thread')}" if "threads" in manifest else ""
        told.append(("computed on", f"{manifest['device']}{threads}; {manifest.get('platform', '?')}"))
    versions = [f"{name} {version}" for name, version in manifest.get("versions", {}).items()]
    versions = [f"attnlab {manifest.get('attnlab', '?')}", f"Python {manifest.get('python', '?')}", *versions]
    told.append(("software", ", ".join(versions)))
    if manifest.get("git"):
        told.append(("commit", manifest["git"]))
    if "started" in manifest:
        told.append(("started", _time(manifest["started"])))
    if manifest["finished"]:
        seconds = timedelta(seconds=round(manifest.get("seconds", 0)))
        told.append(("finished", f"{_time(manifest['finished'])}, {seconds} in the last session"))
    if "sha256" in data:
        told.append(("SHA-256 of the images' names, labels, boxes and sizes", data["sha256"]))
    return told


def _models(manifest: Manifest) -> list[tuple[str, str]]:
    options, known = manifest["options"], manifest["model"]
    if "models" not in options:
        return [("model", _model(options["model"], options, known))]
    return [
        (
            f"model {name}",
            _model(
                f"{model['network']}, defence {model['defense']}",
                {"weights": model.get("weights", options["weights"])},
                known.get(name, {}),
            ),
        )
        for name, model in options["models"].items()
    ]


def _model(name: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    told = [name, f"weights {options['weights']}" if options["weights"] else ""]
    told.append(f"{' x '.join(map(str, known['input_size']))} px" if "input_size" in known else "")
    told.append(counted(known["classes"], "class") if "classes" in known else "")
    cells = f" ({cells_of({'model': known})} cells)" if known.get("map_shape") else ""
    told.append(f"attention at {known['layer']}{cells}" if known.get("layer") else "")
    told.append(f"SHA-256 {known['sha256']}" if "sha256" in known else "")
    return ", ".join(filter(None, told))


def _attacks(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "attacks" not in options:
        return [("attack", f"{options['attack_name']}, eps {eps_of(options['eps'])} ({_words(options['attack'])})")]
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
