"""What the attention terms ask of a checkpoint's weights: how long their gradients are, and where they point.

    python -m benchmarks.terms CHECKPOINT [--root DIR] [--images 1000] [--dropout]

On training images that its training held out, attacked by its plan's PGD, in eval mode: the gradient by all weights of
the cross-entropy of adversarial images (L_c of madry), of rectification with each fill (L_r, eq. 8) and of
preservation (L_p, eq. 9), each with a weight of 1. A weight alpha makes L_r's gradient alpha times as long: how long it
is against L_c's tells what a weight can do, and the cosine whether it works with L_c or against it. The noise of a
batch is by how much L_c's gradient differs from batch to batch (root mean square); there is none of a single batch.

With `--dropout` torch's Dropout, 1d, 2d and 3d drop as in training, from clean and adversarial images independently.
A map that is differentiated through a dropout then differs between two looks at one image: the row "L_p, noise" is
preservation of clean images against themselves.

The last line tells what bfloat16 leaves of both terms at the paper's weights of 0.01: what they add to L_c's gradient
in one backward pass, as in training, against what they add in float32. Where rounding is but noise, the mean over the
batches is closer to float32's than a batch's is, and the share of it along float32's is 1.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.data import load_dataset
from attnlab.models import Classifier, load_model
from attnlab.pipelines.train import HELD_OUT_SEED
from attnlab.training import FILLS, WEIGHT
from attnlab.training.folder import MANIFEST
from attnlab.training.images import Batch, hold_out, open_images
from attnlab.training.parse import parse_defense
from attnlab.training.step import Step

MAIN = "L_c"
NOISE = "L_p, noise"
ROUNDED = "added in bfloat16"
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def gradients(
    classifier: Classifier, batch: Batch, attack: Attack, draw: torch.Generator, dropout: bool
) -> Iterator[tuple[str, Tensor]]:
    """Each term's name, and its value followed by its gradient by all weights, float64; last what ROUNDED adds.

    Args:
        classifier: In eval mode.
        batch: Of clean images.
        attack: On them.
        draw: Of its random start.
        dropout: Leave dropout on, and add NOISE.
    """
    images = batch.pixels.float() / 255
    draws = torch.rand(images.shape, generator=draw)
    attacked = perturb(classifier, images, batch.labels, attack, seeds=draws)
    weights = list(classifier.parameters())

    def row(name: str, value: Tensor) -> tuple[str, Tensor]:
        found = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
        return name, torch.cat([value.reshape(1), *(part.flatten() for part in found)]).detach().double()

    for module in classifier.modules():
        module.training = dropout and isinstance(module, DROPOUTS)
    state = torch.get_rng_state()  # of dropout
    for number, fill in enumerate(FILLS):
        defense = parse_defense("madry+aad", alpha=1, beta=1, fill=fill)
        terms = Step(classifier, defense)(images, attacked, batch.labels).weighted
        names = {"adversarial": MAIN, "rectification": f"L_r, {fill}", "preservation": "L_p"}
        for name, value in terms.items():
            if number == 0 or name == "rectification":
                yield row(names[name], value)
    if dropout:
        noise = Step(classifier, parse_defense("madry+aad", alpha=0, beta=1))(images, images, batch.labels).weighted
        yield row(NOISE, noise["preservation"])
    with torch.random.fork_rng(), torch.autocast("cpu", torch.bfloat16):
        torch.set_rng_state(state)
        terms = Step(classifier, parse_defense("madry+aad", alpha=WEIGHT, beta=WEIGHT))(images, attacked, batch.labels)
    yield ROUNDED, row(ROUNDED, terms.loss)[1] - row(ROUNDED, terms.weighted["adversarial"])[1]


def left(exact: Tensor, rounded: Tensor) -> tuple[float, float, float]:
    """What rounding leaves of gradients, those of each batch a row, (B, D).

    Returns:
        The share of the exact mean that lies in the rounded mean; the cosine of the two means; the mean over the
        batches of the cosine of an exact and a rounded one.
    """
    mean, mean_rounded = exact.mean(0), rounded.mean(0)
    share = mean_rounded @ mean / (mean @ mean)
    cosines = F.cosine_similarity(exact, rounded).mean()
    return float(share), float(F.cosine_similarity(mean, mean_rounded, dim=0)), float(cosines)


@click.command()
@click.argument("checkpoint", type=Path)
@click.option("--root", type=Path, help="Folder of the data set's files.")
@click.option("--images", default=1000, show_default=True, help="Held-out images to look at.")
@click.option("--dropout", is_flag=True, help="Leave dropout on, as training does.")
def main(checkpoint: Path, root: Path | None, images: int, dropout: bool) -> None:
    """Print a row for each term, and what bfloat16 leaves of them."""
    if not (checkpoint / MANIFEST).exists():
        raise click.ClickException(f"expected the folder of a training, got {checkpoint}: it has no {MANIFEST}")
    options = json.loads((checkpoint / MANIFEST).read_text())["options"]
    classifier = load_model(str(checkpoint)).place("cpu").eval()
    data = load_dataset(options["data"], root, "train")
    _, held = hold_out(data, options["held_out"], HELD_OUT_SEED, None)
    shown = open_images(data, held[:images], classifier.input_size, classifier.device, 0)
    attack = Attack(eps=options["eps"], steps=options["steps"], step_size=options["step_size"], random_start=True)
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of dropout
    found: dict[str, list[Tensor]] = {}
    for batch in shown.batches(range(len(shown)), options["batch_size"]):
        for name, gradient in gradients(classifier, batch, attack, draw, dropout):
            found.setdefault(name, []).append(gradient)
    means = {name: torch.stack(each).mean(0) for name, each in found.items()}
    main_gradient = means[MAIN][1:]
    noise = torch.stack(found[MAIN])[:, 1:].std(0).norm() if len(found[MAIN]) > 1 else None
    click.echo(f"{checkpoint}: {len(shown)} held-out images, batches of {options['batch_size']}")
    click.echo("| term | value | gradient, of L_c's | of a batch's noise | cosine with L_c's | equal at a weight of |")
    click.echo("|---|---|---|---|---|---|")
    for name in (MAIN, *(f"L_r, {fill}" for fill in FILLS), "L_p", *([NOISE] if dropout else [])):
        mean = means[name]
        length = mean[1:].norm() / main_gradient.norm()
        cosine = F.cosine_similarity(mean[1:], main_gradient, dim=0)
        seen = "-" if noise is None else f"{mean[1:].norm() / noise:.3f}"
        click.echo(f"| {name} | {mean[0]:.3f} | {length:.3f} | {seen} | {cosine:+.2f} | {1 / length:.2f} |")
    each = {name: torch.stack(rows)[:, 1:] for name, rows in found.items()}
    share, cosine, of_a_batch = left(WEIGHT * (each["L_r, black"] + each["L_p"]), each[ROUNDED])
    click.echo(
        f"of what both at {WEIGHT} add to the gradient, bfloat16 leaves {share:.3f} "
        f"(cosine {cosine:.3f}, of one batch {of_a_batch:.3f})"
    )


if __name__ == "__main__":
    main()
