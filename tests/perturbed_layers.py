"""Networks of every layout, their maps by perturbation, and an attention layer changed by hand."""

import layout_networks as networks
import torch
from torch import Tensor

from attnlab.attention import METHODS
from attnlab.attention.gradcam import logits_and_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.hooks import find_layer, frozen_eval
from attnlab.models import Classifier

CLASSES = torch.tensor([1, 8, 4])


#: as in test_cams
NETWORKS = {
    "closed form": (networks.Convolutions, "features"),
    "convolutions": (networks.convolutional_head, "features"),
    "bent": (networks.bent, "features"),
    "channels-last": (networks.hidden_head, "norm"),
    "tokens": (networks.three_before, "blocks.layers.1.norm1"),
}


def noise(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 16, 24, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def classifier_of(name: str) -> Classifier:
    make, layer = NETWORKS[name]
    module = make()
    module.mean, module.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    classifier = Classifier(module, layer).double().eval()
    assert (classifier.head is not None) == (name == "closed form")
    return classifier


def maps_of(classifier: Classifier, images: Tensor, method: str, batch_size: int = 64) -> Tensor:
    def maps(seen: ModelPass) -> Tensor:
        own = ModelPass(*(getattr(seen, name) for name in FIELDS), batch_size=batch_size)
        return METHODS[method].maps(own)

    with frozen_eval(classifier):
        return logits_and_maps(classifier, images, CLASSES[: len(images)], detach_input=True, method=maps)[1]


FIELDS = ("classifier", "images", "logits", "activations", "classes")


def run_with(classifier: Classifier, change, image: Tensor) -> Tensor:
    """Logits of an image, (K,), whose attention layer's output, as (C, h, w), is changed in place."""

    def hook(_module, _inputs, output: Tensor) -> Tensor:
        output = output.clone()
        change(classifier.spatial(output)[0])
        return output

    handle = find_layer(classifier.network, classifier.attention_layer).register_forward_hook(hook)
    with torch.no_grad():
        logits = classifier(image[None])[0]
    handle.remove()
    return logits


def features_of(classifier: Classifier, image: Tensor) -> Tensor:
    kept = []
    run_with(classifier, lambda values: kept.append(values.clone()), image)
    return kept[0]
