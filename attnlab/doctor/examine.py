"""All checks, one after the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnlab.doctor.data import data
from attnlab.doctor.finding import Finding
from attnlab.doctor.machine import machine
from attnlab.doctor.places import output, weights
from attnlab.doctor.software import software


def examine(
    *,
    device: str = "auto",
    roots: Sequence[Path] = (),
    dataset: str | None = None,
    model: str | None = None,
    out: Path = Path("runs"),
    trust_code: bool = False,
) -> Iterator[Finding]:
    """Look at everything a run depends on.

    Args:
        device: As for --device.
        roots: Folders to look for data sets in.
        dataset: The one to look for; by default any.
        model: One whose weights have to be there.
        out: Where runs are to be written.
        trust_code: As of `load_model`.

    Yields:
        One finding after the other, as it is made.
    """
    yield from software()
    yield from machine(device)
    yield from data(roots, dataset)
    yield from weights(model, trust_code=trust_code)
    yield output(out)
