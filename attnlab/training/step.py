"""One training step as one callable: network passes, maps, masks and terms, so that DDP and compilers wrap it whole."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnlab.attention.gradcam import map_from, observed
from attnlab.hooks import untracked
from attnlab.models.classifier import Classifier
from attnlab.training.defense import Defense
from attnlab.training.losses import (
    CLASSIFICATIONS,
    FILLS,
    LOSSES,
    has_area,
    hide,
    mean_over,
    preservation,
    rectification,
)


class Terms(NamedTuple):
    """What a step comes to.

    Attributes:
        weighted: Name -> scalar with its graph; their sum is the loss.
        diagnostics: Name -> scalar for the log, detached: the share of each kind of image classified correctly, the
            attention terms before their weights (raw_...), and the share of images that drop out of them for want of an
            area. No name is in both.
    """

    weighted: dict[str, Tensor]
    diagnostics: dict[str, Tensor]

    @property
    def loss(self) -> Tensor:
        """The scalar that is descended."""
        return torch.stack(list(self.weighted.values())).sum()


class Step(nn.Module):
    """What a defence makes of a classifier and a batch.

    The adversarial images are made before, by `attacks.pgd.perturb` with `Defense.attack`. Clean and adversarial images
    share one pass, and so do the two kinds of masked images, each kind only where a term needs it: with an attack of
    K steps, madry+aad costs 2K + 12 forward passes a batch. The pass's activations give the maps, and each module
    stays in the mode it is in.

    Batch norms in train mode take their statistics from clean and adversarial images together, as Kurakin et al. (2017)
    advise: the running ones are then of the mixture that the network was trained on. Masked images, which no one will
    ask about, are kept out of the running ones.

    Attributes:
        classifier: In whatever mode its modules are.
        defense: Its settings.
    """

    def __init__(self, classifier: Classifier, defense: Defense) -> None:
        """Put the two together.

        Raises:
            UserError: If the defence looks at attention and the classifier has no attention layer.
        """
        super().__init__()
        self.classifier = classifier
        self.defense = defense
        if defense.attends:
            with observed(classifier):  # refuses a model without a layer
                pass

    def forward(self, clean: Tensor, adversarial: Tensor | None, labels: Tensor) -> Terms:
        """The terms of a batch.

        Args:
            clean: Pixels in [0, 1], (N, C, H, W).
            adversarial: The same images attacked; None where "adversarial" is not among `Defense.reads`.
            labels: (N,); the maps are of these classes.
        """
        images = {"clean": clean, "adversarial": adversarial}
        kinds = self.defense.reads
        together = torch.cat([images[kind] for kind in kinds])  # type: ignore[misc]  # those that are read are there
        if self.defense.attends:
            with observed(self.classifier) as activations:
                logits = self.classifier(together)
        else:
            logits = self.classifier(together)
        parts = dict(zip(kinds, logits.chunk(len(kinds)), strict=True))
        loss = LOSSES[self.defense.loss]
        weighted = loss.terms(parts, labels, CLASSIFICATIONS[self.defense.classification], self.defense.weight)
        diagnostics = {f"{kind}_accuracy": (part.argmax(1) == labels).float().mean() for kind, part in parts.items()}
        if self.defense.attends:
            found, without_area = self._attention(together, logits, activations.pop(), labels.repeat(2))
            weights = {"rectification": self.defense.alpha, "preservation": self.defense.beta}
            weighted |= {name: weights[name] * value for name, value in found.items()}
            diagnostics |= {f"raw_{name}": value.detach() for name, value in found.items()}
            diagnostics["without_area"] = without_area
        return Terms(weighted, diagnostics)

    def _attention(
        self, images: Tensor, logits: Tensor, activations: Tensor, classes: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Attention terms before their weights, and the share of images without an area.

        Args:
            images: Clean ones, then adversarial ones: pixels in [0, 1], (2N, C, H, W).
            logits: Of these, (2N, K).
            activations: Of their pass, (2N, C, h, w).
            classes: Their labels, (2N,).
        """
        with torch.autocast(images.device.type, enabled=False):  # maps keep the logits' precision
            maps = map_from(self.classifier, logits, activations, classes, create_graph=self.defense.beta > 0)
        there = has_area(maps).view(2, -1).all(0)  # of x and of x_adv
        found = {}
        if self.defense.alpha > 0:
            with untracked(self.classifier):
                masked = self.classifier(hide(images, maps, FILLS[self.defense.fill]))
            found["rectification"] = mean_over(rectification(logits, masked).view(2, -1).sum(0), there)  # eq. 8
        if self.defense.beta > 0:
            found["preservation"] = mean_over(preservation(*maps.chunk(2)), there)  # eq. 9
        return found, 1 - there.float().mean()
