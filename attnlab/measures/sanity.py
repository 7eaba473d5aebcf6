"""Model parameter randomisation (Adebayo et al. 2018): do maps change when the classifier's weights are random?"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from attnlab.arrays import Maps
from attnlab.hooks import frozen_eval, watch
from attnlab.measures.between_maps import spearman, ssim
from attnlab.models.classifier import Classifier
from attnlab.seeding import seed_of

STAGES = 10  # at most; a network of more layers has several drawn anew in each

Explain = Callable[[Classifier], Mapping[str, Maps]]


class Stage(NamedTuple):
    """What the maps of a method have in common before and after some layers' weights were drawn anew."""

    method: str
    order: Literal["cascading", "independent"]
    stage: int  # from 1 on, beginning at the logits
    layers: tuple[str, ...]  # that this stage draws anew, the nearest to the logits first
    images: int  # whose |maps| are finite, and constant neither before nor after
    spearman: float  # mean over them of the rank correlation of |maps|, NaN where there are none
    ssim: float  # likewise of their structural similarity; NaN also of maps smaller than its window


def randomisation(classifier: Classifier, explain: Explain, seed: int) -> list[Stage]:
    """Compare maps under trained weights with maps under random ones, stage by stage (Adebayo et al. 2018, section 3).

    `cascading` draws the weights of one stage more at a time, from the logits down to the images, until all are random;
    `independent` those of one stage alone, the others staying as trained. Layers are drawn anew by their
    `reset_parameters`, parameters of modules without one from a normal distribution with the same mean square.

    Args:
        classifier: Any; copies of it are changed, and it is given back as it was.
        explain: Makes maps of some images by one method or several, of any resolution, (N, h, w), always for the same
            classes and from the same seeds, with the classifier that it is given.
        seed: Of the weights.

    Returns:
        For each stage of the cascade and then for each alone one entry a method.
    """
    with frozen_eval(classifier):
        trained = {name: maps.detach().abs() for name, maps in explain(classifier).items()}
        stages = _stages(classifier)
    found: list[Stage] = []
    cascade = classifier.duplicate()
    for number, layers in enumerate(stages, 1):
        redraw(cascade, layers, seed)
        found += _compared("cascading", number, layers, trained, explain, cascade)
    for number, layers in enumerate(stages, 1):
        alone = classifier.duplicate()
        redraw(alone, layers, seed)
        found += _compared("independent", number, layers, trained, explain, alone)
    return found


def redraw(classifier: Classifier, layers: tuple[str, ...], seed: int) -> None:
    """Draw the weights of these layers anew; a layer's weights depend on the seed and its name alone."""
    modules = dict(classifier.network.named_modules())
    devices = [classifier.device] if classifier.device.type == "cuda" else []
    for name in layers:
        module = modules[name]
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed_of(seed, name))
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                parameter.normal_(0, parameter.double().square().mean().sqrt().item())


def _compared(
    order: Literal["cascading", "independent"],
    stage: int,
    layers: tuple[str, ...],
    trained: Mapping[str, Maps],
    explain: Explain,
    classifier: Classifier,
) -> list[Stage]:
    with frozen_eval(classifier):
        maps = explain(classifier)
    found = []
    for method, before in trained.items():
        after = maps[method].detach().abs()
        finite = after.isfinite().flatten(1).all(1)
        before, after = before[finite], after[finite]
        ranks = spearman(before, after)
        found.append(
            Stage(
                method,
                order,
                stage,
                layers,
                int(ranks.isfinite().sum()),
                ranks.nanmean().item(),
                ssim(before, after).nanmean().item(),
            )
        )
    return found


def _stages(classifier: Classifier) -> list[tuple[str, ...]]:
    """Names of the modules that hold parameters, from the logits down, in at most STAGES parts of equal number."""
    network, ends = classifier.network, dict[str, int]()
    images = torch.full((1, classifier.channels, *classifier.input_size), 0.5, device=classifier.device)

    def see(name: str, _module: nn.Module, _inputs: object, _output: object) -> None:
        ends[name] = len(ends) if name not in ends else ends[name]

    with torch.no_grad():
        watch(network, lambda: classifier(images), see)

    def end(name: str) -> int:
        """When the module ended, or what it is part of, where nobody sees it; the network's own weights come first."""
        while name and name not in ends:
            name = name.rpartition(".")[0]
        return ends.get(name, -1)

    holding = [name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))]
    holding.sort(key=end, reverse=True)
    parts = np.array_split(np.arange(len(holding)), min(STAGES, len(holding)))
    return [tuple(holding[index] for index in part) for part in parts]
