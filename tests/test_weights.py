"""Weights: torchvision's own, and files of any kind."""

import argparse
from collections import OrderedDict
from functools import cache
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from common import logits, pixels, refused
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model

# ------------------------------------------------------------------ torchvision's weights


@pytest.fixture
def download(monkeypatch):
    """Stands in for torchvision's download: call it with what is to come of one."""

    def set_outcome(outcome: dict[str, Tensor] | Exception) -> None:
        def load(url: str, *arguments: object, **options: object) -> dict[str, Tensor]:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", load)

    return set_outcome


@cache
def published(name: str) -> nn.Module:
    """A network as torchvision publishes its weights: with the auxiliary heads; random here, and not to be changed."""
    options = {"init_weights": False, "aux_logits": True} if name in ("inception_v3", "googlenet") else {}
    torch.manual_seed(3)
    network = torchvision.models.get_model(name, weights=None, **options)
    if "aux_logits" in options:
        network.transform_input = True
    return network.eval()


def normalised(classifier: Classifier) -> Tensor:
    return (pixels(classifier) - classifier.mean) / classifier.std


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_default_weights_of_networks_with_auxiliary_heads_are_taken_without_them(download, name):
    network = published(name)
    download(network.state_dict())
    classifier = load_model(name)
    assert not [key for key in classifier.network.state_dict() if key.startswith(("AuxLogits", "aux"))]
    with torch.no_grad():
        assert torch.equal(logits(classifier), network(normalised(classifier)))


@pytest.mark.parametrize("weights", ["none", "file"])
def test_inception_transforms_its_input_also_without_its_default_weights(tmp_path, weights):
    network = published("inception_v3")
    if weights == "file":  # the published one, auxiliary head included
        weights = str(tmp_path / "inception_v3_google-0cc3c7bd.pth")
        torch.save(network.state_dict(), weights)
    classifier = load_model("inception_v3", weights)
    assert classifier.network.transform_input
    if weights != "none":
        with torch.no_grad():
            assert torch.equal(logits(classifier), network(normalised(classifier)))


@pytest.mark.parametrize(
    "failure",
    [
        URLError("Name or service not known"),
        TimeoutError("timed out"),
        OSError(28, "No space left on device"),
        RuntimeError('invalid hash value (expected "7b7ba7", got "000")'),
    ],
)
def test_weights_that_cannot_be_downloaded_are_named_with_the_way_to_pass_them(download, failure):
    download(failure)
    message = refused("squeezenet1_1")
    assert message.startswith("the weights of squeezenet1_1 could not be downloaded (")
    assert message.endswith(
        "fetch https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth elsewhere and pass it as --weights FILE"
    )


def test_the_published_densenet_file_in_its_old_names_is_taken(tmp_path):
    network = published("densenet121")
    old = OrderedDict()
    for name, value in network.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in name:
                name = name.replace(part, f"{part[:-1]}.{part[-1]}")
        if not name.endswith("num_batches_tracked"):  # such old files count no batches
            old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    classifier = load_model("densenet121", tmp_path / "densenet121-a639ec97.pth")
    with torch.no_grad():
        assert torch.equal(logits(classifier), network(normalised(classifier)))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_network_that_checks_the_version_of_its_state_dict_is_loaded(tmp_path, suffix):
    network = published("mnasnet0_5")
    path = tmp_path / f"mnasnet.{suffix}"
    (torch.save if suffix == "pth" else save_file)(network.state_dict(), path)
    classifier = load_model("mnasnet0_5", path)
    with torch.no_grad():
        assert torch.equal(logits(classifier), network(normalised(classifier)))


def test_real_weights_from_a_file_equal_the_bare_network(shared):
    classifier = load_model("squeezenet1_1", shared / "weights" / "squeezenet1_1.safetensors")
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    network.load_state_dict(load_file(shared / "weights" / "squeezenet1_1.safetensors"))
    with torch.no_grad():
        assert torch.equal(logits(classifier), network(normalised(classifier)))


# ------------------------------------------------------------------ files of weights


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"model_state_dict": {f"_orig_mod.module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
    ],
    ids=["plain", "state_dict", "model", "DataParallel", "nested DataParallel", "compiled", "Lightning"],
)
def test_a_state_dict_is_found_in_whatever_training_wrapped_around_it(tmp_path, net, state, wrap):
    torch.save(wrap(state), tmp_path / "weights.pth")
    loaded = load_model(f"{net}:build", tmp_path / "weights.pth").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_prefix_that_is_the_networks_own_stays(tmp_path, net, state):
    with net.open("a") as file:
        file.write("\nclass Outer(nn.Module):\n    def __init__(self):\n        super().__init__()\n")
        file.write("        self.module = build()\n    def forward(self, x):\n        return self.module(x)\n")
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "weights.pth")
    loaded = load_model(f"{net}:Outer", tmp_path / "weights.pth").network.state_dict()
    assert torch.equal(loaded["module.head.bias"], state["head.bias"])


def test_safetensors_and_pth_give_the_same(tmp_path, net, state):
    torch.save(state, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    first, second = (load_model(f"{net}:build", tmp_path / f"weights.{suffix}") for suffix in ("pth", "safetensors"))
    assert first.fingerprint() == second.fingerprint()


def test_weights_of_another_architecture_are_refused_with_the_differences(tmp_path, net, state):
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    assert refused(f"{net}:wide", path) == (
        f"{path} holds the weights of another network than --model names: 5 of another shape, "
        "such as body.weight (expected (6, 3, 3, 3), got (4, 3, 3, 3))"
    )
    message = refused("resnet8", path)
    assert "missing, such as stem.weight; 6 unknown, such as body.bias" in message


def test_a_weights_file_that_does_not_exist_is_refused():
    assert (
        refused("resnet8", "nope.pth") == "expected --weights to be default, none or an existing file, got 'nope.pth'"
    )


# ------------------------------------------------------------------ what training scripts leave


def loaded(network: object, path: Path, **options: object) -> dict[str, Tensor]:
    return load_model(f"{network}:build", path, **options).network.state_dict()


def test_lightnings_checkpoint_with_a_loss_of_its_own_is_taken_without_it_and_said_so(tmp_path, net, state):
    path = tmp_path / "last.ckpt"
    beside = {"criterion.weight": torch.ones(5), "train_accuracy.total": torch.zeros(())}
    wrapped = {f"model.{name}": value for name, value in state.items()}
    torch.save({"state_dict": wrapped | beside, "hyper_parameters": {"lr": 0.1}}, path)
    with pytest.warns(UserWarning, match=f"no place for criterion, train_accuracy of {path}: left out"):
        assert torch.equal(loaded(net, path)["head.bias"], state["head.bias"])


def test_timms_checkpoint_is_taken_with_its_options_and_says_which_weights(tmp_path, net, state):
    path = tmp_path / "model_best.pth.tar"
    ema = {name: value + 1 for name, value in state.items()}
    options = argparse.Namespace(lr=0.1, model="resnet18", mean=(0.5, 0.5, 0.5))
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2, 2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save(
        {"epoch": 3, "arch": "x", "state_dict": state, "optimizer": optimizer, "args": options, "state_dict_ema": ema},
        path,
    )
    message = "holds the state dicts state_dict, state_dict_ema; this takes state_dict, --weights-key another"
    with pytest.warns(UserWarning, match=message):
        assert torch.equal(loaded(net, path)["head.bias"], state["head.bias"])
    assert torch.equal(loaded(net, path, weights_key="state_dict_ema")["head.bias"], ema["head.bias"])


def test_nothing_beside_a_namespace_is_allowed(tmp_path, net, state):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state, "args": argparse.Namespace(out=Path("x"))}, path)
    name = f"{type(Path()).__module__}.PosixPath"  # pathlib._local in Python 3.13
    assert refused(f"{net}:build", path).startswith(f"{path} holds a pickled {name}, which could run any")


def test_a_weights_key_that_is_not_there_is_refused_with_the_nearest(tmp_path, net, state):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state, "state_dict_ema": state}, path)
    with pytest.raises(UserError) as error:
        loaded(net, path, weights_key="state_dict_emma")
    assert str(error.value) == (
        f"expected --weights-key for {path} to be one of state_dict, state_dict_ema, got 'state_dict_emma'; "
        "did you mean 'state_dict_ema'?"
    )
    with pytest.raises(UserError, match="expected --weights-key with a file as --weights, got none"):
        loaded(net, "none", weights_key="state_dict")


def test_a_weights_key_of_a_file_without_names_to_choose_from_is_refused(tmp_path, net):
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"to be one of \(none\), got '\(none\)'$"):
        loaded(net, path, weights_key="(none)")


def test_a_weights_key_may_be_what_names_begin_with(tmp_path, net, state):
    path = tmp_path / "distilled.safetensors"
    both = {f"student.{name}": value for name, value in state.items()}
    both |= {f"teacher.{name}": value + 1 for name, value in state.items()}
    save_file(both, path)
    assert refused(f"{net}:build", path) == (
        f"{path} holds student, teacher, which fit the network equally well; name one with --weights-key"
    )
    for key in ("student", "student."):
        assert torch.equal(loaded(net, path, weights_key=key)["head.bias"], state["head.bias"])
    assert torch.equal(loaded(net, path, weights_key="teacher")["head.bias"], state["head.bias"] + 1)


def test_the_only_state_dict_of_another_name_is_taken_and_said_and_one_of_several_asked_for(tmp_path, net, state):
    path = tmp_path / "ckpt.pth"
    torch.save({"net": state, "acc": 93.1, "epoch": 7}, path)
    with pytest.warns(UserWarning, match="holds one state dict, net, which this takes"):
        assert torch.equal(loaded(net, path)["head.bias"], state["head.bias"])
    torch.save({"net": state, "best": {"net": state}}, path)
    assert refused(f"{net}:build", path) == (
        f"{path} holds net, best.net, which fit the network equally well; name one with --weights-key"
    )
    assert torch.equal(loaded(net, path, weights_key="best.net")["head.bias"], state["head.bias"])


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "inception_v3", "timm:resnet18"])
def test_a_known_network_has_as_many_classes_as_its_file(tmp_path, name):
    if name.startswith("timm"):
        timm = pytest.importorskip("timm")
        network = timm.create_model("resnet18", num_classes=3)
    else:
        options = {"init_weights": False, "aux_logits": True} if name == "inception_v3" else {}
        network = torchvision.models.get_model(name, weights=None, num_classes=3, **options)
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    classifier = load_model(name, path)
    assert classifier.classes == 3
    mine, theirs = classifier.network.state_dict(), network.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_another_width_is_no_other_number_of_classes(tmp_path):
    network = torchvision.models.get_model("squeezenet1_1", weights=None, num_classes=3)
    state = network.state_dict() | {"features.0.weight": torch.zeros(32, 3, 3, 3)}
    torch.save(state, tmp_path / "other.pth")
    assert "of another shape, such as features.0.weight" in refused("squeezenet1_1", tmp_path / "other.pth")
