"""How a result was made: versions, device, hashes, git state."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import attnlab
from attnlab.data.base import ImageSet, digest
from attnlab.errors import without_secrets

CPU_INFO = Path("/proc/cpuinfo")
LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "pandas", "pyarrow", "scikit-image", "scikit-learn", "scipy")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device and threads of this process, for run.json."""
    return {
        "attnlab": attnlab.__version__,
        "git": git_state(),
        "command": own_command(),
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({cpu_name()})",
        "threads": torch.get_num_threads(),
    }


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Version of each of LIBRARIES, read once: a process keeps those that it has imported."""
    return tuple((library, version(library)) for library in LIBRARIES)


def own_command() -> str:
    """The command line of this process."""
    return without_secrets(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def describe_data(images: ImageSet, used: Sequence[int]) -> dict[str, Any]:
    """Description of the images that a result is about, for run.json."""
    reading = {name: getattr(images, name, None) for name in ("box_corners", "pixel_rule")}
    return {
        **{name: value for name, value in reading.items() if value},
        "name": images.name,
        "has_boxes": images.has_boxes,
        **({} if getattr(images, "labelled", True) else {"labels": "predicted"}),
        "classes": list(images.classes),
        "sha256": images.fingerprint(),
        "used": digest(map(str, used)),
    }


def git_state() -> str | None:
    """Commit of the checkout that attnlab runs from, with `-dirty` behind it if files differ; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def cpu_name() -> str:
    """The processor's name as the system reports it."""
    return cpu_info("model name") or platform.processor() or platform.machine()


def cpu_info(*names: str) -> str:
    """Value that Linux gives for the first processor under one of these names; empty where there is none."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")
