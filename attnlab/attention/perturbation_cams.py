"""CAMs that weigh channels by passes of their own: images that a channel masks, and networks that lack a channel.

A is the attention layer's output, (C, h, w) of an image; the logit of the class is what counts. Maps are signed, as
all are here: the papers' last ReLU is left out.
"""

from functools import partial

import torch
from torch import Tensor

from attnlab.arrays import Maps
from attnlab.attention.map_metrics import resize_maps
from attnlab.attention.masked_inference import NotFinite, in_batches
from attnlab.attention.model_pass import ModelPass
from attnlab.hooks import capture
from attnlab.models.trace import close

#: times as many images a pass where the layers behind the attention layer alone run, which leave more memory and want
#: larger batches
BEHIND = 8


@torch.no_grad()
def score_cam(seen: ModelPass) -> Maps:
    """Score-CAM map (Wang et al. 2020, algorithm 1), (N, h, w): sum_k w_k A_k, w the softmax over the channels of S_k.

    S_k is the logit of the normalised image times A_k, enlarged to the image's size and scaled to [0, 1]: what is
    masked fades to the mean colour. The logit of the paper's baseline image is the same for all channels and drops out.

    A channel that is constant masks everything, as in grad-cam and torch-cam; one pass of an image stands for all of
    these. grad-cam aligns the corners where it enlarges, torch-cam scales before it enlarges. The authors' own code
    weighs by the class's probability in place of a softmax over the channels.

    Raises:
        NotFinite: If the model gives NaN for a masked image.
    """
    features, classifier = seen.features, seen.classifier
    images, channels = features.shape[:2]
    inputs = classifier.normalise(seen.images)
    grids = features.flatten(0, 1)
    constant = (features.amax((2, 3)) == features.amin((2, 3))).cpu()
    first = constant & (constant.cumsum(1) == 1)  # of the constant channels of an image
    asked = (~constant | first).flatten().nonzero()[:, 0]
    owners = asked.div(channels, rounding_mode="floor").to(features.device)
    asked = asked.to(features.device)

    def logits_of(part: slice) -> Tensor:
        masks = _unit(resize_maps(grids[asked[part]], (inputs.shape[2], inputs.shape[3])))[:, None].to(inputs)
        logits = classifier.infer(inputs[owners[part]] * masks)
        return logits.gather(1, seen.classes[owners[part]][:, None])[:, 0]

    answers, _ = in_batches(logits_of, len(asked), seen.batch_size)
    scores = features.new_zeros(images * channels)
    scores[asked] = torch.cat(answers).to(scores)
    scores = scores.view(images, channels)
    _check_finite(scores)
    shared = (scores * first.to(scores)).sum(1, keepdim=True).expand_as(scores)
    weights = torch.where(constant.to(scores.device), shared, scores).softmax(1)
    return torch.einsum("nc,nchw->nhw", weights, features)


@torch.no_grad()
def ablation_cam(seen: ModelPass) -> Maps:
    """Ablation-CAM map (Desai and Ramaswamy 2020), (N, h, w): sum_k w_k A_k, w_k = S - S_k.

    S is the logit, S_k the logit where A_k is 0. The paper divides w_k by S: a factor of the whole map that would turn
    it upside down where S is negative, so that it is left out. Of tokens those that are no patches keep their values.
    grad-cam sets A_k to its minimum less 10,000,000 where the layer has negative outputs, against the paper.

    Behind a closed form w_k is the weight of the head times the mean of A_k, and no pass is made. Elsewhere the network
    behind the layer runs once a channel, on one pass of what lies before it; where the network does not allow that,
    the whole network does.

    Raises:
        NotFinite: If the model gives NaN without a channel.
    """
    closed = seen.classifier.head is not None
    weights = seen.weights * seen.features.sum((2, 3)) if closed else _drops(seen)
    return torch.einsum("nc,nchw->nhw", weights, seen.features)


def _drops(seen: ModelPass) -> Tensor:
    """How far the logit of each image falls without each channel, (N, C); channels of zeros need no pass."""
    inputs = seen.classifier.normalise(seen.images)
    ablation = _Ablation(seen, inputs[:1])
    batch_size = seen.batch_size * BEHIND if ablation.shares else seen.batch_size
    drops = torch.zeros_like(seen.features[..., 0, 0])
    for number, features in enumerate(seen.features):
        channels = features.flatten(1).any(1).nonzero()[:, 0]
        ask = partial(ablation, inputs[number : number + 1], channels)
        answers, batch_size = in_batches(ask, len(channels), batch_size)
        if answers:
            class_ = seen.classes[number]
            drops[number, channels] = seen.logits[number, class_] - torch.cat(answers)[:, class_].to(drops)
    _check_finite(drops)
    return drops


class _Ablation:
    """Asks a classifier for logits without single channels of its attention layer."""

    def __init__(self, seen: ModelPass, image: Tensor) -> None:
        """Count how often the layer runs; try, on a normalised image, whether one pass up to it serves all channels."""
        self.classifier = seen.classifier
        self.layer = seen.classifier.attention_layer or ""
        with capture(self.classifier.network, self.layer) as outputs:
            self.classifier.logits(image.clone())
        self.runs = len(outputs)
        self.shares = False
        strongest = seen.features[0].flatten(1).abs().sum(1).topk(min(2, seen.features.shape[1])).indices
        expected = self(image, strongest)
        self.shares = True
        try:
            self.shares = close(self(image, strongest), expected, image.dtype)
        except Exception:  # of the network's own code, which joins to the layer what lies before it, image by image
            self.shares = False

    def __call__(self, image: Tensor, channels: Tensor, part: slice = slice(None)) -> Tensor:
        """Logits of an image, normalised, (1, C, H, W), each without one of some channels: (channels, K)."""
        channels = channels[part]
        rows = torch.arange(len(channels), device=channels.device)
        runs = 0

        def ablate(output: Tensor) -> Tensor:
            nonlocal runs
            runs += 1
            output = output.expand(len(channels), *output.shape[1:])
            if runs == self.runs:  # of a module that runs several times the last, as everywhere
                output = output.clone()
                self.classifier.spatial(output)[rows, channels] = 0
            return output

        copies = image if self.shares else image.expand(len(channels), -1, -1, -1)
        copies = copies.clone(memory_format=self.classifier.memory_format)  # the network may work in place
        with capture(self.classifier.network, self.layer, change=ablate):
            return self.classifier.logits(copies, len(channels))


def _unit(maps: Maps) -> Maps:
    """Maps scaled to [0, 1] each, (N, H, W); constant ones are 0."""
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest).where(highest > lowest, 1)


def _check_finite(values: Tensor) -> None:
    broken = (~values.isfinite()).any(1).nonzero()
    if len(broken):
        raise NotFinite(int(broken[0]))
