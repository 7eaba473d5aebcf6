"""Mean and std in a file of weights, beside what the network, its library and the user say."""

import pytest
import torch
from checkpoints import MEAN, STD, Holding, Normalize, expected, robustbench, robustness, taken, trained
from common import logits, refused
from torch import nn

from attnlab.compat import torchvision
from attnlab.models import load_model


def test_a_torchvision_network_takes_robustness_file_with_its_classes_and_normalisation(tmp_path, recwarn):
    network = torchvision.models.resnet18(num_classes=10).eval()
    path = tmp_path / "cifar_linf_8.pt"
    classifier = taken("resnet18", robustness(network), path)
    assert classifier.classes == 10
    torch.testing.assert_close(logits(classifier), expected(classifier, network, MEAN, STD), rtol=1e-5, atol=1e-5)
    (said,) = [str(warning.message) for warning in recwarn if "normalised" in str(warning.message)]
    assert said == (
        f"images are normalised as {path} says: module.normalizer (mean 0.4914, 0.4822, 0.4465 and std 0.2471, 0.2435, "
        "0.2616), where the network itself says mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225"
    )


def test_a_normaliser_that_says_what_the_network_says_changes_nothing(tmp_path, recwarn):
    network = torchvision.models.resnet18(num_classes=3).eval()
    state = robustbench(network)
    for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        state[f"normalize.{name}"] = torch.tensor(values).view(1, 3, 1, 1)
    classifier = taken("resnet18", state, tmp_path / "salman.pt")
    assert not classifier.stated
    assert not [warning for warning in recwarn if "normalis" in str(warning.message)]


def test_a_normaliser_against_what_a_users_network_says_is_refused_with_both(tmp_path, plain_net):
    path, model = tmp_path / "robust.pth", plain_net.replace(":Small", ":Said")
    torch.save(robustbench(trained()), path)
    assert refused(model, path) == (
        f"expected one normalisation in {path} and the network, got normalize (mean 0.4914, 0.4822, 0.4465 and std "
        "0.2471, 0.2435, 0.2616); the network itself says mean 0.5, 0.5, 0.5 and std 0.25, 0.25, 0.25: say with --mean "
        "and --std what images are normalised with"
    )
    with pytest.warns(
        UserWarning, match=r"with the mean 0.5 and std 0.25 stated, while .* holds normalize \(mean 0.49"
    ):
        classifier = load_model(model, path, mean=0.5, std=0.25)
    assert torch.equal(logits(classifier), expected(classifier, trained(), 0.5, 0.25))


def test_stated_values_that_the_file_holds_too_are_taken_without_a_word(tmp_path, plain_net, recwarn):
    taken(plain_net, robustbench(trained()), tmp_path / "robust.pth", mean=MEAN, std=STD)
    assert not recwarn.list


def test_two_normalisers_of_other_values_are_refused_with_both(tmp_path, plain_net):
    path = tmp_path / "twice.pth"
    network = Holding(normalize=Normalize(), model=trained(), preprocess=Normalize())
    network.preprocess.mean += 0.1
    torch.save(network.state_dict(), path)
    message = refused(plain_net, path)
    assert "normalize (mean 0.4914, 0.4822, 0.4465 and" in message
    assert "; preprocess (mean 0.5914, 0.5822, 0.5465 and" in message


def test_a_normaliser_of_another_network_in_the_file_is_left_out(tmp_path, plain_net):
    path, network = tmp_path / "distilled.pth", trained()
    other = Holding(normalize=Normalize(), model=nn.Conv2d(3, 4, 3))
    other.normalize.mean += 0.1
    content = Holding(student=Holding(normalize=Normalize(), model=network), teacher=other).state_dict()
    with pytest.warns(UserWarning, match=f"no place for teacher of {path}: left out"):
        classifier = taken(plain_net, content, path)
    torch.testing.assert_close(logits(classifier), expected(classifier, network, MEAN, STD), rtol=1e-6, atol=1e-6)


def test_tensors_of_other_shapes_are_no_normaliser(tmp_path, plain_net):
    path, network = tmp_path / "targets.pth", trained()
    content = Holding(model=network, targets=Normalize()).state_dict()
    content |= {"targets.mean": torch.zeros(10), "targets.std": torch.ones(10)}
    with pytest.warns(UserWarning, match=f"no place for targets of {path}: left out"):
        classifier = taken(plain_net, content, path)
    assert torch.equal(logits(classifier), expected(classifier, network))


def test_a_network_that_normalises_itself_is_not_normalised_before_unless_it_is_stated(tmp_path, plain_net):
    path, inner = tmp_path / "robust.pth", tmp_path / "inner.py"
    inner.write_text(
        "import torch\nfrom nets import Small\n\nclass Inner(Small):\n    def __init__(self):\n"
        "        super().__init__()\n        self.register_buffer('mean', torch.zeros(3, 1, 1))\n"
    )
    state = robustbench(trained()) | {"model.mean": torch.zeros(3, 1, 1)}
    torch.save(state, path)
    assert "; the network holds mean as tensors, to normalise its images itself: say" in refused(f"{inner}:Inner", path)
    own = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    with pytest.warns(UserWarning, match="taken to normalise its images itself"):
        assert not taken(f"{inner}:Inner", own, path).stated


def test_a_normaliser_for_pixels_up_to_255_is_refused_by_its_name(tmp_path, plain_net):
    path, state = tmp_path / "grey.pth", robustbench(trained())
    state["normalize.mean"], state["normalize.std"] = state["normalize.mean"] * 255, state["normalize.std"] * 255
    torch.save(state, path)
    message = refused(plain_net, path)
    assert message.startswith(
        f"expected mean of normalize in {path} for pixels in [0, 1], got 125.307, 122.961, 113.857"
    )


def test_a_users_sequential_with_its_normaliser_is_loaded_whole(tmp_path, recwarn):
    path, model = tmp_path / "whole.pth", tmp_path / "whole.py"
    model.write_text(
        "from nets import Small, nn\nfrom checkpoints import Normalize\n\ndef build():\n"
        "    network = nn.Sequential(Normalize(), Small())\n    network[0].forward = lambda x: x\n"
        "    network.input_size = (16, 16)\n    return network\n"
    )
    classifier = taken(f"{model}:build", nn.Sequential(Normalize(), trained()).state_dict(), path)
    assert torch.equal(logits(classifier), expected(classifier, trained()))
    assert not recwarn.list


def test_a_normaliser_without_tensors_in_the_file_is_asked_for(tmp_path, plain_net, recwarn):
    path, network = tmp_path / "smoothing.pth.tar", trained()
    state = nn.Sequential(nn.Identity(), nn.DataParallel(network)).state_dict()  # as randomised smoothing saves it
    classifier = taken(plain_net, {"arch": "x", "state_dict": state}, path)
    assert [str(warning.message) for warning in recwarn] == [
        f"{path} holds the network as 1, behind a module without tensors in the file, which often normalises: images "
        "are not normalised; --mean and --std say otherwise"
    ]
    assert torch.equal(logits(classifier), expected(classifier, network))
    recwarn.clear()
    stated = load_model(plain_net, path, mean=MEAN, std=STD)
    torch.testing.assert_close(logits(stated), expected(stated, network, MEAN, STD))
    assert not recwarn.list
