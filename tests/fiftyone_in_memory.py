"""What attnlab calls of FiftyOne, without its database: data sets are kept in memory, fields as they were given."""

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class Group:
    """A group of samples, whose elements share its id."""

    def element(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(id=id(self), name=name, group=self)


class Sample(SimpleNamespace):
    """A file and its fields."""


class Samples(list[Sample]):
    """Samples, among which those of slices are looked for."""

    field = ""

    def select_group_slices(self, name: str | None = None) -> "Samples":
        return Samples(sample for sample in self if name in (None, getattr(sample, self.field).name))


class FiftyOneConfigError(Exception):
    """There is no database."""


class ServiceException(Exception):  # noqa: N818 - its own name
    """It does not start."""


def in_memory() -> dict[str, ModuleType]:
    """The modules, with a database of their own; each call raises `library.broken`, if it is an error."""
    names_of_modules = ("", ".core", ".core.config", ".core.service")
    library, core, config, service = (ModuleType(f"fiftyone{name}") for name in names_of_modules)
    library.__spec__ = ModuleSpec("fiftyone", None)
    stored: dict[str, Any] = {}

    def names() -> dict[str, Any]:
        if library.broken:
            raise library.broken
        return stored

    class Dataset:
        def __init__(self, name: str) -> None:
            if not any(letter.isalnum() for letter in name):
                raise ValueError(f"Invalid name '{name}'.\nNeed letters")
            if name in names():
                raise ValueError(f"{name} exists")
            self._name, self.info, self.persistent, self.media_type = name, {}, False, None
            self.samples, self.group_slices = Samples(), []
            stored[name] = self

        @property
        def name(self) -> str:
            return self._name

        @name.setter
        def name(self, new: str) -> None:
            assert new not in stored
            stored[new] = stored.pop(self._name)
            self._name = new

        def add_group_field(self, name: str, default: str) -> None:
            self.samples.field, self.media_type, self.group_slices = name, "group", [default]

        def add_samples(self, samples: Iterable[Sample], progress: bool) -> list[int]:
            for sample in samples:
                self.samples.append(sample)
                name = getattr(sample, self.samples.field).name
                self.group_slices += [name] * (name not in self.group_slices)
            return [id(sample) for sample in self.samples]

        def select_group_slices(self, name: str | None = None) -> Samples:
            return self.samples.select_group_slices(name)

        def save(self) -> None:
            assert stored[self._name] is self

        def delete(self) -> None:
            del stored[self._name]

    names_of_parts = ("Classification", "Detection", "Heatmap")
    parts = {name: type(name, (SimpleNamespace,), {"mask": None}) for name in names_of_parts}
    library.__dict__.update(parts, Detections=SimpleNamespace, Dataset=Dataset, Group=Group, Sample=Sample)
    library.__dict__.update(broken=None, core=core, load_dataset=lambda name: names()[name])
    library.__dict__.update(dataset_exists=lambda name: name in names(), list_datasets=lambda: sorted(names()))
    library.delete_dataset = lambda name: names()[name].delete()
    core.config, core.service = config, service
    config.FiftyOneConfigError, service.ServiceException = FiftyOneConfigError, ServiceException
    return {module.__name__: module for module in (library, core, config, service)}


def installed(patch: pytest.MonkeyPatch) -> ModuleType:
    """Have `import fiftyone` find them."""
    modules = in_memory()
    for name, module in modules.items():
        patch.setitem(sys.modules, name, module)
    return modules["fiftyone"]
