"""A folder of images, and the same files in archives and stores."""

import tarfile
import zipfile
from pathlib import Path

import fsspec
import numpy as np
from PIL import Image

from attnlab.data.resizing import ResizedDataset, Sample


def lay_images(root: Path) -> Path:
    """Make a folder of images: a name beyond ASCII, names whose order depends on the slash, a truncated image."""
    (root / "a").mkdir(parents=True)
    names = ["a/one.png", "a-b.png", "é.png", "cut.png", "free.png"]
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (40 + number, 30, 3), np.uint8)
        Image.fromarray(noise).save(root / name)
    (root / "cut.png").write_bytes((root / "cut.png").read_bytes()[:2000])
    rows = "".join(f"{name},{number},1,2,20,30\n" for number, name in enumerate(names[:-1]))
    (root / "boxes.csv").write_text(f"image,label,x0,y0,x1,y1\n{rows}")
    return root


def put_in_memory(folder: Path, name: str) -> str:
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"memory://{name}"


def packed(folder: Path, ending: str, *, wrapper: str = "") -> Path:
    """An archive of the folder's files, in a folder of their own if one is named."""
    path = folder.parent / f"packed-{wrapper.replace('/', '-')}{ending}"
    files = [file for file in sorted(folder.rglob("*"), reverse=True) if file.is_file()]
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path(wrapper) / file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if ending in (".tgz", ".tar.gz") else "w") as archive:
            for file in files:
                archive.add(file, Path(wrapper) / file.relative_to(folder))
    return path


def placed(folder: Path, place: str) -> str:
    """The folder's files elsewhere, as a user names it."""
    if place == "memory":
        return put_in_memory(folder, f"bucket-{folder.parent.name}")
    if place == "file":
        return f"file://{folder}"
    if place in ("zip in memory", "chained zip"):
        path = packed(folder, ".zip", wrapper="inner/deep" if place == "chained zip" else "")
        name = f"/archives-{folder.parent.name}/{path.name}"
        fsspec.filesystem("memory").pipe_file(name, path.read_bytes())
        return f"memory:/{name}" if place == "zip in memory" else f"zip://inner/deep::memory:/{name}"
    return str(packed(folder, f".{place.split()[-1]}", wrapper="one/two" if "wrapped" in place else ""))


def facts(images) -> tuple[object, ...]:
    """All that a run depends on: names, labels, fingerprint, and of each image its pixels or why it has none."""
    read = []
    for sample in (ResizedDataset(images, (16, 16))[index] for index in range(len(images.image_ids))):
        read.append((sample.pixels.tolist(), sample.boxes.tolist()) if isinstance(sample, Sample) else sample.reason)
    labels = [images.label_of(index) for index in range(len(images.image_ids))]
    return list(images.image_ids), labels, images.fingerprint(), read
