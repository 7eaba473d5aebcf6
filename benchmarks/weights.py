"""Train the built-in ResNet8 on the built-in scenes and write the weights that ship inside the package.

    python -m benchmarks.weights [--epochs 8] [--out attnlab/models/resnet8.safetensors]

Cross-entropy, AdamW under a one-cycle learning rate, seed 0; half of each batch is moved by FGSM, its eps drawn anew.
The light adversarial training lets a part of the images withstand the default attack, so that both groups of the tables
are filled: after plain training 6 % of scenes/val did. Scenes/test is read once, at the end, for the figure that is
printed.
"""

import time
from dataclasses import replace
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from attnlab.attacks import ATTACKS
from attnlab.attacks.pgd import perturb
from attnlab.data.digit_scenes import Scenes
from attnlab.data.resizing import ResizedDataset, load_batches
from attnlab.models.classifier import Classifier
from attnlab.models.resnet8 import ResNet8

BATCH = 128
HALF = BATCH // 2
LARGEST_EPS = 12 / 255  # upper end of the range the training budgets are drawn from, pixels in [0, 1]


def load(split: str) -> tuple[Tensor, Tensor]:
    """The whole split: pixels (N, 3, 64, 64) uint8, labels (N,)."""
    prepared = ResizedDataset(Scenes(split), (64, 64))
    batches = [list(part) for part in torch.arange(len(prepared)).split(500)]
    parts = list(load_batches(prepared, [[int(i) for i in batch] for batch in batches], workers=2))
    return torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts])


@torch.no_grad()
def accuracy(classifier: Classifier, pixels: Tensor, labels: Tensor) -> float:
    classifier.eval()
    predictions = torch.cat([classifier(part.float() / 255).argmax(1) for part in pixels.split(250)])
    return 100 * float((predictions == labels).float().mean())


@click.command()
@click.option("--epochs", default=8, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("attnlab/models/resnet8.safetensors"))
def main(epochs: int, out: Path) -> None:
    """Train ResNet8 on scenes/train and write its weights."""
    torch.manual_seed(0)
    pixels, labels = load("train")
    val_pixels, val_labels = load("val")
    classifier = Classifier(ResNet8())
    classifier.network.to(memory_format=torch.channels_last)
    steps = epochs * (len(labels) // BATCH)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(epochs):
        classifier.train()
        for batch in torch.randperm(len(labels))[: len(labels) // BATCH * BATCH].split(BATCH):
            images = pixels[batch].float() / 255
            ramp = min(1.0, 2 * schedule.last_epoch / steps)  # the full eps from the first step would stay at chance
            eps = LARGEST_EPS * ramp * float(torch.rand(()))
            attacked = perturb(classifier, images[:HALF], labels[batch][:HALF], replace(ATTACKS["fgsm"], eps=eps))
            images = torch.cat([attacked, images[HALF:]])
            loss = F.cross_entropy(classifier(images), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        val = accuracy(classifier, val_pixels, val_labels)
        click.echo(f"epoch {epoch + 1}: loss {loss:.3f}, val {val:.1f} %, {time.perf_counter() - start:.0f} s")
        save_file({name: value.contiguous() for name, value in classifier.network.state_dict().items()}, out)
    click.echo(f"test {accuracy(classifier, *load('test')):.1f} %; wrote {out}")


if __name__ == "__main__":
    main()
