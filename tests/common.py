"""What several tests call: the line a user reads, a picture, a user's own model."""

import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import attnlab_cli
from attnlab.config import AnalyzeConfig
from attnlab.data.base import ImageSet
from attnlab.doctor import Finding
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.pending_parts import Progress, quietly
from attnlab.report.tables import TABLES
from attnlab.run_opening import open_run
from attnlab.runs import Run
from attnlab.schema import ATTENTION


def tables_of(kind: str, *has: str) -> list[str]:
    """Tables that a run of a command has unasked, if it has that of what tables need."""
    return [name for name, spec in TABLES.items() if spec.kind == kind and {*has} >= {*spec.needs} and not spec.option]


class Printed(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a failed command; progress lines before it aside."""
        progress = r"\S+( \S+)?: \d+ images?|(shard \d+/\d+: )?\d+( of \d+)? images?|epoch \d+ of \d+"
        lines = [line for line in self.err.splitlines() if not re.match(progress, line)]
        assert self.code == 1
        assert len(lines) == 1
        assert lines[0].startswith("Error: ")
        return lines[0].removeprefix("Error: ")


def last(message: Printed) -> str:
    """The one line of the error; warnings and progress before it aside."""
    assert message.code == 1, message
    assert "Traceback" not in message.err
    (line,) = [line for line in message.err.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


def run_here(words: Iterable[object]) -> int:
    """Run the command in this process and return its exit code; signals, hook and arguments are as before then."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    borrowed = mock.patch.multiple(sys, argv=["attnlab", *map(str, words)], unraisablehook=sys.unraisablehook)
    try:
        with borrowed:
            attnlab_cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        for number, handler in handlers.items():  # which a command, being about to end its process, leaves changed
            signal.signal(number, handler)
    return 0


def states(findings: Iterable[Finding]) -> dict[str, str]:
    """State of each finding of the doctor, by its name."""
    return {finding.name: finding.state for finding in findings}


def error_of(call: Callable[..., object], *arguments: object) -> str:
    """The one line of the error that a call ends in."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def begun_run(folder: Path, *, alone: bool = True) -> Run:
    """An analysis of which nothing is recorded yet."""
    attack = {
        "objective": "least-likely",
        "steps": 1,
        "step_size": None,
        "restarts": 1,
        "sigma": None,
        "label_smoothing": 0.0,
    }
    options = {"images": 2, "eps": [0.1], "methods": ["grad-cam"], "attack": attack}
    options |= {"target": {"grad-cam": "true"}, "resize": "squash"}
    data, model = {"has_boxes": True, "classes": []}, {"input_size": [4, 4], "map_shape": [2, 2], "layer": "last"}
    manifest = {"kind": "analyze", "options": options, "data": data, "model": model, "features": [8]}
    return open_run(folder, manifest, ATTENTION, alone=alone)


def analyze_images(
    classifier: Classifier,
    images: ImageSet,
    out: Path,
    *,
    positions: Sequence[int] | None = None,
    progress: Progress = quietly,
    **options: Any,
) -> Run:
    """An analysis from Python, of these images by this classifier, in this process; options of `AnalyzeConfig`."""
    how = {"out": out, "batch_size": 8, "lime_batch_size": 32, "workers": 0} | options
    return analyze(AnalyzeConfig.of(**how), classifier, images, positions=positions, progress=progress)


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])).astype(np.uint8)
    return Image.fromarray(np.stack([ramp * 3, ramp, 255 - ramp], 2)).convert(mode)


def refused(*arguments: object) -> str:
    """The one line of the error that `load_model` ends in."""
    return error_of(load_model, *arguments)


def pixels(classifier: Classifier, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, classifier.channels, *classifier.input_size, generator=generator)


def logits(classifier: Classifier) -> Tensor:
    with torch.no_grad():
        return classifier(pixels(classifier))


#: a user's own model file
NET = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Options:
    width: int = 4

class Net(nn.Module):
    input_size = (12, 16)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)

    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.last = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.last(self.body(x)).mean((2, 3)))

def build():
    return Net(Options().width)

def wide():
    return Net(6)

def none():
    pass

def broken():
    return build() + 1

def fixed():
    net = build()
    net.input_size = None
    net.forward = lambda x: net.head(x.flatten(1))
    return net
"""


def pieces_of(folder: Path, number: int = 0) -> Path:
    """The one file in which a process keeps rows of a part that is not whole."""
    (path,) = (folder / "records").glob(f"part-{number:05d}.*unfinished")
    return path
