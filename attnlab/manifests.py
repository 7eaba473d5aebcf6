"""Read run.json, check everything that the reports rely on, and compare manifests in words."""

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from attnlab.errors import UserError
from attnlab.recorded_attacks import is_corruption

FILE = "run.json"
SCHEMA_VERSION = 3
#: option -> what manifests of schema 1, and command lines of before, call it
FORMER = {"resize": "geometry", "memory_format": "layout"}
#: what a run may be resumed with under other values, after a warning
SURROUNDINGS = ("attnlab", "python", "versions", "device", "threads")
#: images a pass: they decide the last digits of every sum, and so signs of tiny gradients
BATCHES = ("batch_size", "lime_batch_size", "map_batch_size")
#: attack that is a suite -> its stages in manifests that name none
FORMER_STAGES = {"autoattack": ("apgd-ce", "apgd-t", "square")}
PROGRAMS = ("attnlab", "__main__.py")  # the programs under which the command line runs

NONE = type(None)
NUMBER = (int, float)
COUNT = (int,)
TEXT = (str,)
FLAG = (bool,)


def _each(names: str, shape: Any) -> dict[str, Any]:
    """The same shape for several names."""
    return dict.fromkeys(names.split(), shape)


ATTACK = (
    _each("objective rule? norm? where?", TEXT)
    | _each("steps restarts", COUNT)
    | _each("step_size sigma", (*NUMBER, NONE))
    | _each("label_smoothing", NUMBER)
    | _each("target?", (*COUNT, str, NONE))
    | _each("diversity? kernel?", (*NUMBER, NONE))
)


CORRUPTION = {"corruption": TEXT, "severity": COUNT}


def _shape_of_attack(value: Any) -> dict[str, Any]:
    """Of an attack of an evaluation: null for clean, a method and eps outside the loop, else settings of the loop."""
    outside = isinstance(value, dict) and "method" in value
    if isinstance(value, dict) and is_corruption(value):
        return CORRUPTION
    return {"?": NONE, "eps": NUMBER, **({"stages?": [TEXT], "norm?": TEXT} if outside else ATTACK)}


def _shape_of_one(value: Any) -> dict[str, Any]:
    """Of the attack of an analysis, whose eps stand beside it: settings of the loop, or a corruption."""
    return CORRUPTION if isinstance(value, dict) and is_corruption(value) else ATTACK


LIME = _each("superpixels hide", TEXT) | {"samples": COUNT, "patience": (*NUMBER, NONE)}
NAMES = _each("data? split? weights? precision? memory_format? resize?", TEXT) | {"part_size?": COUNT}
DATA = _each("name? sha256? used?", TEXT) | {"has_boxes?": FLAG, "labels?": TEXT, "classes?": [TEXT]}
MODEL = {"sha256?": TEXT, "layer?": (str, NONE), "classes?": COUNT, "labels?": [TEXT]}
COMMON: dict[str, Any] = {
    "finished": (str, NONE),
    **_each("started? command? platform? device? python? attnlab?", TEXT),
    **_each("git? root?", (str, NONE)),
    **_each("threads? batch_size? lime_batch_size? map_batch_size?", COUNT),
    "seconds?": NUMBER,
    "versions?": {"*": TEXT},
    "sessions?": [{"parts": [COUNT], "threads?": COUNT, **_each("started? worker? host?", TEXT)}],
}
#: what a manifest of each kind holds: types of values, `?` behind a name that may be missing, `*` for any other name
SHAPES: dict[str, dict[str, Any]] = {
    "analyze": {
        "options": NAMES
        | _each("resize model? attack_name? lime_segments?", TEXT)
        | {"images": COUNT, "eps": [(*NUMBER, NONE)], "methods": [TEXT], "attack": _shape_of_one, "target": {"*": TEXT}}
        | {
            "lime?": LIME,
            "lime_floor?": FLAG,
            "seed?": COUNT,
            "keep_maps?": FLAG,
            "measures?": [TEXT],
            "pair_measures?": [TEXT],
        },
        "data": DATA | {"has_boxes": FLAG, "classes": [TEXT]},
        "model": MODEL | {"input_size": [COUNT], "map_shape": [COUNT], "layer": (str, NONE)},
        "features": [COUNT],
        "resolutions?": {"*": TEXT},
        "defense?": TEXT,
        **COMMON,
    },
    "evaluate": {
        "options": NAMES
        | {"images": COUNT, "attacks": {"*": _shape_of_attack}, "models?": {"*": _each("network defense", TEXT)}}
        | {"order?": [TEXT], "transfer?": (str, NONE), "stop?": FLAG, "saved?": FLAG},
        "data": DATA,
        "model": {"*": MODEL | {"input_size?": [COUNT], "map_shape?": [(*COUNT, NONE)]}},
        "left_out?": {"*": [TEXT]},
        **COMMON,
    },
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of a run's run.json.

    Raises:
        UserError: If the folder is no run or one of a newer attnlab, or the file is damaged.
    """
    path = folder / FILE
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"expected {folder} to be a run, but it has no {FILE}") from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(manifest, dict):
        raise _damaged(path, f"expected an object, got {_kind(manifest)}")
    version = manifest.get("schema", 0)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UserError(f"{folder} was written by a newer attnlab ({manifest.get('attnlab')}); update attnlab")
    kind = manifest.get("kind")
    if not isinstance(kind, str) or kind not in SHAPES:
        raise _damaged(path, f"expected kind to be one of {', '.join(SHAPES)}, got {kind!r}")
    rename_former(manifest["options"] if isinstance(manifest.get("options"), dict) else {})
    for reason in chain(_misfits(manifest, SHAPES[kind], ""), _lacks(manifest)):
        raise _damaged(path, reason)
    return manifest


def rename_former(options: dict[str, Any]) -> None:
    """Call the options of an older manifest by their names of today, in place."""
    for name, former in FORMER.items():
        if former in options:
            options.setdefault(name, options.pop(former))


def recorded(folder: Path, name: str) -> Any:
    """Value under a name in the run.json of a folder; None where it has none, or the folder is no run yet."""
    return read_manifest(folder).get(name) if (folder / FILE).exists() else None


def map_methods(manifest: Mapping[str, Any]) -> list[str]:
    """The methods whose maps the records of a run hold, in their order; LIME has explanations in place of maps."""
    return [name for name in manifest["options"].get("methods", ()) if name != "lime"]


def command_of(manifest: Mapping[str, Any]) -> str:
    """The command that made a run, without the shard it computed; empty where it was no command of attnlab's."""
    program, _, options = re.sub(r" --shard[ =]\S+", "", str(manifest.get("command", ""))).partition(" ")
    return f"attnlab {options}" if program in PROGRAMS else ""


def check_same(
    folder: Path, before: Mapping[str, Any], manifest: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Check that a run's manifest asks for what it did before; else a UserError says which options differ.

    `defaults` are the values of options that a manifest lacks, as they were before there were such options.
    """
    if before.get("kind") != manifest.get("kind"):
        raise UserError(
            f"{folder} holds a run of another command (kind was {before.get('kind')!r}, is {manifest.get('kind')!r}); "
            "choose another --out"
        )
    different = list(chain.from_iterable(differing(before, manifest, defaults).values()))
    if different:
        raise UserError(f"{folder} holds a run with other options ({'; '.join(different)}); choose another --out")


def differing(
    before: Mapping[str, Any], manifest: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, list[str]]:
    """What of options, data, model and batch sizes differs, in words; arguments as of `check_same`."""
    asked = json.loads(json.dumps(dict(manifest)))
    known = json.loads(json.dumps(dict(defaults or {})))
    old, new = before.get("options"), asked.get("options")
    found = {"options": list(_differences("", _filled(old, new, known), _filled(new, old, known)))}
    found |= {key: list(_differences(key, before.get(key), asked.get(key))) for key in ("data", "model")}
    said = [key for key in BATCHES if None not in (before.get(key), asked.get(key))]  # older ones say none
    return {**found, "batches": [text for key in said for text in _differences(key, before[key], asked[key])]}


def _filled(options: Any, others: Any, defaults: Any) -> Any:
    """Options with the default of each that they lack and the others have; of dicts in them likewise."""
    if not (isinstance(options, dict) and isinstance(others, dict) and isinstance(defaults, dict)):
        return options
    lacking = {key for key in others.keys() & defaults.keys() - options.keys() if not isinstance(defaults[key], dict)}
    inner = {key: _filled(value, others.get(key), defaults.get(key)) for key, value in options.items()}
    return inner | {key: defaults[key] for key in sorted(lacking)}


def tell_other_surroundings(folder: Path, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Warn where a run that is not finished was begun by other versions, on another device, or with other threads."""
    if other := other_surroundings(before, manifest):
        warnings.warn(f"{folder} was begun in other surroundings: {'; '.join(other)}", stacklevel=2)


def refused_surroundings(before: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """Versions and threads that differ between processes that add to one run at the same time, in words."""
    names = [name for name in SURROUNDINGS if name != "device"]  # many clusters have several kinds
    return other_surroundings(before, manifest, names)


def other_surroundings(
    before: Mapping[str, Any], manifest: Mapping[str, Any], names: Sequence[str] = SURROUNDINGS
) -> list[str]:
    """Versions, device and threads that differ, in words."""
    old, new = ({name: values.get(name) for name in names} for values in (before, manifest))
    return list(_differences("", old, json.loads(json.dumps(new))))


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:
    """List the differences of two values of a manifest in words; of dicts, key by key."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name} {key}".strip()
            if key not in old or key not in new:
                text = f": {_short(new[key])}" if isinstance(new.get(key), str) else ""
                yield f"{inner} is new{text}" if key in new else f"{inner} is not asked for"
            else:
                yield from _differences(inner, old[key], new[key])
    elif old != new:
        yield f"{name} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason}); restore it, or make the run again in another --out")


def _lacks(manifest: Mapping[str, Any]) -> Iterator[str]:
    """List what a manifest of an analysis lacks for its methods."""
    options = manifest["options"]
    methods = options.get("methods", [])
    needed = ("lime", "lime_segments", "lime_floor") if "lime" in methods else ()
    yield from (f"it says no options target {name}" for name in methods if name not in options.get("target", {}))
    yield from (f"it says no options {name}" for name in needed if name not in options)


def _misfits(value: Any, shape: Any, name: str) -> Iterator[str]:
    """List in words where a value does not fit its shape."""
    shape = shape(value) if callable(shape) else shape
    if isinstance(shape, dict):
        if value is None and "?" in shape:
            return
        if not isinstance(value, dict):
            yield f"expected {name or 'the file'} to be an object, got {_kind(value)}"
            return
        for key, inner in shape.items():
            wanted = list(value) if key == "*" else [key.removesuffix("?")]
            for known in wanted:
                if known in value:
                    yield from _misfits(value[known], inner, f"{name} {known}".strip())
                elif not key.endswith("?"):
                    yield f"it says no {f'{name} {known}'.strip()}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"expected {name} to be a list, got {_kind(value)}"
            return
        last = name.split(" ")[-1]
        if last in ("input_size", "map_shape") and len(value) != 2 and (value or last == "input_size"):  # no map: []
            yield f"expected {name} to be two numbers, got {len(value)}"
        for item in value:
            yield from _misfits(item, shape[0], name)
    elif not isinstance(value, shape) or (isinstance(value, bool) and bool not in shape):
        yield f"expected {name} to be {' or '.join(_names(shape))}, got {_kind(value)}"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"expected {name} to be a number, got {value}"


def _names(shape: tuple[type, ...]) -> list[str]:
    words = {str: "text", bool: "true or false", float: "a number", NONE: "null", int: "a whole number"}
    return [words[kind] for kind in shape if kind is not int or float not in shape]


def _kind(value: Any) -> str:
    words = {dict: "an object", list: "a list", str: "text", bool: str(value).lower(), NONE: "null"}
    return words.get(type(value), f"{value!r:.40}")
