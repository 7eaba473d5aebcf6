"""AutoAttack by attnlab and by its authors (pyautoattack), stage by stage, on the same images.

    python -m benchmarks.autoattack [--model resnet8 --data scenes --split test --limit 100 --eps 1/255] [--device cuda]

Each stage is given all images that the network classifies correctly; the suite gives each what the ones before left.
Both draw other numbers, FAB-T none. The authors' code needs contiguous layout and ten classes.
"""

import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import click
import torch
from torch import Tensor

from attnlab.arrays import Images, Labels
from attnlab.attacks.norms import NORMS
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.attacks.parse import parse_eps
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.models import Classifier, load_model
from benchmarks.timing import machine

SUITE = "autoattack"
STAGES = (*OTHER_ATTACKS[SUITE].stages, SUITE)
THEIRS = {"linf": "Linf", "l2": "L2"}


class Outcome(NamedTuple):
    """What one stage did to images by either code."""

    ours: Tensor  # which it broke, (N,), bool
    theirs: Tensor
    seconds: tuple[float, float]


def compare(
    classifier: Classifier, images: Images, labels: Labels, eps: float, stage: str, norm: str = "linf", seed: int = 0
) -> Outcome:
    """Attack images that are classified correctly by one stage, or by the suite, of both."""
    from pyautoattack import AutoAttack

    suite = AutoAttack(classifier, norm=THEIRS[norm], eps=eps, seed=seed, version="standard", device=images.device)
    if stage != SUITE:
        suite.attacks_to_run = [stage]
    seeds = [seed * len(images) + number for number in range(len(images))]
    ways: list[Callable[[], Images]] = [
        lambda: OtherAttack(stage, eps, norm=norm)(classifier, images, labels, seeds),
        lambda: suite.run_standard_evaluation(images, labels, batch_size=len(images))[0],
    ]
    broken, seconds = [], []
    for way in ways:
        start = time.perf_counter()
        adversarial = way()
        with torch.no_grad():
            broken.append(classifier(adversarial).argmax(1) != labels)
        seconds.append(time.perf_counter() - start)
    return Outcome(broken[0], broken[1], (seconds[0], seconds[1]))


def right_images(classifier: Classifier, data: str, root: str | None, split: str, limit: int) -> tuple[Images, Labels]:
    """The first images of a split that the classifier gets right, of `limit`."""
    prepared = ResizedDataset(load_dataset(data, root, split), classifier.input_size)
    (batch,) = load_batches(prepared, [list(range(limit))], workers=0)
    images, labels = batch.tensors(classifier.device)
    with torch.no_grad():
        right = classifier(images).argmax(1) == labels
    return images[right].contiguous(), labels[right]


@click.command()
@click.option("--model", default="resnet8", show_default=True)
@click.option("--weights", default="default", show_default=True)
@click.option("--data", default="scenes", show_default=True)
@click.option("--root", help="Folder of the data set's files.")
@click.option("--split", default="test", show_default=True)
@click.option("--limit", default=100, show_default=True)
@click.option("--eps", default="1/255", show_default=True)
@click.option("--norm", default="linf", show_default=True, type=click.Choice(list(NORMS)))
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    model: str,
    weights: str,
    data: str,
    root: str | None,
    split: str,
    limit: int,
    eps: str,
    norm: str,
    seed: int,
    device: str,
) -> None:
    """Print how many images each stage leaves, which only one of both breaks, and seconds."""
    warnings.filterwarnings("ignore")
    classifier = load_model(model, weights).place(device, memory_format="contiguous").eval()
    images, labels = right_images(classifier, data, root, split, limit)
    click.echo(f"{model}, {data} {split}, {len(images)} of {limit} images right, {norm} eps {eps}, seed {seed}")
    click.echo(machine(device, ("torch", "pyautoattack")))
    click.echo("| stage | left, attnlab | left, authors | broken by attnlab alone | by the authors alone | seconds |")
    click.echo("|---|---|---|---|---|---|")
    for stage in STAGES:
        ours, theirs, seconds = compare(classifier, images, labels, parse_eps(eps, norm=norm), stage, norm, seed)
        numbers = (~ours).sum(), (~theirs).sum(), (ours & ~theirs).sum(), (theirs & ~ours).sum()
        spent = " and ".join(f"{value:.1f}" for value in seconds)
        click.echo(f"| {stage} | {' | '.join(str(int(number)) for number in numbers)} | {spent} |")


if __name__ == "__main__":
    main()
