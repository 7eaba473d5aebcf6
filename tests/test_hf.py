"""Image classifiers of transformers: what of their folder is taken, their maps, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from common import error_of, pixels, refused
from safetensors.torch import load_file, save_file

from attnlab.attention.gradcam import grad_cam, logits_and_maps
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.zoos import hf

transformers = pytest.importorskip("transformers", reason="needs the package transformers")
from hf_models import NAMES, save  # noqa: E402

KINDS = {
    "vit": ("ViTImageProcessor", {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}),
    "swin": ("ViTImageProcessor", {}),
    "convnext": ("ConvNextImageProcessor", {"crop_pct": 0.875}),
    "dinov2": ("BitImageProcessor", {"crop_size": {"height": 32, "width": 32}}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """The names of one model of each kind."""
    root = tmp_path_factory.mktemp("hf")
    return {kind: save(root / kind, kind, processor, **options) for kind, (processor, options) in KINDS.items()}


@pytest.fixture
def vit(tmp_path) -> Path:
    """A folder of a vision transformer of its own."""
    save(tmp_path / "vit", "vit", "ViTImageProcessor")
    return tmp_path / "vit"


def processed(folder: str, images: np.ndarray) -> torch.Tensor:
    """What the model's own processor makes of images, (N, H, W, C) of bytes."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder.removeprefix("hf:"))
    return processor(list(images), input_data_format="channels_last", return_tensors="pt")["pixel_values"]


# ------------------------------------------------------------------ what is taken from the folder


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_a_model_equal_those_of_transformers_behind_its_own_processor(models, kind):
    classifier = load_model(models[kind])
    images = np.random.default_rng(0).integers(0, 256, (2, *classifier.input_size, 3), np.uint8)
    if kind == "vit":  # of its size already, so that its processor resizes and crops nothing
        assert processed(models[kind], images).shape[2:] == classifier.input_size
        expected = processed(models[kind], images)
    else:
        mean, std = (values.flatten() for values in (classifier.mean, classifier.std))
        expected = ((torch.tensor(images) / 255 - mean) / std).permute(0, 3, 1, 2)
    network = transformers.AutoModelForImageClassification.from_pretrained(models[kind].removeprefix("hf:")).eval()
    with torch.no_grad():
        ours = classifier(torch.tensor(images).permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(ours, network(expected).logits, rtol=1e-4, atol=1e-5)
    assert (classifier.input_size, classifier.channels, classifier.network.labels) == ((32, 32), 3, tuple(NAMES))


@pytest.mark.parametrize(
    ("options", "size", "mean", "std"),
    [
        ({"size": {"height": 48, "width": 32}}, (48, 32), [0.5] * 3, [0.5] * 3),
        ({"size": 32}, (32, 32), [0.5] * 3, [0.5] * 3),
        ({"do_normalize": False}, (32, 32), [0] * 3, [1] * 3),
        ({"do_rescale": False, "image_mean": [102] * 3, "image_std": [51] * 3}, (32, 32), [0.4] * 3, [0.2] * 3),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1] * 3, "image_std": [1] * 3}, (32, 32), [0.5] * 3, [0.5] * 3),
    ],
)
def test_size_and_normalisation_are_those_that_the_processors_options_mean(tmp_path, options, size, mean, std):
    classifier = load_model(save(tmp_path / "swin", "swin", "ViTImageProcessor", **options), "none")
    assert classifier.input_size == size
    torch.testing.assert_close(classifier.mean.flatten(), torch.tensor(mean).float(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(classifier.std.flatten(), torch.tensor(std).float(), atol=1e-6, rtol=1e-6)


def test_the_crop_counts_before_the_size(tmp_path):
    options = {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    name = save(tmp_path / "dinov2", "dinov2", "BitImageProcessor", **options)
    assert load_model(name).input_size == (32, 32)
    assert processed(name, np.zeros((1, 60, 90, 3), np.uint8)).shape == (1, 3, 32, 32)


def test_channels_that_a_processor_reverses_are_reversed_before_the_network(tmp_path):
    options = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    name = save(tmp_path / "convnext", "convnext", "MobileViTImageProcessor", **options)
    classifier = load_model(name)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    seen = processed(name, images)
    torch.testing.assert_close(seen[:, 0], torch.tensor(images[..., 2]) / 255)  # blue first
    network = transformers.AutoModelForImageClassification.from_pretrained(name.removeprefix("hf:")).eval()
    with torch.no_grad():
        ours = classifier(torch.tensor(images).permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(ours, network(seen).logits, rtol=1e-4, atol=1e-5)
    assert classifier.as_it_is


def test_statistics_of_reversed_channels_are_of_the_images_own(tmp_path):
    class Reversing:  # as MobileViT's would, were it to normalise too
        def __call__(self, image, **_options):
            pixels = torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
            mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
            return {"pixel_values": (pixels - mean) / std}

    read = hf._preprocessing(Reversing(), transformers.ConvNextConfig(), "own")
    assert (read.reversed, read.size) == (True, None)
    assert (read.mean, read.std) == (pytest.approx([0.3, 0.2, 0.1]), pytest.approx([0.6, 0.5, 0.4]))


def test_a_processor_that_mixes_colours_is_refused():
    class Grey:
        def __call__(self, image, **_options):
            return {"pixel_values": torch.tensor(image).permute(2, 0, 1)[None].float().mean(1, True).repeat(1, 3, 1, 1)}

    assert error_of(hf._preprocessing, Grey(), transformers.ConvNextConfig(), "own").endswith("got another rule")


def test_a_processor_that_does_not_resize_leaves_the_size_to_the_models_config(tmp_path):
    assert load_model(save(tmp_path / "vit", "vit", "ViTImageProcessor", do_resize=False)).input_size == (32, 32)
    assert load_model(save(tmp_path / "own", "convnext", "ViTImageProcessor", do_resize=False)).input_size == (224, 224)


def test_a_model_without_a_processor_is_not_normalised_and_says_so(tmp_path):
    name = save(tmp_path / "vit", "vit", labels=False)
    with pytest.warns(UserWarning, match="says no mean and std, so its images are not normalised"):
        classifier = load_model(name)
    assert (classifier.as_it_is, classifier.input_size) == (True, (32, 32))
    assert not hasattr(classifier.network, "labels")  # LABEL_0 is no name
    assert load_model(name, mean=0.5, std=0.5).stated == {"mean": [0.5] * 3, "std": [0.5] * 3}


def test_weights_none_are_random_and_a_file_decides_the_number_of_classes(tmp_path, vit):
    own, random = load_model(f"hf:{vit}"), load_model(f"hf:{vit}", "none")
    assert own.fingerprint() != random.fingerprint() == load_model(f"hf:{vit}", "none").fingerprint()
    state = load_file(vit / "model.safetensors")
    state |= {name: value[:3].clone() for name, value in state.items() if name.startswith("classifier")}
    save_file(state, tmp_path / "three.safetensors")
    whole = load_model(f"hf:{vit}", vit / "model.safetensors")  # tensors have other names there than in the network
    assert whole.fingerprint() == own.fingerprint()
    few = load_model(f"hf:{vit}", tmp_path / "three.safetensors")
    assert (few.classes, hasattr(few.network, "labels")) == (3, False)
    assert torch.equal(few.network.classifier.weight, own.network.classifier.weight[:3])


def test_a_checkpoint_gives_back_the_model(tmp_path, vit):
    classifier = load_model(f"hf:{vit}", "none")
    save_checkpoint(classifier, tmp_path / "mine", f"hf:{vit}")
    assert load_model(str(tmp_path / "mine")).describe() == classifier.describe()


# ------------------------------------------------------------------ maps


def spatial(kind: str, values: torch.Tensor) -> torch.Tensor:
    """A layer's output as (N, C, h, w), by hand."""
    if values.ndim == 4:
        return values
    patches = values[:, {"vit": 1, "dinov2": 1}.get(kind, 0) :]
    side = round(patches.shape[1] ** 0.5)
    return patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)


def by_autograd(classifier: Classifier, kind: str, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Grad-CAM with a hook and autograd alone, (N, h, w)."""
    kept = []

    def keep(_module, _inputs, output):
        kept.append(output)
        return output.clone()

    handle = classifier.network.get_submodule(classifier.attention_layer).register_forward_hook(keep)
    logits = classifier(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[range(len(labels)), labels].sum(), kept[-1])
    return (spatial(kind, gradient).mean((2, 3), keepdim=True) * spatial(kind, kept[-1])).sum(1).detach()


@pytest.mark.parametrize(
    ("kind", "layer", "read", "cells", "head"),
    [
        ("vit", None, "vit.layers.1.layernorm_before", (4, 4), None),
        ("swin", None, "swin.encoder.layers.1.blocks.0.layernorm_before", (8, 8), None),
        ("swin", "swin.layernorm", "swin.layernorm", (8, 8), "classifier"),
        ("convnext", None, "convnext.encoder.stages.1", (4, 4), None),
        ("dinov2", None, "dinov2.encoder.layer.1.norm1", (4, 4), None),
    ],
)
def test_maps_of_a_model_equal_plain_autograd(models, kind, layer, read, cells, head):
    classifier = load_model(models[kind], layer=layer).double()
    layer = classifier.attention_layer.replace("vit.encoder.layer.", "vit.layers.")  # of transformers 5.0
    assert (layer, classifier.map_shape, classifier.head) == (read, cells, head)
    images, labels = pixels(classifier).double(), torch.tensor([3, 8])
    expected = by_autograd(classifier, kind, images, labels)
    assert expected.abs().max() > 0
    torch.testing.assert_close(
        grad_cam(classifier, images, labels), expected, rtol=1e-6, atol=1e-9 * expected.abs().max()
    )


@pytest.mark.parametrize("kind", ["vit", "swin", "dinov2"])
def test_maps_are_differentiable_as_training_needs_them(models, kind):
    classifier = load_model(models[kind])
    images = pixels(classifier).requires_grad_()
    _, maps = logits_and_maps(classifier, images, torch.tensor([3, 8]), create_graph=True)
    (gradient,) = torch.autograd.grad(maps.sum(), images)
    assert gradient.isfinite().all()
    assert gradient.any()


# ------------------------------------------------------------------ what is refused


def test_a_missing_package_or_folder_is_one_line(monkeypatch, tmp_path):
    assert refused(f"hf:{tmp_path}/nothing") == (
        f"expected a model id of Hugging Face's hub or an existing folder behind hf:, got '{tmp_path}/nothing'"
    )
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert refused("hf:google/vit-base-patch16-224") == (
        "--model hf:NAME needs transformers: pip install 'attnlab[hf]'"
    )


def test_a_model_without_a_trained_head_is_refused_but_for_random_weights(vit):
    state = load_file(vit / "model.safetensors")
    save_file({name: value for name, value in state.items() if "classifier" not in name}, vit / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    assert refused(f"hf:{vit}") == (
        f"hf:{vit} has no weights for classifier.bias, classifier.weight: it was not trained to classify; "
        "name one that was, or give its weights with --weights FILE"
    )
    assert load_model(f"hf:{vit}", "none").classes == 10


def test_a_folder_that_is_damaged_or_of_another_task_is_one_line(tmp_path, vit):
    (vit / "model.safetensors").unlink()
    assert refused(f"hf:{vit}").startswith(f"hf:{vit} could not be had from transformers (OSError: ")
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    assert refused(f"hf:{vit}", "none").startswith(f"hf:{vit} could not be had from transformers (ValueError: Unrecog")
    (vit / "config.json").write_text("{")
    assert refused(f"hf:{vit}", "none").startswith(f"hf:{vit} could not be had from transformers (OSError: ")


CODE = """
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
from torch import nn

class OwnConfig(PretrainedConfig):
    model_type = "own"

class Own(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.features, self.classifier = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)
        self.post_init()

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.classifier(self.features(pixel_values).mean((2, 3))))
"""


def test_code_that_comes_with_a_model_runs_with_trust_code_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own_network"
    folder.mkdir()
    (folder / "own.py").write_text(CODE + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.Own"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto, "image_size": 32}))
    assert refused(f"hf:{folder}", "none") == (
        f"hf:{folder} is built by code that comes with it, which runs with your rights: look into it, then add "
        "--trust-code to run it"
    )
    assert not (tmp_path / "ran").exists()
    with pytest.warns(UserWarning, match="--trust-code runs code that hf:"):
        classifier = load_model(f"hf:{folder}", "none", trust_code=True)
    assert (classifier.head, (tmp_path / "ran").exists()) == ("classifier", True)
    save_checkpoint(classifier, tmp_path / "mine", f"hf:{folder}")
    assert "--trust-code" in error_of(load_model, str(tmp_path / "mine"))
