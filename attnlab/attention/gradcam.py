"""Grad-CAM (Selvaraju et al. 2017), in closed form where the network's head allows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.errors import UserError
from attnlab.hooks import capture, frozen_eval
from attnlab.models.classifier import Classifier
from attnlab.models.outputs import check_gradient


def grad_cam(classifier: Classifier, images: Images, classes: Labels) -> Maps:
    """Grad-CAM map of each image for its class (Selvaraju et al. 2017, eqs. 1-2; eq. 2 of the paper before the ReLU).

    Args:
        classifier: Any; it is used in eval mode and given back as it was.
        images: Pixels in [0, 1], (N, C, H, W).
        classes: Class to explain per image, (N,).

    Returns:
        Signed map at the layer's own resolution, (N, h, w), in the logits' precision.

    Raises:
        UserError: If the classifier has no attention layer.
    """
    with frozen_eval(classifier):
        return logits_and_maps(classifier, images, classes, detach_input=True)[1]


def logits_and_maps(
    classifier: Classifier,
    images: Images,
    classes: Labels | None,
    *,
    detach_input: bool = False,
    create_graph: bool = False,
    method: Callable[..., Maps] | None = None,
) -> tuple[Logits, Maps]:
    """Logits, with their graph, and maps of one forward pass, in whatever mode the classifier's modules are.

    Args:
        classes: Class to explain per image, (N,); None for the prediction.
        detach_input: No gradient needs to reach the images: keep no graph before the attention layer.
        create_graph: Let gradients through the maps, to images and parameters; else the maps are detached.
        method: The `maps` of one in METHODS (see `attnlab.attention`), whose maps are detached; by default Grad-CAM.

    Returns:
        Logits and maps in their precision, also under autocast.

    Raises:
        UserError: If the classifier has no attention layer.
    """
    with torch.enable_grad():
        with capture_activations(classifier, cut=detach_input, twice=create_graph) as activations:
            logits = classifier(images)
        classes = logits.argmax(1) if classes is None else classes
        device = logits.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            make = method or partial(cam_from_activations, create_graph=create_graph)
            return logits, make(classifier, logits, activations.pop(), classes)


@contextmanager
def capture_activations(classifier: Classifier, *, cut: bool = False, twice: bool = False) -> Iterator[list[Tensor]]:
    """Collect the attention layer's output of every forward pass inside the block, for `cam_from_activations`.

    With `cut` no graph is kept before the layer, as no gradient needs to reach the images. With `twice` the maps are
    differentiated themselves (`create_graph`): without a closed form, attention inside the network needs kernels that
    have a second derivative.
    """
    if classifier.attention_layer is None:
        raise UserError("this model has no spatial feature map of its own accord; name a layer with --layer")
    classifier.prove_head()
    classifier.warn_of_maps()
    kernels = sdpa_kernel(SDPBackend.MATH) if twice and classifier.head is None else nullcontext()
    with kernels, capture(classifier.network, classifier.attention_layer, cut=cut) as outputs:
        yield outputs


def cam_from_activations(
    classifier: Classifier, logits: Logits, activations: Tensor, classes: Labels, *, create_graph: bool = False
) -> Maps:
    """Grad-CAM map from a forward pass that was made inside `capture_activations`; detached unless `create_graph`.

    With a linear layer W behind a global average pool, d logit_c / d A_k is W[c, k] / (h w) in every cell, so the map
    is the weighted sum of the activations and no backward pass is needed. Elsewhere the gradient is taken by
    the layer's output as it is, and both are brought to (N, C, h, w) from convolutions, channels-last or tokens.
    """
    features = classifier.spatial(activations)  # (N, C, h, w)
    if classifier.head is not None:
        weights = classifier.head_weight()[classes] / features[0, 0].numel()  # (N, C)
    else:
        check_gradient(logits)
        with torch.enable_grad():
            score = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, activations, retain_graph=True, create_graph=create_graph)
        weights = classifier.spatial(gradient).to(logits.dtype).mean((2, 3))  # eq. 1: alpha, (N, C)
    if not create_graph:
        weights, features = weights.detach(), features.detach()
    return torch.einsum("nc,nchw->nhw", weights, features.to(logits.dtype))  # eq. 2
