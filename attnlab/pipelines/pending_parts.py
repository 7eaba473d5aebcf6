"""The images of a run, part by part: what earlier sessions left to do, and its records as they come."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnlab.data.resizing import Batch
from attnlab.runs import Run

Progress = Callable[[int], None]
Row = dict[str, Any]
Rows = dict[int, Row]  # records by the images' index in the data set
Done = tuple[int, int]  # number of a part, and of images that are done of it
Parts = Mapping[int, list[int]]  # indices of each part's images, by the part's number


def quietly(_count: int) -> None:
    """Show no progress."""


def skipped_rows(batch: Batch) -> Rows:
    """Records of a batch's images that cannot be used."""
    return {index: {"image_id": image_id, "skipped": reason} for index, image_id, reason in batch.skipped}


def cut_in_parts(used: Sequence[int], size: int, models: int = 1) -> dict[int, list[int]]:
    """The parts of a run's records, of so many images at most, those of one model behind those of another."""
    pieces = [list(used[at : at + size]) for at in range(0, len(used), size)]
    return dict(enumerate(pieces * models))


@dataclass(frozen=True)
class PendingParts:
    """The parts of a run's records that are missing."""

    run: Run
    missing: dict[int, list[int]]  # number of each part that is not whole, and the indices of its images
    known: dict[int, Rows]  # what an earlier session had done of them; let go as soon as a part is whole
    done: list[Done]  # of every part

    @property
    def finished(self) -> set[int]:
        """Indices of the images that are done though their part is not."""
        return {position for rows in self.known.values() for position in rows}

    def among(self, numbers: Collection[int]) -> "PendingParts":
        """Those of these parts alone."""
        missing = {number: part for number, part in self.missing.items() if number in numbers}
        return PendingParts(self.run, missing, self.known, self.done)

    def batches(self, size: int) -> list[list[int]]:
        """Indices of each batch that is needed.

        They are whole batches, also where a part of one is known: batch composition changes the last float digits.
        """
        cut = (
            (number, part[at : at + size]) for number, part in self.missing.items() for at in range(0, len(part), size)
        )
        return [batch for number, batch in cut if not self.known[number].keys() >= set(batch)]

    def complete(self, records: Iterator[Rows]) -> Iterator[Done]:
        """Write the missing parts from records that come in the batches' order, each kept as soon as it is there.

        Yields the number of a part, and how many images more of it are done.
        """
        for number, part in self.missing.items():
            rows = self.known.pop(number)
            while len(rows) < len(part):
                new = {position: row for position, row in next(records).items() if position not in rows}
                self.run.append(number, list(new.values()))
                rows |= new
                yield number, len(new)
            self.run.write_part(number, [rows[position] for position in part])
        for _ in records:  # nothing is left but their end, where reading reports what it decided
            pass


def pending_parts(run: Run, image_ids: Sequence[str], parts: Parts) -> PendingParts:
    """Find which of some parts of a run are missing, and what is known of them; `image_ids` are those of all images."""
    missing = {number: part for number, part in parts.items() if not run.part(number).exists()}
    for number in parts.keys() - missing.keys():
        if run.image_ids(number) != [image_ids[position] for position in parts[number]]:
            raise run.damaged(run.part(number), "it holds other images")
    known: dict[int, Rows] = {}
    for number, part in missing.items():
        positions = {image_ids[position]: position for position in part}
        rows = {positions.get(row["image_id"]): row for row in run.unfinished(number)}
        known[number] = {position: row for position, row in rows.items() if position is not None}
    done = [(number, len(known.get(number, part))) for number, part in parts.items()]
    return PendingParts(run, missing, known, done)
