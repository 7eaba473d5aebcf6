"""Run commands of attnlab in a folder; each is a fork of one process that has everything imported already.

    python -m benchmarks.golden.worker FOLDER < JOBS    (JSON: a list of {"words": [...], "until": FILE})

A process for each would take most of its seconds to import torch. Prints one JSON line for each command.
"""

import hashlib
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT = 300.0  # seconds after which a command is killed
LEAST = 4000  # bytes from which on a file holds results, and not only a head


def main() -> None:
    folder = Path(sys.argv[1])
    _import_all()
    for job in json.load(sys.stdin):
        print(json.dumps(_run(job["words"], job["until"], folder)), flush=True)


def _import_all() -> None:
    """Import every module of the package and its command line, so that forks need not."""
    for name in ("attnlab", "attnlab_cli"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                with suppress(ImportError):  # of something optional
                    importlib.import_module(module.name)


def _run(words: list[str], until: str, folder: Path) -> dict[str, Any]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as told:
        child = os.fork()
        if child == 0:
            _become(words, folder, Path(told))
        code, interrupted, size = None, not until, 0
        while code is None:
            if not interrupted:
                before, size = size, _size(folder, until)
                if size > LEAST and size == before:  # it is written
                    os.kill(child, signal.SIGINT)
                    interrupted = True
            if time.monotonic() - start > LIMIT:
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if ended else time.sleep(0.005)
        files = {path.name: path.read_text(errors="replace") for path in Path(told).iterdir()}
    drawn = json.loads(files.get("drawn", "[]"))
    seconds = round(time.monotonic() - start, 1)
    return {"code": code, "out": files["out"], "err": files["err"], "drawn": drawn, "seconds": seconds}


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def _become(words: list[str], folder: Path, told: Path) -> None:
    """Be the command; does not return."""
    for number, name in enumerate((os.devnull, told / "out", told / "err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["attnlab", *words]
    drawn = _watch_figures()
    code: Any = 0
    try:
        importlib.import_module("attnlab_cli").main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    (told / "drawn").write_text(json.dumps(drawn))
    os._exit(code if isinstance(code, int) else int(bool(code)))


def _watch_figures() -> list[dict[str, list[str]]]:
    """A list that gets, once a figure is saved, what `drawn_in` says of it."""
    from matplotlib.figure import Figure

    drawn: list[dict[str, list[str]]] = []
    seen: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *arguments: Any, **options: Any) -> None:
        save(figure, *arguments, **options)
        if not any(figure is one for one in seen):  # it is saved in two formats
            seen.append(figure)
            drawn.append(drawn_in(figure))

    Figure.savefig = saved
    return drawn


def drawn_in(figure: Any) -> dict[str, list[str]]:
    """The data that a figure shows, an array each as shape, sum and hash of six digits; and its words."""
    import numpy as np
    from matplotlib.text import Text

    arrays = []
    for axes in figure.axes:
        arrays += [(line, line.get_xydata()) for line in axes.lines]
        arrays += [(image, image.get_array()) for image in axes.images]
        arrays += [(marks, marks.get_offsets()) for marks in axes.collections]
        arrays += [(area, path.vertices) for area in axes.collections for path in area.get_paths()]
        arrays += [(patch, patch.get_patch_transform().transform(patch.get_path().vertices)) for patch in axes.patches]
    lines = []
    for artist, values in arrays:
        kept = np.array([float(f"{value:.6g}") for value in np.ma.filled(values, 0).astype(float).flat])
        digest = hashlib.sha256((kept + 0.0).tobytes()).hexdigest()[:12]
        lines.append(f"{type(artist).__name__} {np.shape(values)} sum {kept.sum():.6g} {digest}")
    words = [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]
    return {"arrays": lines, "words": words}


if __name__ == "__main__":
    main()
