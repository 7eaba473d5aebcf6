"""How far records of the same images lie apart, value by value, and how far they may."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.words import as_fraction

#: Largest difference of a number from the recorded one, as a share of the largest one recorded under its name. In the
#: same surroundings a record comes out to the byte, its batch being the same: a millionth is some roundings of float32.
SAME = 1e-6
#: Elsewhere sums are rounded in another order, by the digits of the precision: a thousand roundings of float32 or
#: float64, a dozen of the short ones.
ELSEWHERE = {"fp64": 1e-9, "fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "bf16": 1e-1}
#: Elsewhere the sign of a tiny gradient may be another, and with it an attacked image and all that is seen of it: so
#: large a share of the records may differ in what an attack decides. What a threshold decides about a clean image
#: (superpixels, equal ranks) is given the same share.
MAY_DIFFER = 0.1
EXACT = frozenset(["image_id", "model", "skipped", "label", "attack", "pixels_sha256", "dropped_boxes"])  # everywhere
ADDED = frozenset(["margin", "pixels_sha256"])  # which older runs do not have
ATTACKED = "attacked"  # what begins the name of a value that an attack decides

Record = Mapping[str, Any]
Names = Mapping[str, list[str]]  # what the numbers of lists of records stand for, by the lists' names


@dataclass
class Compared:
    """One value of all sampled records beside what was recorded.

    Attributes:
        name: Such as `4/255 grad-cam map`.
        tolerance: Largest difference allowed, as a share of the largest number recorded; 0: it must be equal.
        may_differ: Number of records in which it may lie farther apart all the same.
    """

    name: str
    tolerance: float
    may_differ: int = 0
    compared: int = 0  # records that have it
    greatest: float = 0.0  # difference, as a share of the largest number recorded; infinite where one has no number
    differing: list[str] = field(default_factory=list)  # images beyond the tolerance

    @property
    def holds(self) -> bool:
        """Whether no more records differ than may."""
        return len(self.differing) <= self.may_differ


def compare_records(pairs: list[tuple[Record, Record]], names: Names, precision: str, *, same: bool) -> list[Compared]:
    """Compare recorded with recomputed records; `same` surroundings are held to closer tolerances."""
    values: dict[str, list[tuple[str, list[Any], list[Any]]]] = {}
    for before, now in pairs:
        ours, theirs = ({name: list(_leaves(one)) for name, one in _named(record, names)} for record in (before, now))
        for name in dict.fromkeys([*ours, *theirs]):
            values.setdefault(name, []).append((before["image_id"], ours.get(name, []), theirs.get(name, [])))
    found = [_compared(name, rows, precision, same=same) for name, rows in values.items()]
    return [value for value in found if value.compared]


def _compared(name: str, rows: list[tuple[str, list[Any], list[Any]]], precision: str, *, same: bool) -> Compared:
    numbers = [abs(one) for _, ours, _ in rows for one in ours if isinstance(one, float) and math.isfinite(one)]
    scale = max(numbers, default=0.0) or 1.0
    attacked, exact = name.startswith(ATTACKED) or " " in name, name.split(" ")[-1] in EXACT
    is_number = any(isinstance(one, float) for _, ours, theirs in rows for one in (*ours, *theirs))
    tolerance = 0.0 if exact or not is_number else SAME if same else ELSEWHERE[precision]
    loose = not same and not exact and (attacked or not is_number)
    found = Compared(name, tolerance, int(MAY_DIFFER * len(rows)) if loose and name != "prediction" else 0)
    for image_id, ours, theirs in rows:
        if ours == [None] and (theirs == [None] or name in ADDED):
            continue
        gap = _gap(ours, theirs) / (1 if not is_number else scale)
        found.compared += 1
        found.greatest = max(found.greatest, gap)
        if gap > tolerance:
            found.differing.append(image_id)
    return found


def _gap(ours: list[Any], theirs: list[Any]) -> float:
    """The largest difference of two lists of plain values; infinite where it is none of numbers."""
    if len(ours) != len(theirs):
        return math.inf
    gaps = [0.0]
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, float) and isinstance(other, float):
            both = math.isnan(one) and math.isnan(other)
            gap = 0.0 if one == other or both else abs(one - other)
            gaps.append(math.inf if math.isnan(gap) else gap)
        elif one != other:
            gaps.append(math.inf)
    return max(gaps)


def _named(record: Any, names: Names, before: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a record under their names: one for each eps, method and attack."""
    for name, value in record.items():
        if name in names and isinstance(value, list):
            for which, inner in zip(names[name], value, strict=False):
                yield from _named(inner, names, f"{before} {which}".strip())
            if len(value) != len(names[name]):
                yield f"{before} number of {name}".strip(), len(value)
        elif isinstance(value, dict):
            yield from _named(value, names, f"{before} {name}".strip())
        else:
            yield f"{before} {'map' if name == 'values' else name}".strip(), value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield len(value)
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def names_in(manifest: Mapping[str, Any], methods: list[str]) -> Names:
    """What the lists of a run's records hold: eps or attack, and method."""
    options = manifest["options"]
    if manifest["kind"] == "evaluate":
        return {"attacks": [f"{ATTACKED} {name}" if name != "clean" else name for name in options["attacks"]]}
    budgets = ["corrupted" if eps is None else as_fraction(eps) for eps in options["eps"]]
    return {"adversarial": [f"{ATTACKED} {eps}" for eps in budgets], "maps": methods}
