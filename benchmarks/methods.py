"""Attention methods side by side: what a second CAM costs, and how passes of one's own compare with other packages.

    python -m benchmarks.methods ../shared/data [--images 8 --rounds 5] [--only NAME] [--precision bf16]

MobileNetV2, whose head has a closed form, and SqueezeNet, whose has none, with their real weights, on the first
photographs of ImageNet's validation set; explained is the label. All ways of a comparison take turns in one run, each
figure is the median of the rounds, and a goal is a ratio of two of them. One more comparison is a function and a line
in COMPARISONS. Other packages get the network as its maker gives it, attnlab its default layout.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import click
import torch
from torch import Tensor

from attnlab.attention import METHODS
from attnlab.attention.captum_methods import SETTINGS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.data import load_dataset
from attnlab.data.resizing import read_batch
from attnlab.hooks import capture, find_layer, frozen_eval
from attnlab.measures import faithfulness
from attnlab.models import Classifier, load_model
from attnlab.pipelines.hardware import lime_batch_size
from benchmarks.timing import installed, machine, say_figures, side_by_side

MODELS = {  # name -> what load_model takes, within the folder of data
    "MobileNetV2": ("{}/weights/mobilenet_v2_tf.py:build", "default"),
    "SqueezeNet 1.1": ("squeezenet1_1", "{}/weights/squeezenet1_1.safetensors"),
}
BATCH_SIZES = (2, 4, 8, 16, 32, 64)  # that captum is tried at
STEPS = 24  # of deletion
FUSED = ("grad-cam++", "layer-cam", "hires-cam", "xgrad-cam", "eigen-cam")


@dataclass(frozen=True)
class Setup:
    """What all comparisons of a network share."""

    model: str
    placed: Classifier  # as attnlab runs it by default
    plain: Classifier  # as its maker gives it
    images: Tensor  # pixels in [0, 1], (N, C, H, W)
    labels: Tensor  # (N,)


@dataclass(frozen=True)
class Goal:
    """How many times as long as `under` the way `over` takes, and what it may or should be, if that was set."""

    over: str
    under: str
    at_most: float | None = None
    at_least: float | None = None

    def line(self, seconds: Mapping[str, float]) -> str:
        """The ratio, and whether it is what it should be."""
        ratio = seconds[self.over] / seconds[self.under]
        text = f"{self.over}: {ratio:.2f}x of {self.under}"
        if self.at_most is not None:
            text += f" (at most {self.at_most:.2f}x: {'yes' if ratio <= self.at_most else 'NO'})"
        if self.at_least is not None:
            text += f" (at least {self.at_least:.2f}x: {'yes' if ratio >= self.at_least else 'NO'})"
        return text


@dataclass(frozen=True)
class Comparison:
    """Ways that take turns, of how many images each is, and what their ratios should be."""

    ways: Mapping[str, Callable[[], object]]
    images: int
    goals: tuple[Goal, ...] = ()
    note: str = ""


def fused(setup: Setup) -> Comparison:
    """A pass with one CAM each, and with each three of them."""

    def way(*methods: str) -> Callable[[], object]:
        functions = [METHODS[method].maps for method in methods]

        def maps(seen: ModelPass) -> Tensor:
            return torch.stack([function(seen) for function in functions if function])

        def run() -> object:
            with frozen_eval(setup.placed):
                return logits_and_maps(setup.placed, setup.images, setup.labels, detach_input=True, method=maps)

        return run

    three = [("grad-cam", *pair) for pair in combinations(FUSED, 2)]
    ways = {name: way(name) for name in ("grad-cam", *FUSED)} | {", ".join(names): way(*names) for names in three}
    goals = [Goal(name, "grad-cam", at_most=1.05) for name in FUSED]
    goals += [Goal(", ".join(names), "grad-cam", at_most=1.15) for names in three]
    return Comparison(ways, len(setup.images), tuple(goals))


def score_cam(setup: Setup) -> Comparison:
    """Score-CAM of an image by attnlab, by grad-cam at its own and at attnlab's batch size, and bare passes as many."""
    compared = _with_passes(setup, "score-cam", "ScoreCAM", at_least=3)
    with capture(setup.placed.network, setup.placed.attention_layer or "") as outputs, torch.no_grad():
        setup.placed(setup.images[:1])
    passes = _bare_passes(setup, outputs[-1].shape[1])
    goal = Goal("attnlab", "bare passes", at_most=1.1)
    return replace(compared, ways={**compared.ways, "bare passes": passes}, goals=(goal, *compared.goals))


def ablation_cam(setup: Setup) -> Comparison:
    """Ablation-CAM likewise."""
    return _with_passes(setup, "ablation-cam", "AblationCAM")


def _with_passes(setup: Setup, method: str, peer: str, at_least: float | None = None) -> Comparison:
    image, label = setup.images[:1], setup.labels[:1]
    batch_size, _ = lime_batch_size(setup.placed)

    def own() -> object:
        def maps(seen: ModelPass) -> Tensor:
            function = METHODS[method].maps
            assert function is not None
            fields = (seen.classifier, seen.images, seen.logits, seen.activations, seen.classes)
            return function(ModelPass(*fields, batch_size=batch_size))

        with frozen_eval(setup.placed):
            return logits_and_maps(setup.placed, image, label, detach_input=True, method=maps)

    ways: dict[str, Callable[[], object]] = {"attnlab": own}
    goals = []
    if installed("pytorch_grad_cam"):
        for name, size in (("grad-cam", None), (f"grad-cam, batch {batch_size}", batch_size)):
            ways[name] = _by_grad_cam(setup, peer, image, label, size)
            goals.append(Goal(name, "attnlab", at_least=None if size else at_least))
    return Comparison(ways, 1, tuple(goals), f"attnlab at batch {batch_size}")


def _by_grad_cam(setup: Setup, peer: str, image: Tensor, label: Tensor, batch_size: int | None) -> Callable[[], object]:
    """A class of the package grad-cam, at its own batch size or at another."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier = setup.plain
    layer = find_layer(classifier.network, classifier.attention_layer or "")
    inputs, targets = classifier.normalise(image), [ClassifierOutputTarget(int(label))]

    def run() -> object:
        with redirect_stderr(StringIO()), getattr(pytorch_grad_cam, peer)(classifier.network, [layer]) as cam:
            if batch_size:
                cam.batch_size = batch_size
            return cam(inputs, targets)

    return run


def by_captum(setup: Setup) -> Comparison:
    """Captum's methods of an image through attnlab, and called bare on the same network at the best batch size."""
    import captum.attr as attr

    classifier, image, label = setup.placed, setup.images[:1], setup.labels[:1]
    batch_size, _ = lime_batch_size(classifier)
    smooth = attr.NoiseTunnel(attr.Saliency(classifier))
    side = round(SETTINGS.window * image.shape[2])
    window, stride = (3, side, side), (3, side // SETTINGS.strides, side // SETTINGS.strides)
    bare: dict[str, Callable[[int], object]] = {
        "saliency": lambda size: attr.Saliency(classifier).attribute(image.clone(), target=label),
        "integrated-gradients": lambda size: attr.IntegratedGradients(classifier).attribute(
            image, 0.0, target=label, n_steps=SETTINGS.steps, internal_batch_size=size
        ),
        "smoothgrad": lambda size: smooth.attribute(
            image, nt_samples=SETTINGS.noisy, nt_samples_batch_size=size, stdevs=SETTINGS.noise, target=label
        ),
        "occlusion": lambda size: attr.Occlusion(classifier).attribute(
            image, window, stride, 0.0, target=label, perturbations_per_eval=size
        ),
    }

    def own(name: str) -> Callable[[], object]:
        maps = METHODS[name].maps
        assert maps is not None
        seen = ModelPass(classifier, image, torch.empty(1, 0), None, label, batch_size=batch_size)
        return frozen(lambda: maps(seen))

    def frozen(run: Callable[[], object]) -> Callable[[], object]:
        def within() -> object:
            with frozen_eval(classifier):
                return run()

        return within

    ways: dict[str, Callable[[], object]] = {}
    goals = []
    for name, call in bare.items():
        sized = {size: frozen(partial(call, size)) for size in BATCH_SIZES}
        seconds = side_by_side(sized, 1, str(image.device))
        best = min(seconds, key=seconds.__getitem__)
        peer = f"captum's {name}, batch {best}"
        ways |= {name: own(name), peer: sized[best]}
        goals.append(Goal(name, peer, at_most=1.05))
    return Comparison(ways, 1, tuple(goals), f"attnlab at batch {batch_size}")


def deletion(setup: Setup) -> Comparison:
    """Deletion of all images in as many steps by attnlab and by Quantus (PixelFlipping), and the bare passes it takes.

    Quantus gets the network and all images at once, as attnlab's passes are of the batch size that is found for them.
    attnlab also looks at the whole image, which Quantus does not. torch-cam and grad-cam have no deletion.
    """
    maps = torch.rand(len(setup.images), *setup.images.shape[2:], generator=torch.Generator().manual_seed(0))
    batch_size, _ = lime_batch_size(setup.placed)

    def own() -> object:
        with frozen_eval(setup.placed), patch.object(faithfulness, "STEPS", STEPS):
            return faithfulness.deletion(setup.placed, setup.images, maps, setup.labels, batch_size)

    ways: dict[str, Callable[[], object]] = {
        "attnlab": own,
        "bare passes": _bare_passes(setup, len(setup.images) * (STEPS + 1)),
    }
    goals = [Goal("attnlab", "bare passes", at_most=1.1)]
    if installed("quantus"):
        ways["quantus"] = _by_quantus(setup, maps)
        goals.append(Goal("quantus", "attnlab", at_least=3))
    return Comparison(ways, len(setup.images), tuple(goals), f"{STEPS} steps at batch {batch_size}")


def _bare_passes(setup: Setup, count: int) -> Callable[[], object]:
    """So many images through the network and nothing else, at the batch size that is found for it."""
    batch_size, _ = lime_batch_size(setup.placed)
    normal = setup.placed.normalise(setup.images[:1].expand(batch_size, -1, -1, -1))

    def run() -> None:
        with frozen_eval(setup.placed):
            for start in range(0, count, batch_size):
                setup.placed.infer(normal[: count - start])

    return run


def _by_quantus(setup: Setup, maps: Tensor) -> Callable[[], object]:
    """PixelFlipping of Quantus, which replaces values of channels one by one, in STEPS steps.

    A step must divide the pixels of a channel but is of the values of all three: so there are 24 or 42 of 224 px.
    """
    import quantus

    step = setup.images[0].numel() // STEPS
    metric = quantus.PixelFlipping(features_in_step=step, perturb_baseline=0.5, normalise=False, disable_warnings=True)
    images, labels = setup.images.cpu().numpy(), setup.labels.cpu().numpy()
    scores = maps[:, None].numpy()
    device = str(setup.images.device)
    return lambda: metric(setup.plain, images, labels, scores, device=device, batch_size=len(images))


#: one more is a function and a line here
COMPARISONS: dict[str, Callable[[Setup], Comparison]] = {
    "fused CAMs": fused,
    "score-cam": score_cam,
    "ablation-cam": ablation_cam,
    "deletion": deletion,
    "captum": by_captum,
}


def setup_of(name: str, data: Path, images: int, device: str, precision: str) -> Setup:
    """A network with its weights, and the first photographs."""
    model, weights = (text.format(data) for text in MODELS[name])
    placed = load_model(model, weights).place(device, precision, "folded")
    plain = load_model(model, weights).place(device, memory_format="contiguous")
    for classifier in (placed, plain):
        classifier.eval()
    plain.network.requires_grad_(True)
    batch = read_batch(load_dataset("imagenet", data / "imagenet-val"), placed.input_size, range(images))
    return Setup(name, placed, plain, *batch.tensors(torch.device(device)))


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--images", default=8, show_default=True, help="Of a batch of the fused CAMs.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(COMPARISONS)), help="Comparisons to make; all without.")
@click.option("--model", multiple=True, type=click.Choice(list(MODELS)), help="Networks to take; both without.")
@click.option("--precision", default="fp32", show_default=True, help="Of attnlab's passes; other packages keep fp32.")
def main(
    data: Path, images: int, rounds: int, device: str, only: tuple[str, ...], model: tuple[str, ...], precision: str
) -> None:
    """Print milliseconds an image, and ratios."""
    warnings.filterwarnings("ignore")
    click.echo(machine(device, ("torch", "torchvision", "grad-cam", "captum")))
    for name in model or MODELS:
        setup = setup_of(name, data, images, device, precision)
        for title in only or COMPARISONS:
            comparison = COMPARISONS[title](setup)
            seconds = side_by_side(comparison.ways, rounds, device)
            note = f", {comparison.note}" if comparison.note else ""
            click.echo(f"\n{title}: {name}, n = {comparison.images}, median of {rounds} rounds{note}")
            for way, value in seconds.items():
                click.echo(f"{way:36} {1000 * value / comparison.images:10.2f} ms an image")
            for goal in comparison.goals:
                click.echo(goal.line(seconds))
                say_figures(
                    {f"{title} on {name}: {goal.over} to {goal.under}": seconds[goal.over] / seconds[goal.under]}
                )


if __name__ == "__main__":
    main()
