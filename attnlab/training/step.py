"""One training step as one callable: network passes, maps, masks and terms, so that DDP and compilers wrap it whole."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention.gradcam import capture_activations, logits_and_maps
from attnlab.hooks import preserve_bn_stats
from attnlab.models.classifier import Classifier
from attnlab.registry import loaded
from attnlab.training import ATTENTION_LOSSES, CLASSIFICATIONS, FILLS, LOSSES, Defense
from attnlab.training.losses import has_area, hide, mean_over, sum_over


class Terms(NamedTuple):
    """Loss terms and figures of a step: scalars by name, no name in both."""

    weighted: dict[str, Tensor]  # with their graph; their sum is the loss
    #: for the log, detached: the share of each kind of image classified correctly, the attention terms before their
    #: weights (raw_...), and the share of images that drop out of them for want of an area
    diagnostics: dict[str, Tensor]

    @property
    def loss(self) -> Tensor:
        """The scalar that is descended."""
        return torch.stack(list(self.weighted.values())).sum()


class Seen(NamedTuple):
    """The network's output for one kind of image."""

    images: Images
    logits: Logits
    maps: Maps | None  # of the labels; None where attention is not looked at


class Step(nn.Module):
    """One training step of a defence: from a classifier and a batch to loss terms.

    The adversarial images are made before, by `attacks.pgd.perturb` with `Defense.attack`. The images whose logits the
    loss reads share one pass, and so do the two kinds of masked images, each kind only where a term needs it: with an
    attack of K steps, madry+aad costs 2K + 12 forward passes a batch. A pass's activations give its maps, and each
    module stays in the mode it is in.

    Batch norms in train mode see the same images with attention terms as without: what these alone look at (the clean
    images of madry+aad, all masked images) has passes of its own, with their own statistics, which are kept out of the
    running ones. So the steps of a defence and of its +aad differ in the terms, and in nothing else. Where a loss reads
    clean and adversarial images, their statistics are of both together, as Kurakin et al. (2017) advise.
    """

    def __init__(self, classifier: Classifier, defense: Defense) -> None:
        super().__init__()
        self.classifier = classifier
        self.defense = defense
        # now, since a compiler cannot follow an import
        self.terms = loaded(LOSSES[defense.loss].terms)
        self.classify = loaded(CLASSIFICATIONS[defense.classification])
        attention = ATTENTION_LOSSES[defense.attention_loss]
        self.rectification, self.preservation = loaded(attention.rectification), loaded(attention.preservation)
        self.over_images = sum_over if attention.summed else mean_over  # of preservation
        self.maps = loaded(attention.maps)
        if defense.attends:
            with capture_activations(classifier):  # refuses a model without a layer
                pass

    def forward(self, clean: Images, adversarial: Images | None, labels: Labels) -> Terms:
        """The terms of a batch; `adversarial` is None where it is not among `Defense.reads`."""
        images = {"clean": clean, "adversarial": adversarial}
        read, kinds = LOSSES[self.defense.loss].reads, self.defense.reads
        seen = self._pass({kind: images[kind] for kind in read}, labels)  # type: ignore[misc]  # they are there
        others = {kind: images[kind] for kind in kinds if kind not in seen}
        if others:
            with preserve_bn_stats(self.classifier):
                seen |= self._pass(others, labels)  # type: ignore[arg-type]
        logits = {kind: seen[kind].logits for kind in kinds}
        terms = self.terms(logits, labels, self.classify, self.defense.weight)
        weighted = {name: self.defense.logits_weight * value for name, value in terms.items()}
        diagnostics = {f"{kind}_accuracy": (logits[kind].argmax(1) == labels).float().mean() for kind in kinds}
        if self.defense.attends:
            attention, without_area = self._attention(seen["clean"], seen["adversarial"])
            weights = {"rectification": self.defense.alpha, "preservation": self.defense.beta}
            weighted |= {name: weights[name] * value for name, value in attention.items()}
            diagnostics |= {f"raw_{name}": value.detach() for name, value in attention.items()}
            diagnostics["without_area"] = without_area
        return Terms(weighted, diagnostics)

    def _pass(self, images: dict[str, Images], labels: Labels) -> dict[str, Seen]:
        """Run one pass over some kinds of images."""
        count, together = len(images), torch.cat(list(images.values()))
        maps: Sequence[Maps | None] = [None] * count
        if self.defense.attends:
            logits, signed = logits_and_maps(
                self.classifier,
                together,
                labels.repeat(count),
                create_graph=self.defense.beta > 0,
                method=self.maps,
            )
            maps = signed.chunk(count)
        else:
            logits = self.classifier(together)
        parts = zip(images.values(), logits.chunk(count), maps, strict=True)
        return {kind: Seen(*part) for kind, part in zip(images, parts, strict=True)}

    def _attention(self, clean: Seen, adversarial: Seen) -> tuple[dict[str, Tensor], Tensor]:
        """Attention terms before their weights, by name, and the share of images without an area, all scalars."""
        images, logits, maps = map(torch.cat, zip(clean, adversarial, strict=True))  # type: ignore[arg-type]  # all there
        valid = has_area(maps).view(2, -1).all(0)  # of x and of x_adv
        terms = {}
        if self.defense.alpha > 0:
            with preserve_bn_stats(self.classifier):
                masked = self.classifier(hide(images, maps, FILLS[self.defense.fill]))
            terms["rectification"] = mean_over(self.rectification(logits, masked).view(2, -1).sum(0), valid)  # eq. 8
        if self.defense.beta > 0:
            terms["preservation"] = self.over_images(self.preservation(*maps.chunk(2)), valid)  # eq. 9
        return terms, 1 - valid.float().mean()
