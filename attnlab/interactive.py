"""Attention and attacks of tensors at hand: for a loop of one's own, and for notebooks.

A user's own DataLoader gives the images and a `Classifier` holds the user's own module; no run folder is written.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from attnlab.arrays import Areas, Images, Labels, Maps
from attnlab.attacks import Attack
from attnlab.attacks.others import OTHER_ATTACKS, OtherAttack
from attnlab.attacks.parse import check_everywhere, parse_attack, parse_eps
from attnlab.attacks.pgd import perturb
from attnlab.attacks.targets import check_targetable, parse_target
from attnlab.attention import METHODS
from attnlab.attention.lime import LimeSettings, perturbations
from attnlab.attention.lime import explain as fit_lime
from attnlab.attention.masked_inference import MaskedInference
from attnlab.attention.several import Maker
from attnlab.data.regions import WHERE
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.report.figures.overlay import overlay
from attnlab.seeding import seed_of
from attnlab.superpixels import Weights, method_for, superpixels
from attnlab.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, COLUMNS = 8, 4  # images that a notebook shows of a batch, and a figure has in a row
SIDE = 2.4  # inches of an image in a figure


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attention maps of a batch of images. A notebook shows them as pictures.

    Attributes:
        method: `grad-cam`, another attention method, or `lime`.
        images: Pixels in [0, 1], (N, C, H, W).
        classes: Class explained of each image, (N,).
        maps: Signed maps at the layer's own resolution, (N, h, w), or of a method at pixels the images', (N, H, W); of
            LIME each pixel's superpixel's weight.
        segments: Of LIME: superpixel of each pixel, (N, H, W), labels from 0 on.
        weights: Of LIME: weight of each superpixel, an array (superpixels,) for each image.
    """

    method: str
    images: Images
    classes: Labels
    maps: Maps
    segments: Tensor | None = None
    weights: Sequence[Weights] = ()

    def __len__(self) -> int:
        return len(self.images)

    def plot(self, boxes: Sequence[Any] | None = None, names: Sequence[str] = ()) -> Figure:
        """Draw each map over its image in grey, under its class's name out of `names`, by default its number.

        `boxes` are of each image, half-open pixels (B, 4).
        """
        from matplotlib.figure import Figure

        columns = min(COLUMNS, len(self))
        rows = -(-len(self) // max(1, columns))
        figure = Figure(figsize=(SIDE * columns, (SIDE + 0.3) * rows), layout="constrained")
        for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
            axes.set_axis_off()
            if index < len(self):
                number = int(self.classes[index])
                pixels = self.images[index].detach().float().cpu().permute(1, 2, 0).numpy()
                corners = np.asarray(() if boxes is None else boxes[index], float).reshape(-1, 4)
                axes.imshow(overlay(pixels, self.maps[index].detach().float().cpu().numpy(), corners))
                axes.set_title(names[number] if names else f"class {number}", fontsize=9)
        return figure

    def _repr_html_(self) -> str:
        """The first images with their maps, for a notebook."""
        caption = f"{self.method} of {counted(len(self), 'image')}, maps of {tuple(self.maps.shape[1:])}"
        if not len(self):
            return f"<p>{escape(caption)}</p>"
        first = replace(self, images=self.images[:SHOWN], classes=self.classes[:SHOWN], maps=self.maps[:SHOWN])
        more = f", the first {SHOWN}" if len(self) > SHOWN else ""
        file = io.BytesIO()
        first.plot().savefig(file, format="png", dpi=80)
        picture = base64.b64encode(file.getvalue()).decode()
        return f'<p>{escape(caption + more)}</p><img alt="{escape(caption)}" src="data:image/png;base64,{picture}">'


def explain(
    classifier: Classifier, images: Images, classes: Labels | None = None, method: str = "grad-cam"
) -> Explanation:
    """Explain what a classifier looks at; see `lime` for superpixels in place of maps.

    Args:
        classifier: Any; it is used in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        classes: Class to explain per image, (N,); by default the prediction.
        method: An attention method; `attnlab list methods` names them.

    Raises:
        UserError: If there is no such method, or the classifier has no attention layer.

    >>> import attnlab, torch
    >>> classifier = attnlab.load_model("resnet8")
    >>> found = attnlab.explain(classifier, torch.rand(2, 3, 64, 64))
    >>> found.method, tuple(found.maps.shape)
    ('grad-cam', (2, 8, 8))
    """
    spec = METHODS.expect(method, "method")
    if spec.maps is None:
        return lime(classifier, images, classes)
    spec.check(classifier)
    images = images.to(classifier.device)
    classes = classes if classes is None else classes.to(classifier.device)
    with frozen_eval(classifier):
        maker = Maker(classifier, {method: "true"})
        look = maker.look(images, classes, cut=True)
        maps = maker.finish(look)[method]
    return Explanation(method, images, look.logits.argmax(1) if classes is None else classes, maps)


def lime(
    classifier: Classifier,
    images: Images,
    classes: Labels | None = None,
    settings: LimeSettings | None = None,
    *,
    seed: int = 0,
    image_ids: Sequence[str] | None = None,
    batch_size: int = 64,
) -> Explanation:
    """Explain images by LIME (Ribeiro et al. 2016): which superpixels the probability of a class hangs on.

    Args:
        classifier: Any; it is used in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        classes: Class to explain per image, (N,); by default the prediction.
        settings: Samples, superpixels and what hides them; by default 1000 samples, and superpixels by what suits the
            images' size.
        seed: Of what is hidden and of the superpixels, together with each image's id.
        image_ids: With those of a run these are its explanations; by default numbers from 0 on.
        batch_size: Samples a forward pass.

    >>> import attnlab, torch
    >>> found = attnlab.lime(attnlab.load_model("resnet8"), torch.zeros(1, 3, 64, 64), seed=1)
    >>> len(found.weights[0]) == int(found.segments.max()) + 1
    True
    """
    images = images.to(classifier.device)
    names = [str(number) for number in range(len(images))] if image_ids is None else list(image_ids)
    if len(names) != len(images):
        raise UserError(f"expected an image_id for each of {len(images)} images, got {len(names)}")
    settings = settings or LimeSettings(superpixels=method_for(images.shape[1], (images.shape[2], images.shape[3])))
    with frozen_eval(classifier), torch.no_grad():
        classes = classifier(images).argmax(1) if classes is None else classes.to(classifier.device)
        pixels, method = images.float().cpu().numpy(), settings.superpixels
        cut = [superpixels(image, method, seed_of(seed, name)) for image, name in zip(pixels, names, strict=True)]
        segments = torch.from_numpy(np.stack(cut).astype(np.int64)).to(classifier.device)
        sampler = MaskedInference(classifier, images, classes, segments, settings.hide, batch_size)
        counts = [int(of_pixel.max()) + 1 for of_pixel in cut]
        pairs = zip(names, counts, strict=True)
        shown = [perturbations(name, n, settings.samples, seed, settings.sampling) for name, n in pairs]
        weights = [explanation.weights for explanation in fit_lime(sampler, shown, settings)]
    maps = np.stack([values[of_pixel] for values, of_pixel in zip(weights, cut, strict=True)])
    return Explanation("lime", images, classes, torch.from_numpy(maps).to(classifier.device), segments, weights)


def attack(
    classifier: Classifier,
    images: Images,
    labels: Labels,
    attack: str | Attack = "pgd",
    eps: float | str | None = None,
    *,
    steps: int | None = None,
    seeds: Sequence[int] | None = None,
    norm: str = "linf",
    target: int | str | None = None,
    where: str = WHERE[0],
    truth: Areas | None = None,
) -> Images:
    """Make adversarial images.

    Args:
        classifier: Any; it is attacked in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        labels: (N,).
        attack: A name as of `attnlab evaluate --attacks`, such as `pgd20+a3`, or settings of the loop.
        eps: Budget in the same units, such as `8/255`; by default 16/255, or that of the settings.
        steps: Of an iterative attack whose name carries no number.
        seeds: Of each image's random start; by default its place in the batch.
        norm: Of eps, linf or l2; settings have their own.
        target: Class that the images are moved to, as of --attack-target; names are those of the classifier's labels.
        where: Pixels that an attack of the loop may change: all, those outside the ground truth, or those inside;
            settings have their own.
        truth: That ground truth, (N, H, W), bool: for a batch of `read_batch` its `masks`.

    Returns:
        Pixels in [0, 1] at most eps from the images, (N, C, H, W), detached.

    Raises:
        UserError: If there is no such attack, or eps is no length of pixels in [0, 1].

    >>> import attnlab, torch
    >>> images, labels = torch.full((2, 3, 64, 64), 0.5), torch.tensor([3, 7])
    >>> attacked = attnlab.attack(attnlab.load_model("resnet8"), images, labels, "pgd5", eps="8/255")
    >>> round(255 * float((attacked - images).abs().max()), 3)
    8.0
    """
    images, labels = images.to(classifier.device), labels.to(classifier.device)
    norm, where = (attack.norm, attack.where) if isinstance(attack, Attack) else (norm, where)
    budget = None if eps is None else parse_eps(str(eps), norm=norm)
    if budget is None and norm != "linf" and isinstance(attack, str):
        raise UserError(f"expected eps with the norm {norm}, such as 0.5")
    if target is not None and isinstance(attack, str):
        check_targetable([attack])
    if attack in OTHER_ATTACKS:
        check_everywhere(str(attack), where)
        other = OtherAttack(str(attack), Attack.eps if budget is None else budget, norm=norm)
        return other(classifier, images, labels, range(len(images)) if seeds is None else seeds)
    chosen = parse_attack(attack, steps=steps, others=[*OTHER_ATTACKS]) if isinstance(attack, str) else attack
    chosen = replace(chosen, norm=norm, where=where, eps=chosen.eps if budget is None else budget)
    if target is not None:
        chosen = replace(chosen, target=parse_target(target, classifier.labels, classifier.classes))
    return perturb(classifier, images, labels, chosen, seeds=seeds, truth=truth)
