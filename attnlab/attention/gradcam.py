"""Grad-CAM (Selvaraju et al. 2017), in closed form where the network's head allows it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from attnlab.arrays import Images, Labels, Logits, Maps
from attnlab.attention import NO_LAYER, MapFunction
from attnlab.attention.model_pass import ModelPass
from attnlab.errors import UserError
from attnlab.hooks import capture, frozen_eval
from attnlab.models.classifier import Classifier


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
    method: MapFunction | None = None,
) -> tuple[Logits, Maps]:
    """Logits, with their graph, and maps of one forward pass, in whatever mode the classifier's modules are.

    Args:
        classes: Class to explain per image, (N,); None for the prediction.
        detach_input: No gradient needs to reach the images: keep no graph before the attention layer.
        create_graph: Let gradients through the maps, to images and parameters; else the maps are detached.
        method: The `maps` of one in METHODS (see `attnlab.attention`); by default Grad-CAM.

    Returns:
        Logits and maps in their precision, also under autocast.

    Raises:
        UserError: If the classifier has no attention layer.
    """
    with torch.enable_grad():
        with capture_activations(classifier, cut=detach_input, twice=create_graph) as activations:
            logits = classifier(images)
        classes = logits.argmax(1) if classes is None else classes
        seen = ModelPass(classifier, images, logits, activations.pop(), classes, create_graph=create_graph)
        with full_precision(logits.device):
            return logits, (method or grad_cam_maps)(seen)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off, where the device has any."""
    there = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if there else nullcontext()


@contextmanager
def capture_activations(classifier: Classifier, *, cut: bool = False, twice: bool = False) -> Iterator[list[Tensor]]:
    """Collect the attention layer's output of every forward pass inside the block, for a `ModelPass`.

    With `cut` no graph is kept before the layer, as no gradient needs to reach the images. With `twice` the maps are
    differentiated themselves (`create_graph`): without a closed form, attention inside the network needs kernels that
    have a second derivative.
    """
    if classifier.attention_layer is None:
        raise UserError(NO_LAYER)
    classifier.prove_head()
    classifier.warn_of_maps()
    kernels = sdpa_kernel(SDPBackend.MATH) if twice and classifier.head is None else nullcontext()
    with kernels, capture(classifier.network, classifier.attention_layer, cut=cut) as outputs:
        yield outputs


def grad_cam_maps(seen: ModelPass) -> Maps:
    """Grad-CAM map from a pass made inside `capture_activations`, (N, h, w): the weighted sum of the activations.

    Where the network's head has a closed form no backward pass is needed. Elsewhere the gradient is taken by the
    layer's output as it is, and both are brought to (N, C, h, w) from convolutions, channels-last or tokens.
    """
    return torch.einsum("nc,nchw->nhw", seen.weights, seen.features)  # eq. 2
