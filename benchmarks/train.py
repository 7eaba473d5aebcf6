"""Training steps of attnlab against the bare passes they need, and against a loop around torchattacks.

    python -m benchmarks.train [--model resnet8 --batch-size 100 --steps 10] [--device cuda --precision bf16 --compile]

F is a forward pass of a batch in eval mode, without a graph. The floor counts 2 K + 3, 2 K + 6, 2 K + 12 and 2 K + 12
of it for madry, alp, madry+aad and alp+aad. "Bare passes" are those of the same step and nothing else: K times forward
and input gradient with frozen parameters, then forward and backward of N, 2 N, 4 N and 4 N images; what they take
beyond the floor is the network's own doing, whose backward passes cost more than its forward ones; attnlab may beat
them, since it attacks with batch norms folded. torchattacks stands for the loop that a user would write: its PGD, the
network as its maker gives it, as many images to learn from, cross-entropy on them in place of the defence's terms,
which would cost it more, and the same optimizer. `--compile` leaves out attention losses on a network without a pooled
head, as `attnlab train` refuses them.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.models import Classifier, load_model
from attnlab.training import AAD
from attnlab.training.images import Batch, Resident
from attnlab.training.optim import optimizer_of
from attnlab.training.parse import parse_defense
from attnlab.training.recipes import Plan
from attnlab.training.trainer import Session, Training
from benchmarks.timing import installed, machine, ratio, say_figures, side_by_side

EPS = 8 / 255
#: defence -> forward-equivalents of its floor beyond the attack's 2 K, and images in its passes, of N
DEFENSES = {"madry": (3, 1), "alp": (6, 2), "madry+aad": (12, 4), "alp+aad": (12, 4)}


def forward(classifier: Classifier, images: Tensor, bf16: bool) -> Callable[[], object]:
    """A bare pass."""

    def run() -> object:
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return classifier(images)

    return run


def passes(classifier: Classifier, batch: Batch, steps: int, share: int, bf16: bool) -> Callable[[], object]:
    """The passes of a step and nothing else: frozen ones for the attack, then one to learn from."""
    images = batch.pixels.float() / 255
    many, labels = images.repeat(share, 1, 1, 1), batch.labels.repeat(share)

    def run() -> object:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            classifier.eval().requires_grad_(False)
            for _ in range(steps):
                watched = images.detach().requires_grad_()
                torch.autograd.grad(F.cross_entropy(classifier(watched), batch.labels, reduction="sum"), watched)
            classifier.train().requires_grad_(True)
            loss = F.cross_entropy(classifier(many), labels)
        return torch.autograd.grad(loss, list(classifier.parameters()))

    return run


def ours(
    classifier: Classifier, batch: Batch, plan: Plan, defense: str, folder: Path, *, bf16: bool, compiled: bool
) -> Callable[[], object]:
    """A step of attnlab, all but what its log would fetch."""
    images = Resident(batch.pixels, batch.labels)
    parsed = parse_defense(defense)
    place = folder / defense
    training = Training(classifier, "", defense, parsed, plan, images, images, place, bf16=bf16, compiled=compiled)
    session = Session(training, lambda line: None, lambda: False)

    def run() -> None:
        classifier.train()
        session.step_on(batch)
        session.pending.clear()

    return run


def theirs(classifier: Classifier, batch: Batch, plan: Plan, share: int, bf16: bool) -> Callable[[], object]:
    """A loop around torchattacks."""
    import torchattacks

    network: nn.Module = classifier
    attack = torchattacks.PGD(network, eps=plan.eps, alpha=plan.step_size, steps=plan.steps)
    optimizer = optimizer_of(classifier, plan)
    images = batch.pixels.float() / 255

    def run() -> object:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            attacked = attack(images, batch.labels)
            network.train()
            loss = F.cross_entropy(network(attacked.repeat(share, 1, 1, 1)), batch.labels.repeat(share))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


@click.command()
@click.option("--model", default="resnet8", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="Time attnlab with --compile.")
@click.option("--batch-size", default=100, show_default=True)
@click.option("--steps", default=10, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(model: str, device: str, precision: str, compiled: bool, batch_size: int, steps: int, rounds: int) -> None:
    """Print images a second, and ratios."""
    warnings.filterwarnings("ignore")
    bf16 = precision == "bf16"

    def place(memory_format: str = "channels-last") -> Classifier:
        return load_model(model, "none").place(device, memory_format=memory_format)

    fast = place()
    draw = torch.Generator().manual_seed(0)
    shape = (batch_size, fast.channels, *fast.input_size)
    pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8).to(device)
    batch = Batch(pixels, (torch.arange(batch_size) % fast.classes).to(device))
    plan = Plan(model, 1, batch_size, 1e-6, EPS, EPS / 4, steps)
    # torch.compile cannot differentiate the maps of a generic head
    defenses = {name: cost for name, cost in DEFENSES.items() if fast.head or not (compiled and AAD in name)}
    with TemporaryDirectory() as folder:
        ways = {"F": forward(fast, pixels.float() / 255, bf16)}
        for name, (_, share) in defenses.items():
            ways[f"{name} passes"] = passes(place(), batch, steps, share, bf16)
            if installed("torchattacks"):
                ways[f"{name} torchattacks"] = theirs(place("contiguous"), batch, plan, share, bf16)
            ways[name] = ours(place(), batch, plan, name, Path(folder), bf16=bf16, compiled=compiled)
        seconds = side_by_side(ways, rounds, device)
    how = f"{precision}, compiled" if compiled else precision
    click.echo(f"{model.rpartition('/')[2]}, {fast.input_size}, batch {batch_size}, PGD-{steps}, {how}")
    click.echo(f"{machine(device, ('torch', 'torchvision', 'torchattacks'))}, median of {rounds}")
    for name, (more, _) in defenses.items():
        floor = (2 * steps + more) * seconds["F"]
        click.echo(
            f"{name:14} {batch_size / seconds[name]:9.1f} images/s, {seconds[name] / floor:.2f}x the floor of "
            f"{2 * steps + more} F, {ratio(seconds, name, f'{name} passes')} its bare passes, "
            f"{ratio(seconds, f'{name} torchattacks', name)} as fast as around torchattacks"
        )
        what = f"step of {name} on {model.rpartition('/')[2]}"
        say_figures({f"{what} to {2 * steps + more} forward passes": seconds[name] / floor})
        say_figures({f"{what} to its bare passes": seconds[name] / seconds[f"{name} passes"]})
        if f"{name} torchattacks" in seconds:
            say_figures({f"{what} to a loop around torchattacks": seconds[name] / seconds[f"{name} torchattacks"]})


if __name__ == "__main__":
    main()
