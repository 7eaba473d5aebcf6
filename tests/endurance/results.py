"""Whether the folder of a faulted command, once it was repeated, is that of an uninterrupted one: byte for byte."""

import json
from pathlib import Path
from typing import Any

#: all that may differ, and why
MAY_DIFFER = {
    "started": "when the run was begun",
    "finished": "when it was whole; that it is stays compared",
    "seconds": "how long its last process took",
    "sessions": "one entry for each process that added parts; that all parts are named stays compared",
    "command": "the command line of the process that began: --workers and --shard stand in it",
    "git": "commit of the checkout, which someone may edit meanwhile",
    "workers": "processes that read images",
}
MANIFESTS = ("run.json", "training.json")  # the files in which those stand
LOCKS = ".lock"  # begins the names of files that stay, see attnlab.files


def differences(whole: Path, made: Path) -> list[str]:
    """What of a folder is not as in that of an uninterrupted command, a line each; nothing where all is."""
    before, now = _files(whole), _files(made)
    told = [f"{name} is missing" for name in sorted(before.keys() - now.keys())]
    told += [f"{name} is left over" for name in sorted(now.keys() - before.keys())]
    for name in sorted(before.keys() & now.keys()):
        old, new = before[name].read_bytes(), now[name].read_bytes()
        if Path(name).name in MANIFESTS:
            told += _of_manifests(name, json.loads(old), json.loads(new))
        elif old != new:
            told.append(f"{name}: {len(new)} bytes, not the {len(old)} of an uninterrupted run")
    return told


def size_of(folder: Path) -> int:
    """Bytes of all files, in pages of 4,096 as a file system in memory takes them."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def _files(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(LOCKS))
    return {str(path.relative_to(folder)): path for path in found}


def _of_manifests(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    keys = [key for key in sorted(old.keys() | new.keys()) if key not in MAY_DIFFER]
    told = [f"{name}: {key} was {old.get(key)}, is {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
    if bool(old.get("finished")) != bool(new.get("finished")):
        told.append(f"{name}: finished is {new.get('finished')}")
    before, now = (
        sorted({part for session in of.get("sessions", []) for part in session["parts"]}) for of in (old, new)
    )
    if before != now:
        told.append(f"{name}: its sessions name the parts {now}, not {before}")
    return told
