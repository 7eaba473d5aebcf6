"""How far two seeds of LIME agree, by the way samples are drawn and by their number, on the same superpixels.

    python -m benchmarks.lime_sampling answers ANSWERS --root DIR --model mobilenet_v2_tf.py:build
    python -m benchmarks.lime_sampling table ANSWERS
    python -m benchmarks.lime_sampling limit

`answers` asks the network and keeps what it says, an image a file; given again it goes on. The images are those of the
90 that `--limit 90 --stratify --seed 0` draws which the network classifies correctly; bfloat16, batches of 8,
torch.compile. `table` makes explanations of what is there: two seeds draw samples, never superpixels. `limit` compares
the ways of drawing at 20,000 samples, on built-in scenes, whose network is quick.
"""

from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from attnlab.attention import FITS, SAMPLINGS
from attnlab.attention.lime import fit, perturbations
from attnlab.attention.masked_inference import MaskedInference
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, Sample
from attnlab.data.sampling import choose
from attnlab.models import Classifier, load_model
from attnlab.seeding import seed_of
from attnlab.superpixels import Labels, Mask, area, superpixels

DRAWN, SEEDS, FEATURES = 90, (0, 1), 8
NUMBERS = (100, 200, 300, 500, 1000)
AT_ONCE = 250  # samples between two looks at the batch's file
BASE = ("random", 1000, "ridge")
SURROGATES = 300  # samples of a surrogate, at most
RESAMPLES = 10_000


def explained(images: ResizedDataset, positions: list[int], classifier: Classifier) -> Iterator[tuple[Sample, Tensor]]:
    """Samples that are classified correctly, and their pixels in [0, 1], (1, C, H, W)."""
    for position in positions:
        sample = images[position]
        assert isinstance(sample, Sample)
        pixels = sample.pixels[None].float() / 255
        with torch.no_grad():
            if int(classifier(pixels).argmax()) == sample.label:
                yield sample, pixels


def sampler_of(classifier: Classifier, pixels: Tensor, label: int, labels: Labels) -> MaskedInference:
    """Asks for the probability of the label, hidden superpixels being grey."""
    segments = torch.from_numpy(labels.astype(np.int64))[None]
    return MaskedInference(classifier, pixels, torch.tensor([label]), segments, "grey", 8)


def ask(file: Path, sample: Sample, pixels: Tensor, classifier: Classifier, wanted: dict[str, int]) -> None:
    """Put into an image's file what its `wanted` numbers of samples, by sampling, are answered, and its superpixels."""
    kept = dict(np.load(file)) if file.exists() else {}
    if "segments" not in kept:
        kept["segments"] = superpixels(pixels[0].numpy(), "quickshift", seed_of(0, sample.image_id))
    labels = kept["segments"]
    sampler = sampler_of(classifier, pixels, sample.label, labels)
    for sampling, samples in wanted.items():
        for seed in SEEDS:
            shown = perturbations(sample.image_id, int(labels.max()) + 1, samples, seed, sampling)
            values = kept.get(f"{sampling}-{seed}", np.empty(0))
            while len(values) < samples:
                (more,) = sampler([(0, shown[len(values) :][:AT_ONCE])])
                values = np.concatenate([values, more.numpy()])
            kept[f"{sampling}-{seed}"] = values
    part = file.with_name(f"{file.stem}.part.npz")
    np.savez_compressed(part, **kept)
    part.replace(file)


def areas_of(file: Path) -> dict[tuple[str, int, str], list[Mask]]:
    """LIME's areas of an image, one a seed, by sampling, number of samples, and fit."""
    kept = np.load(file)
    labels, areas = kept["segments"], {}
    for sampling, samples, name in product(SAMPLINGS, NUMBERS, FITS):
        made = min(len(kept[f"{sampling}-{seed}"]) if f"{sampling}-{seed}" in kept else 0 for seed in SEEDS)
        if samples <= made and (name == "ridge" or samples <= SURROGATES):
            areas[sampling, samples, name] = [
                area(weights, labels, FEATURES)
                for seed in SEEDS
                for shown in [perturbations(file.stem, int(labels.max()) + 1, samples, seed, sampling)]
                for weights in FITS[name]([shown], [torch.from_numpy(kept[f"{sampling}-{seed}"][:samples])])
            ]
    return areas


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union; of two empty areas 1."""
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


@click.group()
def main() -> None:
    """Ask a network, and tabulate how far explanations agree."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--root", type=click.Path(path_type=Path), required=True, help="Of ImageNet.")
@click.option("--model", required=True)
@click.option("--samples", multiple=True, default=("random:1000", "orthogonal:300"), show_default=True)
@click.option("--images", default=DRAWN, show_default=True, help="Number of images to ask about at most.")
def answers(folder: Path, root: Path, model: str, samples: tuple[str, ...], images: int) -> None:
    """Keep what the network answers."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: int(number) for name, _, number in (text.partition(":") for text in samples)}
    classifier = load_model(model).place("cpu", "bf16", "folded")
    classifier.network.requires_grad_(False).eval()
    found = load_dataset("imagenet", root)
    sized = ResizedDataset(found, classifier.input_size)
    for number, (sample, pixels) in enumerate(
        explained(sized, choose(found, DRAWN, stratify=True, seed=0), classifier)
    ):
        if number == images:
            return
        ask(folder / f"{sample.image_id}.npz", sample, pixels, classifier, wanted)
        click.echo(f"{number + 1} {sample.image_id}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def table(folder: Path) -> None:
    """Print mean IoU of two seeds' areas, what it differs by from BASE, and IoU with another seed's BASE."""
    images = [areas_of(file) for file in sorted(folder.glob("*.npz")) if not file.stem.endswith(".part")]
    images = [areas for areas in images if BASE in areas and any(sampling != BASE[0] for sampling, *_ in areas)]
    keys = [key for key in images[0] if all(key in areas for areas in images)]
    draws = np.random.default_rng(0).integers(0, len(images), (RESAMPLES, len(images)))

    def cell(values: np.ndarray, sign: str = "") -> str:
        low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
        return f"{values.mean():{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"

    click.echo(f"{len(images)} images, {FEATURES} superpixels, 95 % percentile intervals, paired over images")
    click.echo(
        "| sampling | samples | fit | two seeds | against two random 1000s | with random 1000 of the other seed |"
    )
    click.echo("|---|---|---|---|---|---|")
    base = np.array([iou(*areas[BASE]) for areas in images])
    for key in keys:
        agreement = np.array([iou(*areas[key]) for areas in images])
        other = np.array([np.mean([iou(areas[key][i], areas[BASE][1 - i]) for i in (0, 1)]) for areas in images])
        against = cell(agreement - base, "+") if key != BASE else ""
        click.echo(f"| {' | '.join(map(str, key))} | {cell(agreement)} | {against} | {cell(other)} |")


@main.command()
@click.option("--samples", default=20_000, show_default=True)
@click.option("--images", default=3, show_default=True)
def limit(samples: int, images: int) -> None:
    """Print how far the ways of drawing agree at many samples, and two seeds of `random`, on scenes."""
    torch.set_num_threads(1)
    classifier = load_model("resnet8")
    sized = ResizedDataset(load_dataset("scenes"), classifier.input_size)
    ways = [(sampling, 0) for sampling in SAMPLINGS] + [("random", 1)]
    for _, (sample, pixels) in zip(range(images), explained(sized, list(range(100)), classifier), strict=False):
        labels = superpixels(pixels[0].numpy(), "slic", seed_of(0, sample.image_id))
        sampler = sampler_of(classifier, pixels, sample.label, labels)
        sampler.batch_size = 100
        weights = {}
        for sampling, seed in ways:
            shown = perturbations(sample.image_id, int(labels.max()) + 1, samples, seed, sampling)
            (weights[sampling, seed],) = fit([shown], sampler([(0, shown)]))
        for first, second in combinations(ways, 2):
            if first == ("random", 0) or second == ("random", 1):
                apart = np.abs(weights[first] - weights[second]).max() / np.abs(weights[first]).max()
                both = iou(*(area(weights[way], labels, FEATURES) for way in (first, second)))
                click.echo(f"{sample.image_id} {first} {second}: weights {apart:.4f} apart, areas' IoU {both:.3f}")


if __name__ == "__main__":
    main()
