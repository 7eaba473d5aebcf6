"""Annotations of VOC, COCO, YOLO and ImageNet, mutated value by value and byte by byte, through their readers."""

import copy
import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any
from xml.sax.saxutils import escape

from endurance.cases import ACCEPTED, NUMBERS, REFUSED, closest, damage_text, file_text, odd
from endurance.tables import HEIGHT, PICTURES, WIDTH, read_all, write_pictures

NAMES = ("crane", "=SUM(1)", "名前")
Box = tuple[float, float, float, float]
#: values that a program writes into a JSON in place of the right one
VALUES: tuple[Any, ...] = (
    0, -1, 1, 0.5, 1e308, -1e308, 10**30, math.nan, math.inf, -math.inf, None, True, False, "", "1", "a", "\ud800", [],
    {}, [0, 0, 0, 0], [1, 2, 3], ["1", "2", "3", "4"], [[1, 1, 5, 1, 5, 5]], {"size": [16, 20], "counts": [1, 2, 3]},
)  # fmt: skip


def _boxes(draw: Random) -> list[tuple[int, Box]]:
    """Class and corners of the objects of an image, half-open pixels."""
    found = []
    for _ in range(draw.randint(1, 3)):
        x0, y0 = draw.randint(0, WIDTH - 3), draw.randint(0, HEIGHT - 3)
        box = (x0, y0, draw.randint(x0 + 2, WIDTH), draw.randint(y0 + 2, HEIGHT))
        found.append((draw.randrange(len(NAMES)), box))
    return found


def _hold(
    draw: Random, name: str, root: Path, written: dict[str, list[tuple[str, Box]]] | None, counts: dict[str, int] | None
) -> str:
    """Read every object as a sample and hold it to what was written; of a whole annotation `counts` are its objects."""
    read = read_all(draw, name, root, "each" if name != "imagenet" else None)
    if read is None:
        assert counts is None, "a whole annotation was refused"
        return REFUSED
    images, examples = read
    found = Counter[str]()
    for image_id, example in examples:
        image = image_id.rpartition("#")[0] or image_id
        found[image] += 1
        assert 0 <= example.label < len(images.classes)
        assert all(map(math.isfinite, example.boxes.flatten().tolist())), example.boxes
        if written is not None:
            of_class = [box for label, box in written[image] if label == images.classes[example.label]]
            for box in example.boxes.tolist():
                assert closest(box, of_class), f"{image}: {box} of {of_class}"
    assert counts is None or name == "imagenet" or found == counts
    return ACCEPTED


def voc_case(draw: Random, folder: Path) -> str:
    """An XML for each image."""
    write_pictures(folder)
    mutated = draw.random() < 0.75
    written: dict[str, list[tuple[str, Box]]] = {}
    chosen = draw.choice(PICTURES)
    for picture in PICTURES:
        objects = [(NAMES[label], box) for label, box in _boxes(draw)]
        values = [[name, *map(str, (box[0] + 1, box[1] + 1, box[2], box[3]))] for name, box in objects]
        size = [str(WIDTH), str(HEIGHT)]
        if mutated and picture == chosen:
            line = draw.choice([*values, size])
            line[draw.randrange(len(line))] = odd(draw)
        stem = picture.removesuffix(".png")
        written[stem] = list(_corners(values))
        content = file_text(_xml(values, size))
        if mutated and picture == chosen and draw.random() < 0.5:
            content, _ = damage_text(draw, content)
            written = {}
        (folder / f"{stem}.xml").write_bytes(content)
    exact = written if len(written) == len(PICTURES) else None
    return _hold(draw, "voc", folder, exact, None if mutated else _counts(written))


def _counts(written: dict[str, list[tuple[str, Box]]]) -> dict[str, int]:
    return {image: len(objects) for image, objects in written.items()}


def _corners(values: Iterable[list[str]]) -> Iterable[tuple[str, Box]]:
    for name, *words in values:
        try:
            x0, y0, x1, y1 = map(float, words)
        except ValueError:
            continue
        yield name.strip().replace("\r\n", "\n"), (x0 - 1, y0 - 1, x1, y1)


def _xml(values: Iterable[list[str]], size: list[str]) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{escape(name)}</name><bndbox>"
        + "".join(f"<{tag}>{escape(word)}</{tag}>" for tag, word in zip(tags, words, strict=True))
        + "</bndbox></object>"
        for name, *words in values
    )
    width, height = map(escape, size)
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>\n{objects}</annotation>"


def coco_case(draw: Random, folder: Path) -> str:
    """A JSON of instances."""
    write_pictures(folder)
    images = [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(PICTURES)]
    annotations = [
        {"id": len(PICTURES) * k, "image_id": k, "category_id": 3 * label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for k in range(len(PICTURES))
        for label, (x0, y0, x1, y1) in _boxes(draw)
    ]
    for one in annotations:
        if draw.random() < 0.3:
            x, y, width, height = one["bbox"]
            one["segmentation"] = [[x, y, x + width, y, x + width, y + height]]
        if draw.random() < 0.3:
            one["area"] = one["bbox"][2] * one["bbox"][3] / 2
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3 * k + 1, "name": name} for k, name in enumerate(NAMES)],
    }
    mutations = draw.choice((0, 1, 1, 2))
    content = copy.deepcopy(content)
    for _ in range(mutations):
        mutate(draw, content)
    data = file_text(json.dumps(content, ensure_ascii=draw.random() < 0.5))
    damaged = draw.random() < 0.3
    if damaged:
        data, harmless = damage_text(draw, data)
        damaged = not harmless
    (folder / "instances_val.json").write_bytes(data)
    counts = Counter(PICTURES[one["image_id"]] for one in annotations)
    return _hold(
        draw, "coco", folder, None if damaged else _instances(content), None if mutations or damaged else counts
    )


def mutate(draw: Random, content: Any) -> None:
    """Replace, leave out or repeat one value, wherever it stands."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(content[key], dict | list) and draw.random() < 0.9:
            content = content[key]
            continue
        match draw.randrange(6):
            case 0:
                del content[key]
            case 1 if isinstance(content, list):
                content.append(copy.deepcopy(content[key]))
            case 2 if isinstance(content, dict):
                content[draw.choice(("id", "name", "bbox", "x", "segmentation", "iscrowd"))] = content.pop(key)
            case _:
                content[key] = draw.choice(VALUES)
        return


def _instances(content: Any) -> dict[str, list[tuple[str, Box]]]:
    """Class and corners of every annotation that has four numbers, by the name of its image."""
    lists = {key: content.get(key, []) for key in ("images", "annotations", "categories")}
    lists = {
        key: [one for one in value if isinstance(one, dict)] for key, value in lists.items() if isinstance(value, list)
    }
    classes = [(one.get("id"), one.get("name")) for one in lists.get("categories", [])]
    found: dict[str, list[tuple[str, Box]]] = {}
    for image in lists.get("images", []):
        name = image.get("file_name")
        objects = found.setdefault(name, []) if isinstance(name, str) else []
        for one in lists.get("annotations", []):
            box = one.get("bbox")
            if one.get("image_id") != image.get("id"):
                continue
            known = [label for key, label in classes if key == one.get("category_id")]
            if isinstance(box, list) and len(box) == 4 and all(type(value) in (int, float) for value in box):
                x, y, width, height = box
                sides = image.get("width"), image.get("height")
                sized = all(type(side) in (int, float) and 0 < side < 1e9 and side == int(side) for side in sides)
                scale = [own / side if sized else 1 for own, side in zip((WIDTH, HEIGHT), sides, strict=True)]
                corners = x * scale[0], y * scale[1], (x + width) * scale[0], (y + height) * scale[1]
                objects += [(label, corners) for label in known]
            for polygons in [one.get("segmentation")]:
                if isinstance(polygons, list) and polygons:
                    objects += [(label, _frame(polygons)) for label in known if _frame(polygons)]
    return found


def _frame(polygons: list[Any]) -> Any:
    try:
        values = [float(value) for points in polygons if len(points) >= 6 for value in points]
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    except (TypeError, ValueError):
        return None


def yolo_case(draw: Random, folder: Path) -> str:
    """A .txt for each image, and class names in a classes.txt or a data.yaml."""
    write_pictures(folder)
    written: dict[str, list[tuple[str, Box]]] = {}
    mutated = draw.random() < 0.7
    chosen, where = draw.choice(PICTURES), draw.choice(("labels", "names"))
    exact = True
    for picture in PICTURES:
        lines = []
        for label, (x0, y0, x1, y1) in _boxes(draw):
            centre = ((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)
            lines.append([str(label), *map(repr, centre)])
        if mutated and where == "labels" and picture == chosen:
            line = draw.choice(lines)
            line[draw.randrange(len(line))] = odd(draw)
        written[picture] = [one for line in lines for one in _fractions(line)]
        content = file_text("\n".join(map(" ".join, lines)))
        if mutated and where == "labels" and picture == chosen and draw.random() < 0.4:
            content, exact = damage_text(draw, content)[0], False
        (folder / picture).with_suffix(".txt").write_bytes(content)
    names = list(NAMES)
    if mutated and where == "names":
        names[draw.randrange(3)], exact = odd(draw), False
    in_yaml = draw.random() < 0.5
    listed = json.dumps({"names": names, "val": "."}) if in_yaml else "\n".join(names)
    content = file_text(listed)
    if mutated and where == "names" and draw.random() < 0.4:
        content, _ = damage_text(draw, content)
    (folder / ("data.yaml" if in_yaml else "classes.txt")).write_bytes(content)
    return _hold(draw, "yolo", folder, written if exact else None, None if mutated else _counts(written))


def _fractions(line: list[str]) -> Iterable[tuple[str, Box]]:
    try:
        x, y, width, height = map(float, " ".join(line).split()[1:])
        name = NAMES[int(float(line[0]))]
    except (ValueError, IndexError, OverflowError):
        return
    corners = (x - width / 2) * WIDTH, (y - height / 2) * HEIGHT, (x + width / 2) * WIDTH, (y + height / 2) * HEIGHT
    yield name, corners


def imagenet_case(draw: Random, folder: Path) -> str:
    """LOC_val_solution.csv and LOC_synset_mapping.txt beside three images."""
    stems = [f"ILSVRC2012_val_{number:08d}" for number in (1, 2, 3)]
    write_pictures(folder, [f"val/{stem}.JPEG" for stem in stems])
    wnids = ["n01440764", "n01443537", "n01484850"]
    rows, written = [["ImageId", "PredictionString"]], {}
    for stem in stems:
        wnid = draw.choice(wnids)
        boxes = [box for _, box in _boxes(draw)]
        words = [str(word) for x0, y0, x1, y1 in boxes for word in (wnid, x0, y0, x1 - 1, y1 - 1)]
        written[stem] = [(wnid, box) for box in boxes]
        rows.append([stem, " ".join(words)])
    mutated = draw.random() < 0.7
    listing = "\n".join(f"{wnid} {wnid}" for wnid in wnids)
    if mutated and draw.random() < 0.7:
        words = rows[draw.randint(1, 3)][1].split()
        words[draw.randrange(len(words))] = draw.choice(NUMBERS) if draw.random() < 0.7 else odd(draw)
        rows[draw.randint(0, 3)][draw.randrange(2)] = " ".join(words)
    content = file_text("\n".join(map(",".join, rows)))
    if mutated and draw.random() < 0.4:
        content, _ = damage_text(draw, content)
    elif mutated:
        listing = file_text(listing).decode() + draw.choice(
            ("\n\n", "\nn01440764 again", "\n" + odd(draw).replace("\ud800", ""))
        )
    (folder / "LOC_val_solution.csv").write_bytes(content)
    (folder / "LOC_synset_mapping.txt").write_bytes(file_text(listing))
    return _hold(draw, "imagenet", folder, None if mutated else written, None if mutated else _counts(written))
