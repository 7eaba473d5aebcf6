"""What a network returns: read as logits where that is plain, refused with what it is where it is not."""

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from common import error_of
from nets import Returning, Small

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.models import Classifier

Outputs = namedtuple("Outputs", ["logits", "aux_logits"])
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))

RIGHT = {
    "mapping": lambda logits: {"loss": None, "logits": logits},
    "ordered mapping": lambda logits: OrderedDict(logits=logits, hidden_states=(logits,)),
    "object": lambda logits: SimpleNamespace(logits=logits, hidden_states=None),
    "named tuple": lambda logits: Outputs(logits, logits + 1),
    "list of one": lambda logits: [logits],
    "tuple of one": lambda logits: (logits,),
    "tuple of one and None": lambda logits: (None, logits),
}


@pytest.mark.parametrize("made", RIGHT.values(), ids=RIGHT)
def test_logits_are_taken_out_of_what_holds_them_alone(made):
    expected = Small().eval()(IMAGES)
    classifier = Classifier(Returning(made)).eval()
    assert torch.equal(classifier(IMAGES), expected)
    assert (classifier.classes, classifier.head) == (5, "fc")


WRONG = {
    "features and logits": (lambda logits: (logits[:, :2], logits), "got a tuple of 2: float32 (2, 2), float32 (2, 5)"),
    "mapping": (lambda logits: {"out": logits, "aux": logits}, "got a dict with 'out', 'aux'"),
    "mapping to lists": (lambda logits: {"logits": logits.tolist()}, "got a dict with 'logits'"),
    "empty list": (lambda logits: [], "got a list of 0: nothing"),
    "nothing": (lambda logits: None, "got None"),
    "array": (lambda logits: logits.detach().numpy(), "got a ndarray"),
    "one row": (lambda logits: logits[:1], "a row of logits for each of 2 images, got float32 (1, 5)"),
    "more rows": (lambda logits: logits.repeat(3, 1), "a row of logits for each of 2 images, got float32 (6, 5)"),
    "classes": (lambda logits: logits.argmax(1, keepdim=True), "floating-point logits, got int64 (2, 1)"),
    "truth": (lambda logits: logits > 0, "floating-point logits, got bool (2, 5)"),
    "complex": (lambda logits: logits + 1j, "floating-point logits, got complex64 (2, 5)"),
    "no classes": (lambda logits: logits[:, 0], "logits (N, K), got float32 (2,)"),
    "no columns": (lambda logits: logits[:, :0], "logits (N, K), got float32 (2, 0)"),
    "tokens": (lambda logits: logits[:, None].repeat(1, 7, 1), "logits (N, K), got float32 (2, 7, 5)"),
    "maps": (lambda logits: logits[:, :, None, None], "logits (N, K), got float32 (2, 5, 1, 1)"),
    "scalar": (lambda logits: logits.sum(), "logits (N, K), got float32 ()"),
}


@pytest.mark.parametrize(("made", "end"), WRONG.values(), ids=WRONG)
def test_other_outputs_are_refused_with_what_they_are_and_what_to_return(made, end):
    message = error_of(Classifier, Returning(made))
    assert message.startswith("expected the network to return ")
    assert message.endswith(f"{end}; wrap the network in a module whose forward returns the logits alone, (N, K)")


def test_a_network_that_returns_features_too_in_train_mode_alone_is_refused_there():
    network = Returning(lambda logits: (logits, logits) if network.training else logits)
    classifier = Classifier(network.eval()).eval()
    classifier.train()
    assert "got a tuple of 2: float32 (3, 5), float32 (3, 5)" in error_of(classifier, IMAGES)


def test_one_logit_is_two_classes_whose_softmax_is_its_sigmoid():
    network = Small(classes=1).eval()
    classifier = Classifier(network).eval()
    z = network(IMAGES)
    assert classifier.classes == 2
    assert torch.equal(classifier(IMAGES), torch.cat([torch.zeros(3, 1), z], 1))
    torch.testing.assert_close(classifier(IMAGES).softmax(1)[:, 1:], z.sigmoid())
    labels = torch.tensor([0, 1, 1])
    torch.testing.assert_close(
        F.cross_entropy(classifier(IMAGES), labels), F.binary_cross_entropy_with_logits(z[:, 0], labels.float())
    )


def test_maps_of_a_network_without_gradient_are_refused_where_there_is_no_closed_form():
    classifier = Classifier(Returning(lambda logits: logits.detach())).eval()
    classifier.head = None
    message = error_of(grad_cam, classifier, IMAGES, torch.zeros(3, dtype=torch.long))
    assert message.startswith("the model's outputs have no gradient by its images")


@pytest.mark.parametrize("closed", [True, False], ids=["closed form", "autograd"])
def test_maps_of_one_logit_are_those_of_its_gradient_and_zero_for_the_class_without(closed):
    classifier = Classifier(Small(classes=1)).eval()
    assert classifier.head == "fc"
    assert classifier.head_weight().shape == (2, 6)
    if not closed:
        classifier.head = None
    maps = grad_cam(classifier, IMAGES, torch.tensor([1, 0, 1]))
    features = classifier.network.features(IMAGES)
    weight = classifier.network.fc.weight[0] / 64  # d z / d A_k of a mean over 8x8 cells
    expected = torch.einsum("k,nkhw->nhw", weight, features)
    expected[1] = 0
    torch.testing.assert_close(maps, expected.detach())


def test_an_attack_on_one_logit_climbs_the_binary_cross_entropy():
    classifier, labels = Classifier(Small(classes=1)).eval(), torch.tensor([0, 1, 1])
    attacked = perturb(classifier, IMAGES, labels, Attack(eps=0.01))
    watched = IMAGES.clone().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(classifier.network(watched)[:, 0], labels.float())
    (gradient,) = torch.autograd.grad(loss, watched)
    torch.testing.assert_close(attacked, (IMAGES + 0.01 * gradient.sign()).clamp(0, 1))
