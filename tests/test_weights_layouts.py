"""The network's tensors are found in checkpoints of every layout; what fits twice, or in part, is refused."""

import pytest
import torch
from checkpoints import MEAN, NORMALISED, PLAIN, STD, Holding, Normalize, expected, robustness, taken, trained
from common import logits, refused
from nets import Small
from torch import nn

from attnlab.compat import torchvision
from attnlab.models import load_model


@pytest.mark.parametrize("layout", NORMALISED.values(), ids=NORMALISED)
def test_a_normaliser_in_the_file_normalises_the_images(tmp_path, plain_net, layout):
    network, path = trained(), tmp_path / "robust.pth"
    with pytest.warns(
        UserWarning, match=f"images are normalised as {path} says: .*mean 0.4914, 0.4822, 0.4465 and std"
    ):
        classifier = taken(plain_net, layout(network), path)
    torch.testing.assert_close(logits(classifier), expected(classifier, network, MEAN, STD), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(logits(classifier), expected(classifier, network))
    assert set(classifier.stated) == {"mean", "std"}  # what run.json and checkpoints then say


@pytest.mark.parametrize("layout", PLAIN.values(), ids=PLAIN)
def test_the_networks_tensors_are_found_below_every_prefix(tmp_path, plain_net, layout):
    network = trained()
    classifier = taken(plain_net, layout(network), tmp_path / "weights.pth")
    assert torch.equal(logits(classifier), expected(classifier, network))
    assert not classifier.stated


@pytest.mark.parametrize("cloned", [False, True])
def test_robustness_copy_of_the_network_is_no_second_network_unless_it_differs(tmp_path, plain_net, cloned):
    network, path = trained(), tmp_path / "imagenet_linf_4.pt"
    content = robustness(network)
    if cloned:
        content["model"] = {name: value.clone() for name, value in content["model"].items()}
    with pytest.warns(UserWarning, match=f"no place for module.attacker of {path}: left out"):
        taken(plain_net, content, path)
    content["model"] = {name: value.clone() for name, value in content["model"].items()}
    content["model"]["module.attacker.model.fc.bias"] += 1
    torch.save(content, path)
    assert refused(plain_net, path) == (
        f"{path} holds model.module.model, model.module.attacker.model, which fit the network equally well; "
        "name one with --weights-key"
    )
    chosen = load_model(plain_net, path, weights_key="model.module.attacker.model")
    assert torch.equal(chosen.network.fc.bias, network.fc.bias + 1)
    torch.testing.assert_close(chosen.mean.flatten(), torch.tensor(MEAN))  # of the attacker's own normaliser


def test_a_part_of_a_sequential_with_other_weights_is_refused_and_taken_when_named(tmp_path, plain_net):
    path, network = tmp_path / "denoised.pth", trained()
    torch.save(nn.Sequential(nn.Conv2d(3, 3, 1), network, nn.Linear(5, 2)).state_dict(), path)
    assert refused(plain_net, path) == (
        f"{path} holds 1, which fits the network, and 0, 2 beside it, as an nn.Sequential does that runs all of them; "
        "build that in a FILE.py, or take the one alone with --weights-key 1"
    )
    alone = load_model(plain_net, path, weights_key="1")
    assert torch.equal(logits(alone), expected(alone, network))


def test_the_set_that_fits_is_taken_of_several_and_the_others_are_named(tmp_path, plain_net):
    path, network = tmp_path / "distilled.pth", trained()
    with pytest.warns(UserWarning, match=f"no place for teacher of {path}: left out"):
        classifier = taken(plain_net, Holding(student=network, teacher=nn.Conv2d(3, 4, 3)).state_dict(), path)
    assert torch.equal(logits(classifier), expected(classifier, network))
    other = Small(7).state_dict()
    with pytest.warns(UserWarning, match="holds the state dicts model, net; this takes net, --weights-key another"):
        classifier = taken(plain_net, {"model": other, "net": network.state_dict()}, path)
    assert torch.equal(logits(classifier), expected(classifier, network))


def test_sets_that_differ_in_the_number_of_classes_alone_are_refused_where_the_network_takes_either(tmp_path):
    build, path = torchvision.models.resnet18, tmp_path / "pair.pth"
    torch.save(Holding(student=build(num_classes=10), teacher=build()).state_dict(), path)
    assert "holds student, teacher, which fit the network equally well" in refused("resnet18", path)
    assert load_model("resnet18", path, weights_key="student").classes == 10


def test_net_and_ema_are_refused_and_a_name_of_most_scripts_counts_before_ema(tmp_path, plain_net):
    path, online, average = tmp_path / "pair.pth", trained(), trained(0.5)
    torch.save({"net": online.state_dict(), "ema": average.state_dict()}, path)
    assert f"{path} holds net, ema, which fit the network equally well" in refused(plain_net, path)
    uncounted = {
        name: value for name, value in average.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    torch.save({"net": online.state_dict(), "ema": uncounted}, path)
    assert f"{path} holds net, ema, which fit the network equally well" in refused(plain_net, path)
    average_of = torch.optim.swa_utils.AveragedModel(average).state_dict()  # torchvision's references
    content = {"model": online.state_dict(), "model_ema": average_of, "args": None}
    with pytest.warns(UserWarning, match="state dicts model, model_ema; this takes model, --weights-key another"):
        assert torch.equal(taken(plain_net, content, path).network.fc.bias, online.fc.bias)
    assert torch.equal(load_model(plain_net, path, weights_key="model_ema").network.fc.bias, average.fc.bias)


def test_versions_of_modules_are_those_below_the_prefix_and_todays_where_the_file_has_none(tmp_path):
    path, model, network = tmp_path / "old.pth", tmp_path / "second.py", trained()
    model.write_text(
        "from nets import Small\n\nclass Second(Small):\n    _version = 2\n"
        "    def _load_from_state_dict(self, state, prefix, metadata, *rest):\n"
        "        if metadata.get('version', 0) < 2:\n            state['fc.bias'] = state['fc.bias'] + 1\n"
    )
    state = nn.DataParallel(network).state_dict()  # of version 1
    assert torch.equal(taken(f"{model}:Second", state, path).network.fc.bias, network.fc.bias + 1)
    assert torch.equal(taken(f"{model}:Second", dict(state), path).network.fc.bias, network.fc.bias)


def test_a_part_of_the_network_is_refused_as_other_weights(tmp_path, plain_net):
    path = tmp_path / "part.pth"
    torch.save(Holding(model=Holding(features=trained().features), normalize=Normalize()).state_dict(), path)
    message = refused(plain_net, path)
    assert message.startswith(f"{path} holds the weights of another network than --model names: ")
    assert "missing, such as fc.weight" in message
