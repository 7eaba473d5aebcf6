"""A LIME explanation by lime, captum and attnlab, against the network's bare forwards.

    python -m benchmarks.lime [--samples 1000 --rounds 3] [--compile] [--device cuda] [--model FILE.py:FUNCTION]

One photograph that ships inside scikit-image, one explanation of its top class, the same threads. lime runs as its
users run it, in batches of 10 on the network as its maker gives it; attnlab with its default layout at the batch size
it finds. Bare forwards are so many passes at that batch size on ready images, and nothing else.
"""

import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from itertools import product

import click
import numpy as np
import torch
from skimage import data
from skimage.transform import resize
from torch import Tensor

from attnlab.attention.lime import LimeSettings, explain, perturbations
from attnlab.attention.masked_inference import MaskedInference
from attnlab.models import Classifier, load_model
from attnlab.pipelines.hardware import lime_batch_size
from attnlab.superpixels import superpixels
from benchmarks.timing import installed, machine, ratio, say_figures, side_by_side

Photograph = np.ndarray


def by_lime(classifier: Classifier, photograph: Photograph, samples: int, device: str) -> Callable[[], object]:
    """Lime 0.2.0.1 with its own batches of 10."""
    from lime.lime_image import LimeImageExplainer

    @torch.no_grad()
    def probabilities(images: list[Photograph]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device)
        return classifier(batch).softmax(1).cpu().numpy()

    def run() -> object:
        explainer = LimeImageExplainer(random_state=0)
        with redirect_stderr(StringIO()):  # its progress bar
            return explainer.explain_instance(
                photograph, probabilities, top_labels=1, hide_color=0.5, num_samples=samples
            )

    return run


def by_captum(classifier: Classifier, photograph: Photograph, samples: int, device: str) -> Callable[[], object]:
    """Captum's Lime, 10 perturbations a pass."""
    from captum.attr import Lime

    image = tensor(photograph).to(device)
    with torch.no_grad():
        class_ = int(classifier(image).argmax())

    def run() -> object:
        labels = superpixels(photograph.transpose(2, 0, 1), "quickshift", 0)
        mask = torch.from_numpy(labels.astype(np.int64)).to(device)
        explainer = Lime(lambda batch: classifier(batch).softmax(1))
        return explainer.attribute(
            image, target=class_, baselines=0.5, feature_mask=mask, n_samples=samples, perturbations_per_eval=10
        )

    return run


def by_attnlab(
    classifier: Classifier, photograph: Photograph, samples: int, batch: int, parts: dict[str, list[float]]
) -> Callable[[], object]:
    """Attnlab's engine with the superpixels in the same process, its parts timed."""
    image = tensor(photograph).to(classifier.device)
    with torch.no_grad():
        class_ = classifier(image).argmax(1)

    def run() -> object:
        start = time.perf_counter()
        labels = superpixels(photograph.transpose(2, 0, 1), "quickshift", 0)
        parts["quickshift"].append(time.perf_counter() - start)
        shown = perturbations("photograph", int(labels.max()) + 1, samples, 0)
        segments = torch.from_numpy(labels.astype(np.int64))[None].to(classifier.device)
        sampler = MaskedInference(classifier, image, class_, segments, "grey", batch)
        return explain(sampler, [shown], LimeSettings(samples=samples))

    return run


def bare(classifier: Classifier, samples: int, batch: int) -> Callable[[], object]:
    """The network alone, on images that are ready."""
    images = classifier.normalise(torch.rand(batch, 3, *classifier.input_size).to(classifier.device))

    @torch.no_grad()
    def run() -> object:
        for start in range(0, samples, batch):
            logits = classifier.infer(images[: samples - start])
        return logits.cpu()

    return run


def tensor(photograph: Photograph) -> Tensor:
    """(H, W, 3) to (1, 3, H, W)."""
    return torch.from_numpy(photograph).permute(2, 0, 1)[None]


@click.command()
@click.option("--model", default="inception_v3", show_default=True)
@click.option("--weights", default="none", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--memory-format", default="folded", show_default=True, help="Of attnlab's network.")
@click.option("--compile", "compiled", is_flag=True, help="Time attnlab with --lime-compile as well.")
@click.option("--captum/--no-captum", default=True, show_default=True, help="Time captum's Lime as well.")
@click.option("--samples", default=1000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(
    model: str, weights: str, device: str, memory_format: str, compiled: bool, captum: bool, samples: int, rounds: int
) -> None:
    """Print seconds an explanation, and ratios."""
    warnings.filterwarnings("ignore")
    plain = load_model(model, weights).place(device, memory_format="contiguous")
    plain.network.requires_grad_(False)
    photograph = resize(data.coffee(), plain.input_size).astype(np.float32)
    ways: dict[str, Callable[[], object]] = {}
    if installed("lime"):
        ways["lime"] = by_lime(plain, photograph, samples, device)
    if captum and installed("captum"):
        ways["captum"] = by_captum(plain, photograph, samples, device)
    ways["bare lime"] = bare(plain, samples, 10)
    parts: dict[str, list[float]] = {"quickshift": []}
    batches = {}
    for precision, made in product(("fp32", "bf16"), ("", " compiled") if compiled else ("",)):
        classifier = load_model(model, weights).place(device, precision, memory_format)
        classifier.network.requires_grad_(False)
        if made:
            classifier.compile_inference()
        name = precision + made
        batches[name], _ = lime_batch_size(classifier)
        ways[f"attnlab {name}"] = by_attnlab(classifier, photograph, samples, batches[name], parts)
        ways[f"bare {name}"] = bare(classifier, samples, batches[name])
    # at a thousand forward passes each, what the first is slower by does not show
    seconds = side_by_side(ways, rounds, device, warm=samples >= 1000)
    cut = float(np.median(parts["quickshift"]))
    click.echo(
        f"{model.rpartition('/')[2]}, {plain.input_size[0]} px, {memory_format}, {samples} samples, "
        f"median of {rounds} rounds"
    )
    click.echo(machine(device, ("torch", "torchvision", "lime", "captum", "scikit-image")))
    for name, value in seconds.items():
        click.echo(f"{name:21} {value:8.2f} s")
    click.echo(f"{'quickshift':21} {cut:8.2f} s")
    for name, batch in batches.items():
        ours, floor = seconds[f"attnlab {name}"], seconds[f"bare {name}"]
        click.echo(
            f"{name}, batch {batch}: {ratio(seconds, 'lime', f'attnlab {name}')} faster than lime, "
            f"{ours / (floor + cut):.2f}x of bare forwards and quickshift; "
            f"outside both {1000 * (ours - floor - cut) / samples:.2f} ms a sample"
        )
        say_figures({f"LIME, {name}, to bare forwards and quickshift": ours / (floor + cut)})
        if "lime" in seconds:
            say_figures({f"LIME, {name}, to lime": ours / seconds["lime"]})
    if "lime" in seconds:
        outside = seconds["lime"] - seconds["bare lime"] - cut
        click.echo(f"lime outside its own bare forwards and quickshift: {1000 * outside / samples:.2f} ms a sample")


if __name__ == "__main__":
    main()
