"""Which groups each claim compares in the tables of a study."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnlab.attention import METHODS
from attnlab.registry import Lazy
from attnlab.study import CLAIMS
from attnlab.study.images import LIME
from attnlab.study.inputs import Inputs, Manifest

A3 = "+a3"
MARGIN = "margin"
UNRECORDED = "log_odds"  # what stands in the margin's place where a run did not record it


class Comparison(NamedTuple):
    """Two groups of one claim.

    Attributes:
        claim: A key of CLAIMS.
        model: What the models are called.
        attack: The attack, or both.
        eps: Its budget; NaN where none is known.
        method: Whose maps; empty of claims about predictions alone.
        rows: Rows with the claim's outcome, measure and controls; where images are paired, outcome 1 then 0 of each.
        margin: Column that stands for the margin among the controls.
        family: What is tested together: p-values are corrected among those of the same family.
        blind: The method looks at nothing, and is a reference that is in no family.
    """

    claim: str
    model: str
    attack: str
    eps: float
    method: str
    rows: pd.DataFrame
    margin: str
    family: tuple[object, ...]
    blind: bool = False

    @property
    def controls(self) -> list[str]:
        """Columns of the claim's controls."""
        return [self.margin if name == MARGIN else name for name in CLAIMS[self.claim].controls]


def comparisons(inputs: Inputs, claims: Sequence[str] = (), notes: list[str] | None = None) -> Iterator[Comparison]:
    """Everything that the claims compare in a study, claim by claim; notes tell what a claim lacks."""
    notes = [] if notes is None else notes
    for name in claims or CLAIMS:
        found = list(_COMPARED[CLAIMS[name].compares](inputs, name))
        if not found:
            notes.append(f"claim {name}: {_NEEDS[CLAIMS[name].compares]}")
        yield from found


def _between_images(inputs: Inputs, claim: str) -> Iterator[Comparison]:
    if inputs.images is None:
        return
    spec = CLAIMS[claim]
    known = inputs.images[inputs.images[spec.outcome].notna() & inputs.images[spec.measure].notna()]
    if not spec.attacked:  # rows of one eps say all
        known = known.drop_duplicates(["run", "method", "image_id"]).assign(attack="", eps=np.nan)
    names = ["run", "model", "attack", "eps", "method"]
    margins = {str(run): margin_of(rows) for run, rows in inputs.images.groupby("run", sort=False)}
    groups: Any = known.groupby(names, sort=False, dropna=False)
    for (run, model, attack, eps, method), rows in groups:
        family = (claim, run, None if np.isnan(eps) else eps)
        yield Comparison(claim, model, attack, eps, method, rows, margins[run], family, is_blind(method))


def _between_models(inputs: Inputs, claim: str) -> Iterator[Comparison]:
    """Each defended model with each undefended one, on the images that both classify correctly.

    Both runs need the same attack, resizing and grid of maps: overlaps of other cells are no measure of the same.
    """
    if inputs.images is None:
        return
    spec = CLAIMS[claim]
    images = inputs.images[inputs.images[spec.measure].notna()]
    pairs = product(*(images.loc[images["defended"] == value, "run"].unique() for value in (1, 0)))
    for defended, undefended in pairs:
        manifests = inputs.manifests[defended], inputs.manifests[undefended]
        if not _alike(*manifests):
            continue
        mine, others = images[images["run"] == defended], images[images["run"] == undefended]
        model = f"{mine['model'].iloc[0]} against {others['model'].iloc[0]}"
        both = mine.merge(others, on=["attack", "eps", "method", "image_id"], suffixes=("", "_other"))
        groups: Any = both.groupby(["attack", "eps", "method"], sort=False)
        for (attack, eps, method), of_both in groups:
            if method == LIME and not _explained_alike(*manifests):
                continue
            columns = [spec.outcome, spec.measure, *spec.controls]
            parts = [
                of_both[[name + ending for name in columns]].set_axis(columns, axis=1) for ending in ("", "_other")
            ]
            rows = pd.concat([part.assign(image_id=of_both["image_id"]) for part in parts], ignore_index=True)
            family = (claim, model, attack, eps)
            yield Comparison(claim, model, attack, eps, method, rows, MARGIN, family, is_blind(method))


def _between_attacks(inputs: Inputs, claim: str) -> Iterator[Comparison]:
    """Each A3 attack with the attack that it augments, on the images that the model classifies correctly."""
    if inputs.outcomes is None:
        return
    models: Any = inputs.outcomes.groupby(["run", "model"], sort=False)
    for (run, model), of_model in models:
        attacks = {str(name): rows.set_index("image_id") for name, rows in of_model.groupby("attack", sort=False)}
        for name in [name for name in attacks if A3 in name and name.replace(A3, "") in attacks]:
            base = name.replace(A3, "")
            augmented, alone = attacks[name], attacks[base]
            shared = augmented.index.intersection(alone.index)
            parts = [attacks[one].loc[shared].reset_index().assign(a3=value) for one, value in ((name, 1), (base, 0))]
            eps = float(augmented["eps"].iloc[0]) if len(augmented) else np.nan
            rows, family = pd.concat(parts, ignore_index=True), (claim, run, model)
            yield Comparison(claim, model, f"{name} against {base}", eps, "", rows, MARGIN, family)


_COMPARED = {"images": _between_images, "models": _between_models, "attacks": _between_attacks}
_NEEDS = {
    "images": "no run of `attnlab analyze` here has what it needs",
    "models": "needs runs of `attnlab analyze` of a defended and of an undefended model under the same attack, with "
    "maps of the same grid; of a model that is no checkpoint of attnlab's --defended says that it is defended",
    "attacks": "needs a run of `attnlab evaluate` of an attack with and without +a3, such as --attacks pgd10,pgd10+a3",
}


def _alike(one: Manifest, other: Manifest) -> bool:
    """Whether overlaps of clean and attacked maps of two runs can be compared."""
    settings = ({name: run["options"][name] for name in ("attack", "resize")} for run in (one, other))
    first, second = settings
    return bool(first == second and one["model"]["map_shape"] == other["model"]["map_shape"])


def _explained_alike(one: Manifest, other: Manifest) -> bool:
    """Whether LIME's areas of two runs can be compared: superpixels made, sampled and fitted alike."""
    first, second = (
        {name: value for name, value in run["options"].items() if name.startswith(LIME)} for run in (one, other)
    )
    return first == second


def margin_of(rows: pd.DataFrame) -> str:
    """Column that stands for the margin of a run's images: its log-odds where it is not recorded for all."""
    return UNRECORDED if rows[MARGIN].isna().any() else MARGIN


def is_blind(method: str) -> bool:
    """Whether a method's maps look at nothing."""
    maps = METHODS[method].maps if method in METHODS else None
    return isinstance(maps, Lazy) and maps.path.startswith("attnlab.attention.blind_maps:")
