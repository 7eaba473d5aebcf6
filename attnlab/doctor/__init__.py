"""What `attnlab doctor` looks at: software, machine, data, weights, places to write to. Plain findings, no output."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from attnlab.doctor import data, machine, places, software
from attnlab.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(
    *,
    device: str = "auto",
    roots: Sequence[Path] = (),
    dataset: str | None = None,
    model: str | None = None,
    out: Path = Path("runs"),
    trust_code: bool = False,
) -> Iterator[Finding]:
    """Look at everything a run depends on; one finding after the other, as it is made.

    Args:
        device: As for --device.
        roots: Folders to look for data sets in.
        dataset: The one to look for; by default any.
        model: One whose weights have to be there.
        out: Where runs are to be written.
        trust_code: As of `load_model`.
    """
    yield from software.software()
    yield from machine.machine(device)
    yield from data.data(roots, dataset)
    yield from places.weights(model, trust_code=trust_code)
    yield places.output(out)
