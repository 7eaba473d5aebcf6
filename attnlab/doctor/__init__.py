"""Examine software, machine, data, weights and folders to write to, for `attnlab doctor`: findings, no output."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnlab.doctor import data, drawing, machine, places, software
from attnlab.doctor.finding import Finding
from attnlab.stores import Root

__all__ = ["Finding", "examine"]


def examine(
    *,
    device: str = "auto",
    roots: Sequence[Root] = (),
    dataset: str | None = None,
    split: str | None = None,
    label: str | None = None,
    model: str | None = None,
    out: Path = Path("runs"),
    trust_code: bool = False,
) -> Iterator[Finding]:
    """Look at everything a run depends on, in roots given too; one finding after the other, as it is made.

    `roots` are folders, archives or URLs in which to look for the dataset, by default any; of one that is named, its
    first images are drawn with their ground truth to a file in OUT/doctor, of that split and with that rule for
    labels. Weights of `model` have to be there; runs go to `out`.
    """
    yield from software.software()
    yield from machine.machine(device)
    yield from data.data(roots, dataset, split, label)
    if dataset is not None:
        yield from drawing.drawn(dataset, roots, split, label, out)
    yield from places.weights(model, trust_code=trust_code)
    yield places.output(out)
