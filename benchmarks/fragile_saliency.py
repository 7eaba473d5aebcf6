"""How far saliency maps move while the prediction stays, in the terms of Ghorbani et al. 2019.

    python -m benchmarks.fragile_saliency --root DIR --weights squeezenet1_1.safetensors [--limit 60] [--steps 20]

Of the correctly classified ImageNet images among the first, each perturbed by at most --eps: by random signs of that
length, and by `explain` (top-k, softplus of sharpness 10, steps of 1/255). Of those that keep their prediction: how
many of the clean map's 1000 most salient pixels are still among the 1000 most salient, and the rank correlation of
both maps, with 95 % bootstrap intervals.
"""

from collections.abc import Iterator
from dataclasses import replace

import click
import torch

import attnlab
from attnlab.arrays import Images, Labels, Maps, PerImage
from attnlab.attacks import ATTACKS
from attnlab.attacks.parse import parse_eps
from attnlab.measures.between_maps import spearman
from attnlab.models.classifier import Classifier
from attnlab.report.statistics import mean_interval

PIXELS = 1000
BATCH = 6


def intersection(first: Maps, second: Maps, count: int = PIXELS) -> PerImage:
    """Share of the highest pixels of one map that are among as many of another, (N,)."""
    highest = [
        torch.zeros(maps.flatten(1).shape).scatter_(1, maps.flatten(1).topk(count).indices, 1)
        for maps in (first, second)
    ]
    return (highest[0] * highest[1]).sum(1) / count


def correct_images(classifier: Classifier, root: str, limit: int) -> Iterator[tuple[Images, Labels]]:
    """Batches of the correctly classified images among the first."""
    data = attnlab.load_dataset("imagenet", root)
    for start in range(0, limit, BATCH):
        images, labels = attnlab.read_batch(
            data, classifier.input_size, range(start, min(start + BATCH, limit))
        ).tensors()
        with torch.no_grad():
            right = classifier(images).argmax(1) == labels
        if right.any():
            yield images[right], labels[right]


@click.command()
@click.option("--root", required=True, help="Folder of ImageNet's validation images.")
@click.option("--model", default="squeezenet1_1", show_default=True)
@click.option("--weights", required=True)
@click.option("--limit", default=60, show_default=True)
@click.option("--eps", default="8/255", show_default=True)
@click.option("--steps", default=20, show_default=True)
def main(root: str, model: str, weights: str, limit: int, eps: str, steps: int) -> None:
    """Print a line for each perturbation."""
    classifier = attnlab.load_model(model, weights).eval()
    radius, signs = parse_eps(eps), torch.Generator().manual_seed(0)
    moving = replace(ATTACKS["explain"], method="saliency", softplus=10.0, eps=radius, step_size=1 / 255, steps=steps)
    found: dict[str, list[tuple[float, float]]] = {"random signs": [], f"explain{steps}": []}
    correct = 0
    for images, labels in correct_images(classifier, root, limit):
        noise = radius * torch.randint(0, 2, images.shape, generator=signs).mul(2).sub(1)
        seeds = range(correct, correct + len(images))
        moved = [(images + noise).clamp(0, 1), attnlab.attack(classifier, images, labels, moving, seeds=seeds)]
        clean = attnlab.explain(classifier, images, labels, "saliency").maps
        for pairs, seen in zip(found.values(), moved, strict=True):
            with torch.no_grad():
                kept = classifier(seen).argmax(1) == labels
            maps = attnlab.explain(classifier, seen, labels, "saliency").maps
            pairs += zip(intersection(clean, maps)[kept].tolist(), spearman(clean, maps)[kept].tolist(), strict=True)
        correct += len(images)
        click.echo(f"{correct} images", err=True)
    for name, pairs in found.items():
        numbers = [mean_interval(values) for values in zip(*pairs, strict=True)]
        told = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for _, mean, low, high in numbers]
        click.echo(f"{name}: {len(pairs)} of {correct} keep their prediction")
        click.echo(f"  top {PIXELS} shared {told[0]}, rank correlation {told[1]}")


if __name__ == "__main__":
    main()
