"""From a name to a classifier: what is found, and what a user reads when it cannot be."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from common import logits, pixels, refused
from safetensors.torch import save_file
from torch import nn

from attnlab.compat import torchvision
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint

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
        ("vit_b_32", "encoder.layers.encoder_layer_11.ln_1", None),  # the last block's first norm
    ],
)
def test_attention_layer_and_pooled_head_of_the_common_families(name, layer, head):
    options = {"init_weights": False} if name in ("inception_v3", "googlenet", "vgg11") else {}
    options |= {"image_size": 128} if name.startswith("vit") else {}
    network = torchvision.models.get_model(name, weights=None, num_classes=10, **options)
    classifier = Classifier(network.eval(), input_size=128)  # a fraction of its own, for quicker passes
    assert (classifier.attention_layer, classifier.head, classifier.classes) == (layer, head, 10)


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
    assert refused("resnet8", "none", "stage9") == (
        "expected a layer of the model, got 'stage9'; layers at the top level: "
        "stem, norm, stage1, stage2, stage3, classifier"
    )
    assert refused("resnet8", "none", "stage3.conv9").endswith(
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
    assert repr(layer) in refused(f"{path}:Odd", "none", layer)
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


# ------------------------------------------------------------------ names


def test_an_unknown_name_is_refused_with_what_a_name_can_be_and_the_nearest():
    message = refused("resnet5O")
    assert message.startswith("expected --model to be a torchvision name, timm:NAME, hf:NAME, robustbench:NAME")
    assert message.endswith("got 'resnet5O'; did you mean 'resnet50'?")
    assert refused("qqqq").endswith("got 'qqqq'; `attnlab list models` names them")
    assert refused("tim:resnet18").endswith("got 'tim:resnet18'; did you mean 'timm:resnet18'?")


def test_a_file_where_a_name_belongs_is_refused_with_how_to_pass_it(tmp_path, net):
    assert refused(str(net)).endswith(f"did you mean '{net}:FUNCTION', a function there that returns the network?")
    (tmp_path / "weights.pth").touch()
    assert "a file of weights is given with --weights" in refused(str(tmp_path / "weights.pth"))


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
    assert refused(f"{path}:build") == f"expected --model FILE.py:FUNCTION with an existing file, got '{path}'"


def test_a_function_that_does_not_exist_is_refused_with_those_that_do(net):
    message = refused(f"{net}:biuld")
    assert message == (
        "expected a function of net.py (Options, Net, build, wide, none, broken, fixed), got 'biuld'; "
        "did you mean 'build'?"
    )


def test_a_function_that_returns_no_module_is_refused(net):
    assert refused(f"{net}:none") == f"expected {net}:none to return an nn.Module, got NoneType"


def test_an_error_in_a_users_file_is_one_line_with_its_place(tmp_path, net):
    line = next(number for number, text in enumerate(net.read_text().splitlines(), 1) if "build() + 1" in text)
    message = refused(f"{net}:broken")
    assert message.startswith(f"cannot build {net}:broken: TypeError: unsupported operand")
    assert message.endswith(f"(net.py, line {line})")
    (tmp_path / "bad.py").write_text("import torch\nimport missing_module\n")
    assert "ModuleNotFoundError: No module named 'missing_module' (bad.py, line 2)" in refused(
        f"{tmp_path / 'bad.py'}:f"
    )
    (tmp_path / "bad.py").write_text("import torch\n\ndef f(:\n")
    assert refused(f"{tmp_path / 'bad.py'}:f").endswith("(bad.py, line 3)")


def test_a_network_that_does_not_take_the_default_size_is_refused_with_how_to_name_another(net):
    message = refused(f"{net}:fixed")
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
    second = load_model(str(tmp_path / "runs" / "mine"), trust_code=True)
    assert second.describe() == first.describe()
    assert torch.equal(logits(second), logits(first))
    assert load_model(str(tmp_path / "runs" / "mine"), layer="last", trust_code=True).attention_layer == "last"


def test_a_checkpoint_of_a_network_with_shared_weights_is_written_and_read(tmp_path, net):
    with net.open("a") as file:
        file.write("\ndef tied():\n    net = build()\n    net.again = net.head\n    return net\n")
    first = load_model(f"{net}:tied")
    save_checkpoint(first, tmp_path / "tied", f"{net}:tied")
    assert load_model(str(tmp_path / "tied"), trust_code=True).fingerprint() == first.fingerprint()


def test_weights_of_a_checkpoint_may_be_replaced(tmp_path, net, state):
    save_checkpoint(load_model(f"{net}:build"), tmp_path / "mine", f"{net}:build")
    save_file(state, tmp_path / "other.safetensors")
    loaded = load_model(str(tmp_path / "mine"), tmp_path / "other.safetensors", trust_code=True).network.state_dict()
    assert torch.equal(loaded["head.bias"], state["head.bias"])


def test_a_folder_with_the_name_of_a_model_does_not_hide_the_model(tmp_path, monkeypatch, net):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(load_model(f"{net}:build"), Path("resnet8"), f"{net}:build")
    assert load_model("resnet8").classes == 10
    assert load_model("./resnet8", trust_code=True).classes == 5


def test_a_folder_that_is_no_whole_checkpoint_is_refused_with_what_is_wrong(tmp_path, net):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert refused(str(folder)) == f"expected {folder} to be a checkpoint, but it has no model.json"
    save_checkpoint(load_model(f"{net}:build"), folder, f"{net}:build")
    (folder / "model.json").write_text(json.dumps({"model": "resnet8"}))
    assert "another network" in refused(str(folder))
    (folder / "weights.safetensors").unlink()
    assert refused(str(folder)) == f"expected {folder} to be a checkpoint, but it has no weights.safetensors"


# ------------------------------------------------------------------ timm


def test_timm_names_without_timm_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert refused("timm:resnet18", "none") == "--model timm:NAME needs timm: pip install 'attnlab[timm]'"


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
    assert refused("timm:tini_net", "none") == "expected a model of timm 1.0, got 'tini_net'; did you mean 'tiny_net'?"
    assert refused("timm:tiny_net.in2k", "none") == "expected one of timm's weights tiny_net.in1k, got 'tiny_net.in2k'"


def test_timm_weights_that_cannot_be_downloaded_are_named_with_the_way_to_pass_them(timm):
    assert refused("timm:tiny_net") == (
        "the weights of timm:tiny_net could not be downloaded (ConnectionError: cannot reach huggingface.co); "
        "fetch its model.safetensors elsewhere and pass it as --weights FILE"
    )


def test_a_timm_that_cannot_use_the_hub_s_client_is_named(timm, monkeypatch):
    def fail(name: str, *, pretrained: bool) -> nn.Module:
        raise RuntimeError("Hugging Face hub model specified but package not installed. Run `pip install")

    monkeypatch.setattr(sys.modules["timm"], "create_model", fail)
    monkeypatch.setattr("attnlab.models.zoos.timm.find_spec", lambda name: name)
    assert refused("timm:tiny_net").startswith(
        "timm 1.0 downloads no weights with this huggingface_hub: pip install -U timm"
    )


def test_random_weights_of_a_known_network_may_be_of_any_number_of_classes():
    for name in ("resnet9", "lenet", "squeezenet1_1"):
        assert load_model(name, "none", classes=7).classes == 7
