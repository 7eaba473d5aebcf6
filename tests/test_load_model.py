"""From a name to a classifier: what is found, and what a user reads when it cannot be."""

import sys
from types import SimpleNamespace

import pytest
import torch
from common import pixels, refused
from torch import nn

from attnlab.compat import torchvision
from attnlab.models import Classifier, load_model

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
