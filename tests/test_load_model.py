"""From a name to a classifier: what is found, what is loaded, and what a user reads when it cannot be."""

import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attnlab.compat import torchvision
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint


def told(*arguments: object) -> str:
    """The one line a user reads."""
    with pytest.raises(UserError) as error:
        load_model(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def pixels(classifier: Classifier, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, classifier.channels, *classifier.input_size, generator=generator)


def logits(classifier: Classifier) -> Tensor:
    with torch.no_grad():
        return classifier(pixels(classifier))


NET = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Options:
    width: int = 4

class Net(nn.Module):
    input_size = (12, 16)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)

    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.last = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.last(self.body(x)).mean((2, 3)))

def build():
    return Net(Options().width)

def wide():
    return Net(6)

def none():
    pass

def broken():
    return build() + 1

def fixed():
    net = build()
    net.input_size = None
    net.forward = lambda x: net.head(x.flatten(1))
    return net
"""


@pytest.fixture
def net(tmp_path) -> Path:
    """A user's own model file."""
    path = tmp_path / "net.py"
    path.write_text(f"from __future__ import annotations\n{NET}")
    return path


@pytest.fixture
def state(net) -> dict[str, Tensor]:
    """Weights for that file's `build`, other than those it starts with."""
    return {name: value + 1 for name, value in load_model(f"{net}:build").network.state_dict().items()}


# ------------------------------------------------------------------ attention layers


@pytest.mark.parametrize(
    ("name", "layer", "head"),
    [
        ("resnet50", "layer4", "fc"),
        ("inception_v3", "Mixed_7c", "fc"),
        ("googlenet", "inception5b", "fc"),
        ("mobilenet_v2", "features", "classifier.1"),
        ("efficientnet_b0", "features", "classifier.1"),
        ("squeezenet1_1", "features", None),  # a convolution follows
        ("densenet121", "features", None),  # a ReLU follows
        ("vgg11", "features", None),  # hidden layers follow
        ("convnext_tiny", "features", None),  # a norm follows
        ("vit_b_16", None, None),
    ],
)
def test_attention_layer_and_pooled_head_of_the_common_families(name, layer, head):
    classifier = load_model(name, "none")
    assert (classifier.attention_layer, classifier.head, classifier.classes) == (layer, head, 1000)


def test_every_torchvision_name_has_weights_with_a_square_crop():
    """What `load_model` reads off the weights' preset, for those models too that are too large to build here."""
    for name in torchvision.models.list_models(module=torchvision.models):
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        assert len(preset.mean) == len(preset.std) == 3
        assert len(preset.crop_size) == 1


def test_a_layer_that_the_user_names_is_taken():
    classifier = load_model("resnet8", layer="stage2")
    assert (classifier.attention_layer, classifier.head, classifier.map_shape) == ("stage2", None, (16, 16))


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do():
    assert told("resnet8", "none", "stage9") == (
        "expected a layer of the model, got 'stage9'; layers at the top level: "
        "stem, norm, stage1, stage2, stage3, classifier"
    )
    assert told("resnet8", "none", "stage3.conv9").endswith(
        "layers under 'stage3': conv1, norm1, conv2, norm2, shortcut"
    )


@pytest.mark.parametrize("layer", ["pair", "unused"])
def test_a_layer_that_gives_no_tensor_or_never_runs_is_refused(tmp_path, net, layer):
    path = tmp_path / "odd.py"
    path.write_text(
        "from net import Net, nn\n"
        "class Pair(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x, x\n"
        "class Odd(Net):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.pair, self.unused = Pair(), nn.Conv2d(3, 3, 1)\n"
        "    def forward(self, x):\n"
        "        return super().forward(self.pair(x)[0])\n"
    )
    assert load_model(f"{path}:Odd").attention_layer == "last"
    assert repr(layer) in told(f"{path}:Odd", "none", layer)
    del sys.modules["net"]


# ------------------------------------------------------------------ normalisation


def test_normalisation_is_inside_a_torchvision_model():
    classifier = load_model("squeezenet1_1", "none")
    images = pixels(classifier)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        assert torch.equal(classifier(images), classifier.network((images - mean) / std))


def test_normalisation_inside_a_users_own_model_is_its_own(net):
    classifier = load_model(f"{net}:build")
    images = pixels(classifier)
    assert images.shape == (2, 3, 12, 16)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    with torch.no_grad():
        assert torch.equal(classifier(images), classifier.network((images - mean) / std))


def test_the_built_in_model_brings_its_trained_weights():
    assert load_model("resnet8").fingerprint() != load_model("resnet8", "none").fingerprint()
    assert not load_model("resnet8").training


def test_random_weights_are_the_same_in_every_run_and_leave_the_global_stream_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_model("squeezenet1_1", "none").fingerprint()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert load_model("squeezenet1_1", "none").fingerprint() == first


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
    message = told("squeezenet1_1")
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
    assert told(f"{net}:wide", path) == (
        f"{path} holds the weights of another network than --model names: 5 of another shape, "
        "such as body.weight (expected (6, 3, 3, 3), got (4, 3, 3, 3))"
    )
    message = told("resnet8", path)
    assert "missing, such as stem.weight; 6 unknown, such as body.bias" in message


def test_a_weights_file_that_does_not_exist_is_refused():
    assert told("resnet8", "nope.pth") == "expected --weights to be default, none or an existing file, got 'nope.pth'"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>404</html>"]
)
def test_a_damaged_weights_file_is_refused_by_name(tmp_path, state, net, name, damage):
    path = tmp_path / name
    (torch.save if name.endswith("pth") else save_file)(state, path)
    path.write_bytes(damage(path.read_bytes()))
    assert told(f"{net}:build", path).startswith(f"cannot read weights from {path}: damaged, or no weights file (")


def test_damage_anywhere_in_a_weights_file_raises_nothing_but_user_errors(tmp_path, net, state):
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 17):
        path.write_bytes(whole[:cut])
        told(f"{net}:build", path)


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
    assert told("resnet8", path).startswith(message.format(path=path))
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_model_is_refused_with_what_to_save_instead(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    message = told("resnet8", path)
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
    assert told("resnet8", path) == f"expected {path} to hold a state dict (names to tensors), got {held}"


# ------------------------------------------------------------------ names


def test_an_unknown_name_is_refused_with_what_a_name_can_be_and_the_nearest():
    message = told("resnet5O")
    assert message.startswith("expected --model to be a torchvision name, timm:NAME, FILE.py:FUNCTION")
    assert message.endswith("got 'resnet5O'; did you mean 'resnet50'?")
    assert told("qqqq").endswith("got 'qqqq'; `attnlab list models` names them")


def test_a_file_where_a_name_belongs_is_refused_with_how_to_pass_it(tmp_path, net):
    assert told(str(net)).endswith(f"did you mean '{net}:FUNCTION', a function there that returns the network?")
    (tmp_path / "weights.pth").touch()
    assert "a file of weights is given with --weights" in told(str(tmp_path / "weights.pth"))


# ------------------------------------------------------------------ a user's own file


def test_a_users_own_model_needs_no_more_than_a_function(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "from torch import nn\n"
        "def f():\n"
        "    return nn.Sequential(nn.Conv2d(1, 3, 3, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))\n"
    )
    classifier = load_model(f"{path}:f")
    assert (classifier.channels, classifier.input_size, classifier.classes) == (1, (224, 224), 2)
    assert (classifier.attention_layer, classifier.head) == ("0", "3")


def test_a_users_file_may_import_its_neighbours_and_leaves_the_search_path_alone(tmp_path, net):
    (tmp_path / "model_of_mine.py").write_text("from net import build as start\ndef build():\n    return start()\n")
    before = list(sys.path)
    assert load_model(f"{tmp_path / 'model_of_mine.py'}:build").classes == 5
    assert sys.path == before
    del sys.modules["net"]


def test_a_users_file_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "nope.py"
    assert told(f"{path}:build") == f"expected --model FILE.py:FUNCTION with an existing file, got '{path}'"


def test_a_function_that_does_not_exist_is_refused_with_those_that_do(net):
    message = told(f"{net}:biuld")
    assert message == (
        "expected a function of net.py (Options, Net, build, wide, none, broken, fixed), got 'biuld'; "
        "did you mean 'build'?"
    )


def test_a_function_that_returns_no_module_is_refused(net):
    assert told(f"{net}:none") == f"expected {net}:none to return an nn.Module, got NoneType"


def test_an_error_in_a_users_file_is_one_line_with_its_place(tmp_path, net):
    line = next(number for number, text in enumerate(net.read_text().splitlines(), 1) if "build() + 1" in text)
    message = told(f"{net}:broken")
    assert message.startswith(f"cannot build {net}:broken: TypeError: unsupported operand")
    assert message.endswith(f"(net.py, line {line})")
    (tmp_path / "bad.py").write_text("import torch\nimport missing_module\n")
    assert "ModuleNotFoundError: No module named 'missing_module' (bad.py, line 2)" in told(f"{tmp_path / 'bad.py'}:f")
    (tmp_path / "bad.py").write_text("import torch\n\ndef f(:\n")
    assert told(f"{tmp_path / 'bad.py'}:f").endswith("(bad.py, line 3)")


def test_a_network_that_does_not_take_the_default_size_is_refused_with_how_to_name_another(net):
    message = told(f"{net}:fixed")
    assert message.startswith(
        f"expected {net}:fixed to take images (N, C, 224, 224) and return logits (N, K), got Runtime"
    )
    assert "input_size = (height, width)" in message


def test_a_users_real_model_finds_its_layer_and_head(shared):
    classifier = load_model(f"{shared / 'weights' / 'mobilenet_v2_tf.py'}:build")
    assert classifier.head is not None
    assert (classifier.map_shape, classifier.classes) == ((7, 7), 1000)


# ------------------------------------------------------------------ checkpoints


def test_a_checkpoint_gives_back_the_classifier_it_was_made_from(tmp_path, net):
    first = load_model(f"{net}:build", layer="body")
    with torch.no_grad():
        first.network.head.bias += 1
    save_checkpoint(first, tmp_path / "runs" / "mine", f"{net}:build")
    second = load_model(str(tmp_path / "runs" / "mine"))
    assert second.describe() == first.describe()
    assert torch.equal(logits(second), logits(first))
    assert load_model(str(tmp_path / "runs" / "mine"), layer="last").attention_layer == "last"


def test_a_checkpoint_of_a_network_with_shared_weights_is_written_and_read(tmp_path, net):
    with net.open("a") as file:
        file.write("\ndef tied():\n    net = build()\n    net.again = net.head\n    return net\n")
    first = load_model(f"{net}:tied")
    save_checkpoint(first, tmp_path / "tied", f"{net}:tied")
    assert load_model(str(tmp_path / "tied")).fingerprint() == first.fingerprint()


def test_weights_of_a_checkpoint_may_be_replaced(tmp_path, net, state):
    save_checkpoint(load_model(f"{net}:build"), tmp_path / "mine", f"{net}:build")
    save_file(state, tmp_path / "other.safetensors")
    loaded = load_model(str(tmp_path / "mine"), tmp_path / "other.safetensors").network.state_dict()
    assert torch.equal(loaded["head.bias"], state["head.bias"])


def test_a_folder_with_the_name_of_a_model_does_not_hide_the_model(tmp_path, monkeypatch, net):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(load_model(f"{net}:build"), Path("resnet8"), f"{net}:build")
    assert load_model("resnet8").classes == 10
    assert load_model("./resnet8").classes == 5


def test_a_folder_that_is_no_whole_checkpoint_is_refused_with_what_is_wrong(tmp_path, net):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert told(str(folder)) == f"expected {folder} to be a checkpoint, but it has no model.json"
    save_checkpoint(load_model(f"{net}:build"), folder, f"{net}:build")
    for content in ("{", "[]", "{}", '{"model": 3}', '{"model": "resnet8", "layer": 3}'):
        (folder / "model.json").write_text(content)
        assert told(str(folder)).startswith(f"{folder / 'model.json'} is damaged: expected a JSON object")
    (folder / "model.json").write_text(json.dumps({"model": "resnet8"}))
    assert "another network" in told(str(folder))
    (folder / "weights.safetensors").unlink()
    assert told(str(folder)) == f"expected {folder} to be a checkpoint, but it has no weights.safetensors"


# ------------------------------------------------------------------ timm


def test_timm_names_without_timm_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert told("timm:resnet18", "none") == "--model timm:NAME needs timm: pip install 'attnlab[timm]'"


@pytest.fixture
def timm(monkeypatch, net) -> None:
    """What attnlab asks of timm, with one small model."""

    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        if pretrained:
            raise ConnectionError("cannot reach\nhuggingface.co")
        network = load_model(f"{net}:build").network
        network.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "input_size": (3, 20, 24)}
        return network

    stand_in = SimpleNamespace(
        __version__="1.0",
        list_models=lambda: ["tiny_net", "vit_tiny"],
        list_pretrained=lambda pattern: ["tiny_net.in1k"],
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)


def test_a_timm_model_brings_its_size_and_normalisation(timm):
    for name in ("timm:tiny_net", "timm:tiny_net.in1k"):
        classifier = load_model(name, "none")
        assert classifier.input_size == (20, 24)
        assert (classifier.mean.flatten().tolist(), classifier.std.flatten().tolist()) == ([0.5] * 3, [0.25] * 3)


def test_timm_names_that_do_not_exist_are_refused_with_the_nearest(timm):
    assert told("timm:tini_net", "none") == "expected a model of timm 1.0, got 'tini_net'; did you mean 'tiny_net'?"
    assert told("timm:tiny_net.in2k", "none") == "expected one of timm's weights tiny_net.in1k, got 'tiny_net.in2k'"


def test_timm_weights_that_cannot_be_downloaded_are_named_with_the_way_to_pass_them(timm):
    assert told("timm:tiny_net") == (
        "the weights of timm:tiny_net could not be downloaded (ConnectionError: cannot reach huggingface.co); "
        "fetch its model.safetensors elsewhere and pass it as --weights FILE"
    )
