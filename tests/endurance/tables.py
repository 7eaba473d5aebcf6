"""boxes.csv and classes.txt, mutated value by value and byte by byte, through the reader of a user's folder."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from endurance.cases import ACCEPTED, REFUSED, check_message, closest, damage_text, file_text, noted, odd
from PIL import Image

from attnlab.data import RESIZINGS, load_dataset
from attnlab.data.base import UNLABELLED, Example, FileSet, ImageSet
from attnlab.data.boxes_table import CORNERS, IMAGES
from attnlab.data.resizing import ResizedDataset, Sample
from attnlab.errors import Unusable, UserError

PICTURES = ("a.png", "b.png", "below/c.png")
WIDTH, HEIGHT = 20, 16
CLASSES = ("crane", "1", "=SUM(1)", "名前")


@cache
def _png(shade: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), shade, np.uint8)).save(held, "PNG")
    return held.getvalue()


def write_pictures(folder: Path, names: Sequence[str] = PICTURES) -> None:
    """Write small images, each of another grey."""
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_png(shade))


def read_all(
    draw: Random, name: str, root: Path, label: str | None = None
) -> tuple[ImageSet, Iterator[tuple[str, Example]]] | None:
    """Open a data set, None where it is refused, and read every image, each at a model's size too."""
    try:
        with noted() as texts:
            images = load_dataset(name, root, None if name in ("imagenet",) else "val", label)
    except UserError as error:
        check_message(error)
        return None
    finally:
        for text in texts:
            check_message(text)
    return images, _each(images, draw.choice(list(RESIZINGS)), draw.choice(("mask", "box")))


def _each(images: ImageSet, resize: str, truth: str) -> Iterator[tuple[str, Example]]:
    placed = ResizedDataset(images, (8, 8), resize, truth)
    for index, image_id in enumerate(images.image_ids):
        sample = placed[index]
        try:
            example = images.read(index)
        except Unusable as reason:
            check_message(reason)
            assert not isinstance(sample, Sample)
            continue
        assert isinstance(sample, Sample) or sample.reason
        if isinstance(sample, Sample):
            assert all(0 <= value <= 8 for box in sample.boxes for value in box), sample.boxes
            assert sample.pixels.shape == (3, 8, 8)
            assert math.isnan(sample.box_share) or 0 <= sample.box_share <= 1, sample.box_share
        yield image_id, example


def csv_case(draw: Random, folder: Path) -> str:
    """Write a boxes.csv, perhaps mutated, and hold every box and label that is read to what was written."""
    write_pictures(folder)
    by_name = draw.random() < 0.4
    labels = CLASSES[:1] + CLASSES[2:] if by_name else tuple(map(str, range(3)))
    header = [draw.choice(IMAGES), "label", *draw.choice(CORNERS)]
    rows = [_row(draw, labels) for _ in range(draw.randint(1, 6))]
    mutations = draw.choice((0, 0, 1, 1, 2, 3))
    kept = [list(row) for row in rows]
    for _ in range(mutations):
        _mutate(draw, header, rows)
    untouched = mutations == 0
    if by_name or draw.random() < 0.2:
        _write_classes(draw, folder, untouched=untouched)
    separator = draw.choice((",", ",", ",", ";", "\t"))
    held = io.StringIO(newline="")
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(held, delimiter=separator, lineterminator=draw.choice(("\n", "\r\n")), quoting=quoting).writerows(
        [header, *rows]
    )
    content = file_text(held.getvalue())
    damaged = draw.random() < 0.4
    changed, harmless = damage_text(draw, content) if damaged else (content, True)
    (folder / "boxes.csv").write_bytes(changed)
    rule = draw.choice((None, "largest", "each"))
    read = read_all(draw, "folder", folder, rule)
    if read is None:
        assert not (untouched and harmless) or _ambiguous(kept, rule), "a whole boxes.csv was refused"
        return REFUSED
    images, examples = read
    assert isinstance(images, FileSet)
    expected = _expected(header, rows, separator)
    found = defaultdict(int)
    for image_id, example in examples:
        image = image_id.rpartition("#")[0] if rule == "each" and "#" in image_id else image_id
        assert all(map(math.isfinite, (value for value in example.boxes.flatten().tolist() if value == value)))
        if harmless:
            texts = {text.strip() for text, _ in expected[image]}
            assert _named(example.label, images.classes) & texts or not texts - {""}, f"{example.label} of {texts}"
            for box in example.boxes.tolist():
                assert closest(box, [box for _, box in expected[image]]), f"box {box} of {expected[image]}"
        found[image] += 1
    if untouched and harmless and rule == "each":
        assert found == {image: len(written) for image, written in expected.items()}
    return ACCEPTED


def _row(draw: Random, labels: Sequence[str]) -> list[str]:
    x0, y0 = draw.randint(0, WIDTH - 3), draw.randint(0, HEIGHT - 3)
    x1, y1 = draw.randint(x0 + 2, WIDTH), draw.randint(y0 + 2, HEIGHT)
    return [
        draw.choice(PICTURES),
        draw.choice(labels),
        *(f"{value}{draw.choice(('', '.0', '.25'))}" for value in (x0, y0, x1, y1)),
    ]


def _mutate(draw: Random, header: list[str], rows: list[list[str]]) -> None:
    row = draw.choice(rows)
    match draw.randrange(6):
        case 0 if row:
            row.pop(draw.randrange(len(row)))
        case 1:
            row.insert(draw.randint(0, len(row)), odd(draw))
        case 2:
            rows.append(list(row))
        case 3 if draw.random() < 0.5:
            header[draw.randrange(len(header))] = draw.choice((odd(draw), "mask", "x0", "label_name", "label_index"))
        case _ if row:
            row[draw.randrange(len(row))] = odd(draw)


def _write_classes(draw: Random, folder: Path, *, untouched: bool) -> None:
    names = [CLASSES[0], CLASSES[2], CLASSES[3]]
    if not untouched and draw.random() < 0.3:
        names[draw.randrange(3)] = odd(draw)
    content = file_text("\n".join(names))
    if not untouched and draw.random() < 0.2:
        content, _ = damage_text(draw, content)
    (folder / "classes.txt").write_bytes(content)


def _expected(
    header: list[str], rows: Sequence[Sequence[str]], separator: str
) -> dict[str, list[tuple[str, list[float]]]]:
    """Label and box of each row, by its image: the columns found by their headings, NaN where a number is missing."""
    heads = [head.strip().lower() for head in header]
    corners = next((names for names in CORNERS if {*names} <= {*heads}), ())
    image_at = next((heads.index(name) for name in IMAGES if name in heads), 0)
    label_at = next((place for place, head in enumerate(heads) if head in ("label", "label_name", "label_index")), 1)
    found = defaultdict(list)
    for row in rows:
        cells = [*row, *[""] * len(header)]
        words = [cells[heads.index(name)].strip() for name in corners]
        number: Callable[[str], float] = lambda word: float(word or "nan")  # noqa: E731
        try:
            box = [number(word if separator == "," else word.replace(",", ".")) for word in words]
        except ValueError:
            box = []
        found[cells[image_at].strip().replace("\\", "/").removeprefix("./")].append((cells[label_at], box))
    return found


def _named(label: int, classes: Sequence[str]) -> set[str]:
    """Texts that stand for a label."""
    if label == UNLABELLED:
        return {""}
    return {str(label), f"{label}.0", *([classes[label]] if label < len(classes) else [])}


def _ambiguous(rows: Sequence[Sequence[str]], rule: str | None) -> bool:
    """Whether even a whole table may be refused."""
    return all(float(value) <= 1 for row in rows for value in row[2:])
