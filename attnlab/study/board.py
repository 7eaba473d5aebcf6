"""Models side by side: of any number of runs the value of each image, by model and by column, from records alone.

A column is all that decides what its numbers mean: data, resizing, attack, eps, method. What differs in any of these
is another column, so that nothing is compared that is not the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from attnlab.errors import UserError, check_one_of
from attnlab.manifests import map_methods
from attnlab.measures import MEASURES
from attnlab.report.description import holds_prediction, predicted_labels
from attnlab.runs import Run
from attnlab.study.columns import CLEAN, DEVIATION, GROUPS, IOU, About, Column, attacks_of, found_in, settings_of
from attnlab.study.inputs import Manifest, check_labels, labels_of, opened
from attnlab.words import counted, listed


@dataclass(frozen=True)
class Board:
    """Models side by side.

    Attributes:
        values: Of each model, by its title, and each column that it has, the value of each image by its name.
        columns: By their names, in order.
        weights: Of each model the hash of its weights; empty where none is recorded.
        manifests: Of each run, by what it is called.
        method: Whose maps are compared; empty where no run has any.
        notes: What is to be known of it.
    """

    values: Mapping[str, Mapping[str, "pd.Series[float]"]]
    columns: Mapping[str, Column]
    weights: Mapping[str, str]
    manifests: Mapping[str, Manifest]
    method: str
    notes: list[str]


@dataclass
class _Model:
    """A model as its runs add to it."""

    name: str
    weights: str
    runs: list[str] = field(default_factory=list)
    values: dict[Column, "pd.Series[float]"] = field(default_factory=dict)
    sources: dict[Column, str] = field(default_factory=dict)


def read_board(folders: Sequence[Path], method: str | None = None, called: Sequence[object] = ()) -> Board:
    """Read runs of `analyze` and `evaluate`, finished or not; those of one model, by its weights' hash, are joined.

    Args:
        folders: Of the runs.
        method: Whose maps are compared; by default the first that all analyses have.
        called: What the runs are called; by default their folders.

    Raises:
        UserError: If a folder holds no readable run, one is given twice, an image has two labels, or the analyses share
            no method.
    """
    runs, manifests, notes = opened(folders, called)
    _check_labels(runs, manifests)
    method = _chosen(manifests, method, notes)
    models: dict[tuple[object, ...], _Model] = {}
    for name, run in runs.items():
        notes += _untold(name, manifests[name])
        described = manifests[name]["model"]
        evaluated = manifests[name]["kind"] == "evaluate"
        for title, column, values in found_in(run, manifests[name], method):
            about = described.get(title, {}) if evaluated else described
            weights = str(about.get("sha256", ""))
            key = (weights, about.get("code"), str(about.get("input_size"))) if weights else (name, title)
            model = models.setdefault(key, _Model(title, weights))
            _add(model, column, values, f"{title} of {name}", notes)
    return _board([*models.values()], manifests, method, notes)


def _check_labels(runs: Mapping[str, Run], manifests: Mapping[str, Manifest]) -> None:
    """Refuse runs of the same data in which an image has different labels."""
    of_data: dict[About, dict[str, dict[str, int]]] = {}
    for name, run in runs.items():
        if not predicted_labels(manifests[name]):
            of_data.setdefault(settings_of(manifests[name])[:2], {})[name] = labels_of(run)
    for labels in of_data.values():
        check_labels(labels)


def _chosen(manifests: Mapping[str, Manifest], method: str | None, notes: list[str]) -> str:
    """The method whose maps are compared; empty where no run has maps."""
    known = {name: map_methods(one) for name, one in manifests.items() if one["kind"] == "analyze" and map_methods(one)}
    every = list(dict.fromkeys(one for methods in known.values() for one in methods))
    if method:
        check_one_of(method, every, "--method")
    shared = [one for one in every if all(one in methods for methods in known.values())]
    if known and not (method or shared):
        have = "; ".join(f"{name}: {', '.join(methods)}" for name, methods in known.items())
        raise UserError(f"expected a method that all analyses have, got none ({have}); name one with --method")
    chosen = method or next(iter(shared), "")
    notes += [f"{name} has no maps of {chosen}" for name, methods in known.items() if chosen not in methods]
    return chosen


def _untold(name: str, manifest: Manifest) -> Iterator[str]:
    """Say what a run cannot tell, a note each."""
    if predicted_labels(manifest):
        yield f"{name} is {predicted_labels(manifest)}, so that it has no accuracy"
    for attack, settings in attacks_of(manifest).items():
        if settings and holds_prediction(settings):
            yield f"{name}: {attack} leaves predictions as they are, so that there is no accuracy under it"


def _add(model: _Model, column: Column, values: "pd.Series[float]", source: str, notes: list[str]) -> None:
    """Add a column to a model, unless an earlier run gave it: then say so, where they differ."""
    if source not in model.runs:
        model.runs.append(source)
    before = model.values.get(column)
    if before is None:
        model.values[column], model.sources[column] = values, source
        return
    shared = before.index.intersection(values.index)
    apart = int((~np.isclose(before[shared], values[shared], atol=1e-3)).sum())
    if apart or len(shared) < max(len(before), len(values)):
        notes.append(
            f"{column.name}: shown of {model.sources[column]} ({counted(len(before), 'image')}), not of {source} "
            f"({len(values)}); of {len(shared)} that both have {apart} differ"
        )


def _board(models: Sequence[_Model], manifests: Mapping[str, Manifest], method: str, notes: list[str]) -> Board:
    names, split = names_of([column for model in models for column in model.values])
    notes += split
    titles = [_title(model, [one for one in models if one.name == model.name]) for model in models]
    for title, model in zip(titles, models, strict=True):
        if len(model.runs) > 1:
            notes.append(
                f"{' and '.join(model.runs)} are one model by the hash of its weights, {model.weights[:8]}: {title}"
            )
    values = {
        title: {names[column]: of_column for column, of_column in model.values.items()}
        for title, model in zip(titles, models, strict=True)
    }
    columns = {name: column for column, name in names.items()}
    for name in columns:
        counts = {title: len(of_model[name]) for title, of_model in values.items() if name in of_model}
        sets = [set(of_model[name].index) for of_model in values.values() if name in of_model]
        if columns[name].group == "accuracy" and any(images != sets[0] for images in sets):
            images = ", ".join(f"{title} {count}" for title, count in counts.items())
            notes.append(f"{name}: each model's own images ({images}); differences are of those that both have")
    weights = dict(zip(titles, (model.weights for model in models), strict=True))
    return Board(values, columns, weights, manifests, method, notes)


def _title(model: _Model, namesakes: Sequence[_Model]) -> str:
    """A model's name; with its hash, or else its run, where several are called the same."""
    if len(namesakes) == 1:
        return model.name
    hashes = {one.weights[:8] for one in namesakes if one.weights}
    told = model.weights[:8] if len(hashes) == len(namesakes) else model.runs[0].removeprefix(f"{model.name} of ")
    return f"{model.name} ({told})"


def names_of(columns: Sequence[Column]) -> tuple[dict[Column, str], list[str]]:
    """A name for each column, in the order of GROUPS: its own, and where several share it what tells them apart.

    A note says which those are.
    """
    order, measures = [*GROUPS], [CLEAN, "", IOU, DEVIATION, *MEASURES]
    every = sorted(dict.fromkeys(columns), key=lambda one: (order.index(one.group), measures.index(one.measure)))
    names, split = {}, dict[tuple[str, ...], list[str]]()
    for column in every:
        alike = [dict(other.about) for other in every if other.name == column.name]
        keys = dict.fromkeys(key for about in alike for key in about)
        apart = tuple(key for key in keys if len({about.get(key) for about in alike}) > 1)
        rest = tuple(key for key in apart if key != "images")  # a hash, which is needed where nothing else tells
        ways = [{tuple(about.get(key) for key in some) for about in alike} for some in (apart, rest)]
        apart = rest if len(ways[0]) == len(ways[1]) else apart
        mine = dict(column.about)
        told = ", ".join(f"{key} {mine.get(key) or 'unknown'}" for key in apart)
        names[column] = f"{column.name} ({told})" if told else column.name
        if apart and column.name not in split.setdefault(apart, []):
            split[apart].append(column.name)
    notes = [
        f"each {listed(apart)} has columns of its own, not compared: {', '.join(of)}" for apart, of in split.items()
    ]
    return names, notes
