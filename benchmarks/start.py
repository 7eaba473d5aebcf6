"""How long commands take to start, against what no program can do without.

    python -m benchmarks.start [--rounds 9]

`attnlab --help` stands beside a bare interpreter; `attnlab analyze`, up to its first batch, beside an interpreter that
imports torch and torchvision and builds the same network, of 224 pixels. The network ends the process when it meets a
batch of eight images: all before that is the start. Its peer ends as abruptly, since to take torch down takes long.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from attnlab.compat import mended
from benchmarks.timing import machine, say_figures, side_by_side

#: builds ResNet-18 without weights, which leaves at the first batch of eight
NETWORK = """
import os
import attnlab.compat
from torchvision.models import resnet18

class Leaving:
    def __call__(self, module, inputs):
        if len(inputs[0]) == 8:
            os._exit(0)

def build():
    network = resnet18(num_classes=10)
    network.register_forward_pre_hook(Leaving())
    return network
"""
#: as one writes it; where torchvision's wheel does not fit this torch, what it lacks is declared
BARE = """
import os
import torch
if {mended}:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.models import resnet18
resnet18(num_classes=10)
os._exit(0)
"""


def run(*words: str) -> None:
    """Run Python with these words; it is an error if it fails."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@click.command()
@click.option("--rounds", default=9, show_default=True)
def main(rounds: int) -> None:
    """Print seconds and ratios."""
    with tempfile.TemporaryDirectory() as place:
        file, numbers = Path(place) / "leaving.py", iter(range(1_000_000))
        file.write_text(NETWORK)
        analyze = ("-m", "attnlab_cli", "analyze", "--model", f"{file}:build", "--limit", "8", "--batch-size", "8")
        seconds = side_by_side(
            {
                "interpreter": lambda: run("-c", "pass"),
                "attnlab --help": lambda: run("-m", "attnlab_cli", "--help"),
                "attnlab list models": lambda: run("-m", "attnlab_cli", "list", "models"),
                "torch, torchvision, network": lambda: run("-c", BARE.format(mended=mended)),
                "analyze to its first batch": lambda: run(*analyze, "--out", f"{place}/run{next(numbers)}"),
            },
            rounds,
        )
    click.echo(f"{machine()}, median of {rounds} rounds")
    for name, value in seconds.items():
        click.echo(f"{name:28} {value:7.3f} s")
    say_figures(
        {
            "attnlab --help to a bare interpreter": seconds["attnlab --help"] / seconds["interpreter"],
            "analyze to its first batch, to imports and network that leave at once": seconds[
                "analyze to its first batch"
            ]
            / seconds["torch, torchvision, network"],
        }
    )


if __name__ == "__main__":
    main()
