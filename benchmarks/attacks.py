"""PGD by attnlab and by torchattacks against bare gradients, and what A3 adds.

    python -m benchmarks.attacks [--model resnet8 --batch-size 100 --steps 10] [--device cuda]

The floor of K steps is K forward passes and K gradients to the input, bare, in the same precision and layout; FAB's has
K forward passes more, which look at each point.
torchattacks gets the network as its maker gives it, in contiguous layout. A3 is held against its base attack at 3 steps
(Table 7), with a pass over the clean images of its own, and with one handed in, as `attnlab analyze` does.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.clean_pass import CleanPass, clean_areas
from attnlab.attacks.fab import nearest_adversarial
from attnlab.attacks.pgd import perturb
from attnlab.hooks import frozen_eval
from attnlab.models import Classifier, load_model
from attnlab.pipelines.memory import keep_freed
from benchmarks.timing import installed, machine, paired_ratio, ratio, say_figures, side_by_side

EPS = 8 / 255


def floor(
    classifier: Classifier, images: Tensor, labels: Tensor, steps: int, *, looks: bool = False
) -> Callable[[], object]:
    """Forward and input gradient, `steps` times, and nothing else; with `looks` another forward pass each time."""
    classifier.requires_grad_(False)

    def run() -> object:
        for _ in range(steps):
            watched = images.detach().requires_grad_()
            loss = F.cross_entropy(classifier(watched), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, watched)
            if looks:
                with torch.no_grad():
                    classifier(images)
        return gradient.cpu()

    return run


def ours(
    classifier: Classifier, images: Tensor, labels: Tensor, attack: Attack, clean: CleanPass | None = None
) -> Callable[[], object]:
    """The loop of attnlab."""
    return lambda: perturb(classifier, images, labels, attack, clean=clean).cpu()


def ours_by_fab(classifier: Classifier, images: Tensor, labels: Tensor, steps: int) -> Callable[[], object]:
    """FAB of attnlab to one class, without an image that leaves early."""
    return lambda: nearest_adversarial(classifier, images, labels, steps=steps)[0].cpu()


def theirs(classifier: Classifier, images: Tensor, labels: Tensor, steps: int) -> Callable[[], object]:
    """The loop of torchattacks."""
    import torchattacks

    attack = torchattacks.PGD(classifier, eps=EPS, alpha=EPS / 4, steps=steps, random_start=True)
    return lambda: attack(images, labels).cpu()


@click.command()
@click.option("--model", default="resnet8", show_default=True)
@click.option("--weights", default="none", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", default="fp32", show_default=True)
@click.option("--batch-size", default=100, show_default=True)
@click.option("--steps", default=10, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(model: str, weights: str, device: str, precision: str, batch_size: int, steps: int, rounds: int) -> None:
    """Print milliseconds an image and step, and ratios."""
    warnings.filterwarnings("ignore")
    keep_freed()  # as commands do
    fast = load_model(model, weights).place(device, precision)
    plain = load_model(model, weights).place(device, memory_format="contiguous")
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, fast.channels, *fast.input_size, generator=draw).to(device)
    labels = (torch.arange(batch_size) % fast.classes).to(device)
    attack = Attack(eps=EPS, steps=steps, step_size=EPS / 4, random_start=True)
    short = replace(attack, steps=3)
    ways = {"floor": floor(fast, images, labels, steps), "attnlab": ours(fast, images, labels, attack)}
    if installed("torchattacks"):
        ways["torchattacks"] = theirs(plain, images, labels, steps)
    ways["3 steps"] = ours(fast, images, labels, short)
    ways["3 steps and A3"] = ours(fast, images, labels, replace(short, sigma=10.0))
    with frozen_eval(fast), torch.no_grad():
        clean = clean_areas(fast, images, labels)
        right = clean.logits.argmax(1)  # FAB passes over what is misclassified
    ways["clean pass given"] = ours(fast, images, labels, replace(short, sigma=10.0), clean)
    of_fab = ours_by_fab(fast, images, right, steps), floor(fast, images, right, steps, looks=True)
    seconds, fab = side_by_side(ways, rounds, device), paired_ratio(*of_fab, rounds, device)
    click.echo(f"{model.rpartition('/')[2]}, {fast.input_size}, batch {batch_size}, PGD-{steps}, median of {rounds}")
    click.echo(machine(device, ("torch", "torchvision", "torchattacks")))
    for name, value in seconds.items():
        click.echo(f"{name:16} {1000 * value / batch_size:9.3f} ms an image")
    click.echo(
        f"{ratio(seconds, 'attnlab', 'floor')} the floor, FAB {fab:.2f}x its own, "
        f"{ratio(seconds, 'torchattacks', 'attnlab')} faster than torchattacks; "
        f"A3 at {ratio(seconds, '3 steps and A3', '3 steps')} its base attack "
        f"({'pooled head, closed form' if fast.head else 'generic head'})"
    )
    name = model.rpartition("/")[2]
    say_figures({
        f"PGD-{steps} of {name} to its bare gradients": seconds["attnlab"] / seconds["floor"],
        f"A3 of {name} to its base attack": seconds["3 steps and A3"] / seconds["3 steps"],
        f"A3 of {name} to its base attack, clean pass given": seconds["clean pass given"] / seconds["3 steps"],
        f"FAB-T of {name} to its bare passes": fab,
    })  # fmt: skip
    if "torchattacks" in seconds:
        say_figures({f"PGD-{steps} of {name} to torchattacks": seconds["attnlab"] / seconds["torchattacks"]})


if __name__ == "__main__":
    main()
