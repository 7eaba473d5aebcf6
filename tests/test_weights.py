"""Weights: torchvision's own, and files of any kind, damaged and hostile ones too."""

import pickle
from collections import OrderedDict
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from common import logits, pixels, refused
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attnlab.compat import torchvision
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


def published(name: str) -> nn.Module:
    """A network as torchvision publishes its weights: with the auxiliary heads; random here."""
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


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>404</html>"]
)
def test_a_damaged_weights_file_is_refused_by_name(tmp_path, state, net, name, damage):
    path = tmp_path / name
    (torch.save if name.endswith("pth") else save_file)(state, path)
    path.write_bytes(damage(path.read_bytes()))
    assert refused(f"{net}:build", path).startswith(f"cannot read weights from {path}: damaged, or no weights file (")


def test_damage_anywhere_in_a_weights_file_raises_nothing_but_user_errors(tmp_path, net, state):
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 17):
        path.write_bytes(whole[:cut])
        refused(f"{net}:build", path)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (torch.save, "{path} holds a pickled io.open, which could run any code and is not loaded"),
        (lambda trap, path: path.write_bytes(pickle.dumps(trap)), "cannot read weights from {path}: "),
    ],
    ids=["torch", "pickle"],
)
def test_a_pickled_object_is_refused_and_never_executed(tmp_path, save, message):
    path = tmp_path / "model.pth"
    save({"state_dict": Trap(tmp_path / "executed")}, path)
    assert refused("resnet8", path).startswith(message.format(path=path))
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_model_is_refused_with_what_to_save_instead(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    message = refused("resnet8", path)
    assert message.startswith(f"{path} holds a pickled torch.nn.modules.linear.Linear")
    assert message.endswith("save the weights alone: torch.save(model.state_dict(), FILE)")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (torch.zeros(3), "Tensor"),
        ([torch.zeros(3)], "list"),
        ({"epoch": 3, "optimizer": {}}, "a dict with 'epoch', 'optimizer'"),
        ({3: torch.zeros(3)}, "a dict with 3"),
    ],
)
def test_a_file_without_a_state_dict_is_refused_with_what_it_holds(tmp_path, content, held):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert refused("resnet8", path) == f"expected {path} to hold a state dict (names to tensors), got {held}"
