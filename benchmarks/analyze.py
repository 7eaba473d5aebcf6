"""One analysis pass against the chain a user would write today, and against its floor.

    python -m benchmarks.analyze [--device cuda --batch-size 64 --rounds 20]

Per image: prediction, confidence and Grad-CAM map of x, StepLL, prediction and map of x_adv. The chain is a call of the
model, grad-cam's GradCAM, torchattacks' FGSM in its least-likely mode, the model and GradCAM again, on the network as
torchvision gives it; the spare chain saves the two calls by reading the logits GradCAM keeps. The floor is what no
program can do without: forward of x with its graph, gradient to the input, forward of x_adv; bare, in the same
precision and layout. Then peak memory of `attnlab analyze` on 100 and on 1,000 images.
"""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from attnlab.attacks import ATTACKS
from attnlab.models import Classifier, load_model
from attnlab.pipelines.fused_pass import fused_pass
from benchmarks.timing import installed, machine, ratio, say_figures, side_by_side

EPS = 16 / 255
ROOT = Path(__file__).resolve().parents[1]


def fused(classifier: Classifier, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """The pass of attnlab, down to numbers on the CPU."""

    def run() -> object:
        clean, (adversarial,) = fused_pass(classifier, images, labels, [replace(ATTACKS["stepll"], eps=EPS)])
        return [part.cpu() for seen in (clean, adversarial) for part in (seen.logits.argmax(1), seen.maps["grad-cam"])]

    return run


def floor(classifier: Classifier, images: Tensor) -> Callable[[], object]:
    """Two forwards and one input gradient, and nothing else."""
    network = classifier.network.requires_grad_(False)
    parameter = next(network.parameters())
    x = images.to(parameter.dtype).contiguous(memory_format=classifier.memory_format)

    def run() -> object:
        watched = x.detach().requires_grad_()
        logits = network(watched)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, logits.argmin(1)), watched)
        with torch.no_grad():
            return network(x - EPS * gradient.sign()).cpu()

    return run


def chain(classifier: Classifier, images: Tensor, labels: Tensor, *, spare: bool = False) -> Callable[[], object]:
    """What one writes with grad-cam and torchattacks; `spare` reads the predictions from inside grad-cam."""
    import torchattacks
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = classifier.get_submodule(f"network.{classifier.attention_layer}")
    attack = torchattacks.FGSM(classifier, eps=EPS)
    attack.set_mode_targeted_least_likely(quiet=True)
    targets = [ClassifierOutputTarget(int(label)) for label in labels]

    @torch.no_grad()
    def predict(batch: Tensor) -> Tensor:
        return classifier(batch).softmax(1)

    def run() -> object:
        with GradCAM(classifier, [layer]) as cam:
            clean = cam(images, targets), cam.outputs.detach().softmax(1) if spare else predict(images)
            adversarial = attack(images, labels)
            return clean, cam(adversarial, targets), cam.outputs if spare else predict(adversarial)

    return run


def peak_memory(images: int) -> float:
    """Peak MiB of a whole `attnlab analyze` on that many scenes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = ["--device", "cpu", "--split", "train", "--limit", str(images), "--out", str(out)]
        command = [sys.executable, "-m", "cli", "analyze", *options]
        code = (
            f"import resource, subprocess; subprocess.run({command!r}, check=True, "
            "capture_output=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return int(answer.stdout) / (1024 if sys.platform != "darwin" else 1024**2)


@click.command()
@click.option("--model", default="inception_v3", show_default=True, help="With random weights.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--memory/--no-memory", default=True, show_default=True)
def main(model: str, device: str, batch_size: int, rounds: int, memory: bool) -> None:
    """Print milliseconds an image, ratios, and peak memory."""
    warnings.filterwarnings("ignore")
    plain = load_model(model, "none").place(device, memory_format="contiguous")
    ways_to_place = [("fp32", "channels-last"), ("fp32", "folded"), ("bf16", "channels-last"), ("bf16", "folded")]
    placed = {" ".join(way): load_model(model, "none").place(device, *way) for way in ways_to_place}
    images = torch.rand(batch_size, 3, *plain.input_size, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(batch_size, device=device)
    ways: dict[str, Callable[[], object]] = {}
    if installed("pytorch_grad_cam", "torchattacks"):
        ways |= {"chain": chain(plain, images, labels), "chain, spare": chain(plain, images, labels, spare=True)}
    for way, classifier in placed.items():
        ways |= {
            f"attnlab {way}": fused(classifier, images, labels),
            f"floor {way}": floor(classifier, images),
        }
    seconds = side_by_side(ways, rounds, device)
    click.echo(f"{model}, {plain.input_size[0]} px, batch {batch_size}, median of {rounds} rounds")
    click.echo(machine(device, ("torch", "torchvision", "grad-cam", "torchattacks")))
    for name, value in seconds.items():
        click.echo(f"{name:26} {1000 * value / batch_size:8.1f} ms an image {batch_size / value:8.1f} images/s")
    for way in placed:
        ours = f"attnlab {way}"
        click.echo(
            f"{way}: {ratio(seconds, 'chain', ours)} faster than the chain "
            f"({ratio(seconds, 'chain, spare', ours)} than the spare one), "
            f"{ratio(seconds, ours, f'floor {way}')} the floor"
        )
        say_figures({f"analysis pass of {model}, {way}, to its floor": seconds[ours] / seconds[f"floor {way}"]})
        if "chain" in seconds:
            say_figures(
                {f"analysis pass of {model}, {way}, to grad-cam and torchattacks": seconds[ours] / seconds["chain"]}
            )
    if memory:
        peaks = ", ".join(f"{count} images {peak_memory(count):.0f} MiB" for count in (100, 1000))
        click.echo(f"peak memory of attnlab analyze on scenes: {peaks}")


if __name__ == "__main__":
    main()
