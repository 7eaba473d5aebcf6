"""Maps of layers that are channels-last or tokens: where they are read, that they are right, what is refused."""

import json
from pathlib import Path

import layout_networks as networks
import pytest
import torch
from common import error_of
from layout_maps import by_hand, classifier_of, noise, patches
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam, logits_and_maps
from attnlab.attention.map_metrics import above_mean
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.layouts import Layout, has_aspect
from attnlab.training.losses import preservation
from attnlab.training.parse import parse_defense
from attnlab.training.step import Step

FILE = networks.__file__
NORM = "blocks.layers.1.norm1"


# ------------------------------------------------------------------ which layer, how it lies


@pytest.mark.parametrize(
    ("make", "layer", "cells", "axes", "head"),
    [
        (networks.Convolutions, "features", (4, 6), "channels-first", "fc"),
        (networks.channels_last, "norm", (4, 6), "channels-last", "fc"),
        (networks.hidden_head, "norm", (4, 6), "channels-last", None),
        (networks.one_channel_per_class, "features", (4, 6), "channels-first", "fc"),
        (networks.convolutional_head, "features", (4, 6), "channels-first", None),
        (networks.tokens, NORM, (4, 6), "tokens", None),
        (networks.three_before, NORM, (4, 6), "tokens", None),
        (networks.norm_last, "blocks.layers.0.norm2", (4, 6), "tokens", None),
        (networks.pooled_tokens, NORM, (4, 6), "tokens", None),
    ],
)
def test_the_layer_read_by_default_is_the_last_map_or_the_last_blocks_first_norm(make, layer, cells, axes, head):
    classifier = Classifier(make())
    assert (classifier.attention_layer, classifier.map_shape, classifier.head) == (layer, cells, head)
    assert classifier.feature_map.layout.axes == axes


@pytest.mark.parametrize(("make", "before"), [(networks.tokens, 1), (networks.three_before, 3)])
def test_maps_of_tokens_equal_grad_cams_reshape_transform(make, before):
    classifier, images = classifier_of(make()), noise(3)
    labels = torch.tensor([1, 8, 4])
    ours = grad_cam(classifier, images, labels).relu()
    cam = GradCAM(classifier, [classifier.network.get_submodule(NORM)], reshape_transform=patches(before))
    theirs = torch.tensor(
        cam(images, [ClassifierOutputTarget(label) for label in labels.tolist()])
    )  # min-max, enlarged
    scaled = torch.nn.functional.interpolate(
        ((ours - ours.amin((1, 2), True)) / (ours.amax((1, 2), True) - ours.amin((1, 2), True)))[:, None],
        (16, 24),
        mode="bilinear",
    )[:, 0]
    scaled = (scaled - scaled.amin((1, 2), True)) / (scaled.amax((1, 2), True) - scaled.amin((1, 2), True))
    torch.testing.assert_close(scaled.float(), theirs.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "layer", "spatial"),
    [
        (networks.channels_last, "norm", lambda values: values.permute(0, 3, 1, 2)),
        (networks.hidden_head, "norm", lambda values: values.permute(0, 3, 1, 2)),
        (networks.tokens, NORM, patches(1)),
        (networks.three_before, "blocks.layers.0.norm2", patches(3)),
        (networks.three_before, "blocks.layers.0", patches(3)),
        (networks.pooled_tokens, "norm", patches(0)),
        (networks.bent, "features", lambda values: values),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_maps_equal_plain_autograd_for_every_batch_size(make, layer, spatial, count):
    classifier, images = classifier_of(make(), layer), noise(count) * 9
    labels = torch.arange(count)
    expected = by_hand(classifier, images, labels, spatial, layer).detach()
    assert expected.abs().max() > 0
    torch.testing.assert_close(grad_cam(classifier, images, labels), expected, rtol=1e-9, atol=1e-12)


def test_patch_tokens_that_are_averaged_before_the_head_have_a_closed_form():
    assert Classifier(networks.pooled_tokens(), "norm").head == "fc"
    assert Classifier(networks.tokens(), NORM).head is None


# ------------------------------------------------------------------ two ways to read, and none


def test_a_layer_that_can_be_read_two_ways_is_refused_with_both_and_the_user_says_which():
    said = error_of(Classifier, networks.cube(), "mystery")
    assert "8 channels of 8x8 cells, or 8 channels of 8x8 cells" in said
    assert "--layer mystery:channels-first or --layer mystery:channels-last" in said
    images = noise(2, (16, 16))
    for reading, order in (("channels-first", (0, 1, 2, 3)), ("channels-last", (0, 3, 1, 2))):
        classifier = classifier_of(networks.cube(), f"mystery:{reading}")
        expected = by_hand(classifier, images, torch.tensor([0, 1]), lambda v, order=order: v.permute(order), "mystery")
        assert classifier.layer == f"mystery:{reading}"
        torch.testing.assert_close(grad_cam(classifier, images, torch.tensor([0, 1])), expected.detach())


def test_what_the_user_says_of_a_layer_stays_in_a_checkpoint(tmp_path):
    classifier = load_model(f"{FILE}:cube", "none", "mystery:channels-last")
    save_checkpoint(classifier, tmp_path / "mine", f"{FILE}:cube")
    assert json.loads((tmp_path / "mine/model.json").read_text())["layer"] == "mystery:channels-last"


def test_the_grid_of_the_last_tokens_may_be_said():
    classifier = Classifier(networks.tokens(), f"{NORM}:3x8")
    assert (classifier.map_shape, classifier.feature_map.layout.first) == ((3, 8), 1)
    assert "readable as 5x6" in error_of(Classifier, networks.tokens(), f"{NORM}:5x6")
    assert "(2, 10)" in error_of(Classifier, networks.tokens(), "fc")


# ------------------------------------------------------------------ what is said


def test_few_cells_are_told_once_with_a_layer_that_has_more():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 6),
    )  # fmt: skip
    network.input_size = (16, 24)
    classifier = Classifier(network)
    with pytest.warns(UserWarning, match=r"'3' has 2x3 cells, .* with --layer, such as 1 \(4x6 cells\)") as seen:
        [grad_cam(classifier, noise(1).float(), torch.tensor([0])) for _ in range(2)]
    assert len(seen) == 1


def test_a_layer_that_only_a_class_token_leaves_is_told_of():
    classifier = Classifier(networks.tokens(), "norm")
    with pytest.warns(UserWarning, match=f"do not depend on any cell of layer 'norm'.* such as {NORM}"):
        maps = grad_cam(classifier, noise(1).float(), torch.tensor([0]))
    assert not maps.any()


def test_tokens_in_another_order_than_the_images_are_told_of():
    classifier = Classifier(networks.shuffled(), "first")
    with pytest.warns(UserWarning, match="tokens of layer 'first' do not seem to lie row by row"):
        grad_cam(classifier, noise(1).float(), torch.tensor([0]))


# ------------------------------------------------------------------ maps that are differentiated


def test_the_gradient_of_preservation_on_tokens_equals_finite_differences():
    classifier, labels = classifier_of(networks.tokens()), torch.tensor([1, 8])
    images, others = noise(4).split(2)

    def value(images: Tensor) -> Tensor:
        _, maps = logits_and_maps(classifier, torch.cat([images, others]), labels.repeat(2), create_graph=True)
        return preservation(*maps.chunk(2)).sum()

    images.requires_grad_()
    (gradient,) = torch.autograd.grad(value(images), images)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead, behind = (value(images + sign * 1e-6 * direction).item() for sign in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx((ahead - behind) / 2e-6, rel=1e-5)


def test_preservation_in_a_step_on_tokens_is_that_of_maps_by_hand():
    classifier, labels = classifier_of(networks.three_before()), torch.tensor([1, 8])
    clean, adversarial = noise(4).split(2)
    terms = Step(classifier, parse_defense("madry+aad"))(clean, adversarial, labels)
    maps = [by_hand(classifier, images, labels, patches(3), NORM).detach().relu() for images in (clean, adversarial)]
    first, second = (each / each.amax((1, 2), True) for each in maps)
    expected = (first - second).abs().mean().item()
    assert terms.diagnostics["raw_preservation"].item() == pytest.approx(expected, rel=1e-9)
    terms.loss.backward()
    assert classifier.network.patch.weight.grad.abs().max() > 0


def test_a_step_of_a3_on_tokens_follows_the_gradient_of_maps_by_hand():
    classifier, images, labels = classifier_of(networks.tokens()), noise(2), torch.tensor([1, 8])
    attack = Attack(eps=0.02, steps=1, step_size=0.01, sigma=10.0)
    ours = perturb(classifier, images, labels, attack)
    area = above_mean(by_hand(classifier, images, labels, patches(1), NORM).relu()).double().detach()
    point = images.clone().requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        now = by_hand(classifier, point, labels, patches(1), NORM, graph=True).relu()
        climbed = nn.functional.cross_entropy(classifier(point), labels, reduction="sum")
    climbed = climbed + 10 * (area - now / now.amax((1, 2), True)).abs().mean((1, 2)).sum()
    (gradient,) = torch.autograd.grad(climbed, point)
    expected = (images + 0.01 * gradient.sign()).clamp(0, 1)
    clear = gradient.abs() > 1e-9 * gradient.abs().max()
    torch.testing.assert_close(ours[clear], expected[clear])


# ------------------------------------------------------------------ the command line


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Twelve images with boxes."""
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["image,label,x0,y0,x1,y1"]
    for number, pixels in enumerate((noise(12).permute(0, 2, 3, 1) * 255).byte().numpy()):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{number % 10},2,2,14,12")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize(("name", "axes"), [("hidden_head", "channels-last"), ("three_before", "tokens, 3 before")])
def test_a_network_with_another_layout_is_analysed_and_trained_from_the_command_line(attnlab, pictures, name, axes):
    words = [
        "--data",
        "folder",
        "--root",
        pictures,
        "--model",
        f"{FILE}:{name}",
        "--weights",
        "none",
        "--device",
        "cpu",
    ]
    ended = attnlab("analyze", *words, "--attack", "fgsm+a3", "--target", "predicted", "--workers", 0, "--out", "seen")
    assert ended.code == 0, ended.err
    model = json.loads(Path("seen/run.json").read_text())["model"]
    assert (model["map_shape"], model["map_axes"]) == ([4, 6], f"{axes}, 4x6 cells")
    more = ["--defense", "madry+aad", "--epochs", 1, "--held-out", 4, "--batch-size", 8, "--steps", 1, "--workers", 0]
    ended = attnlab("train", *words, *more, "--out", "trained")
    assert ended.code == 0, ended.err
    assert load_model("trained", trust_code=True).map_shape == (4, 6)


def test_the_aspect_of_a_grid_is_the_images_to_one_cell():
    assert has_aspect((7, 7), (224, 224))
    assert not has_aspect((7, 8), (224, 224)), "exactly so where images are square"
    assert has_aspect((6, 8), (48, 64))
    assert has_aspect((6, 9), (48, 64)), "one column more than 8"
    assert not has_aspect((6, 10), (48, 64))
    assert has_aspect((13, 10), (64, 48)), "13 rows are 9.75 columns"
    assert not has_aspect((8, 6), (48, 64))
    assert not has_aspect((30, 60), (20, 80)), "more rows than pixels"


def test_tokens_of_another_number_than_the_layout_has_are_refused():
    layout = Layout("tokens", (2, 3), first=1, tokens=7)
    values = torch.arange(14.0).reshape(1, 7, 2)
    assert layout.spatial(values)[0, 0].tolist() == [[2, 4, 6], [8, 10, 12]]
    assert error_of(layout.spatial, values[:, :6]) == "expected 7 tokens from the attention layer, got 6"
