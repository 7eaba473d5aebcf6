"""Versions: what is installed, and whether attnlab was made for it."""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

import attnlab
from attnlab.compat import mended
from attnlab.doctor.finding import Finding
from attnlab.pipelines.provenance import git_state

TOPIC = "software"


def software() -> Iterator[Finding]:
    """Versions of Python, attnlab and the libraries it needs, and which of its extras are there."""
    yield Finding(TOPIC, "python", platform.python_version())
    commit = git_state()
    yield Finding(TOPIC, "attnlab", attnlab.__version__ + (f" (commit {commit})" if commit else ""))
    try:
        needed = [Requirement(text) for text in requires("attnlab") or []]
        extras = metadata("attnlab").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        advice = "pip install -e . in the checkout, then ask again"
        yield Finding(TOPIC, "libraries", "attnlab is not installed, so what it needs is not known", advice, "note")
        return
    yield from (library(requirement) for requirement in needed if _wanted(requirement, ""))
    if mended:
        text = "its compiled part does not fit this torch, so `import torchvision` alone fails; attnlab mends that"
        advice = "in scripts of your own write `from attnlab.compat import torchvision`, before any other import of it"
        yield Finding(TOPIC, "torchvision", text, advice, "note")
    for extra in extras:
        missing = [name for name in dict.fromkeys(_packages(extra, needed)) if _version(name) is None]
        text = f"not installed: {', '.join(missing)}" if missing else "installed"
        yield Finding(TOPIC, f"[{extra}]", text, f"pip install 'attnlab[{extra}]', if you need it" if missing else "")


def _packages(extra: str, needed: Sequence[Requirement]) -> Iterator[str]:
    """Packages of an extra, and of those that it names in turn, which attnlab does not need without it."""
    for item in needed:
        if _wanted(item, extra) and not _wanted(item, ""):
            if item.name == "attnlab":
                for other in sorted(item.extras):
                    yield from _packages(other, needed)
            else:
                yield item.name


def library(requirement: Requirement) -> Finding:
    """Whether a library is there in a version that attnlab was made for."""
    name, found = requirement.name, _version(requirement.name)
    advice = f"pip install '{requirement}'"
    if found is None:
        return Finding(TOPIC, name, "not installed", advice, "problem")
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(TOPIC, name, f"{found}, expected {requirement.specifier}", advice, "problem")
    return Finding(TOPIC, name, found)


def _wanted(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
