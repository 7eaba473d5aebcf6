"""What a loop of one's own and a notebook have of tensors at hand."""

import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
import torch

from attnlab.attacks.parse import parse_attack
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.attention.lime import LimeSettings
from attnlab.attention.map_metrics import map_box_iou
from attnlab.errors import UserError
from attnlab.interactive import Explanation, attack, explain, lime
from attnlab.models import Classifier
from attnlab.superpixels import superpixels


def test_an_explanation_holds_grad_cam_of_the_prediction_or_of_the_classes_given(resnet8, scenes_batch):
    images, labels = scenes_batch
    predicted = explain(resnet8, images)
    assert torch.equal(predicted.classes, resnet8(images).argmax(1))
    assert torch.equal(predicted.maps, grad_cam(resnet8, images, predicted.classes))
    given = explain(resnet8, images, labels)
    assert torch.equal(given.maps, grad_cam(resnet8, images, labels))
    assert not given.maps.requires_grad
    with pytest.raises(UserError, match=r"expected method to be one of .*did you mean 'grad-cam'\?"):
        explain(resnet8, images, method="gradcam")


def test_lime_spreads_a_superpixels_weight_and_finds_what_a_linear_model_looks_at():
    class Corner(torch.nn.Module):
        input_size = (16, 16)

        def forward(self, images):
            bright = images[:, :, :4, :4].mean((1, 2, 3))
            return torch.stack([bright, 0.75 - bright], 1)

    image = torch.full((1, 3, 16, 16), 0.5)
    image[:, :, :4, :4] = 1
    classifier = Classifier(Corner())
    found = lime(classifier, image, settings=LimeSettings(samples=400, superpixels="grid", hide="grey"))
    assert found.segments.shape == (1, 16, 16)
    assert found.maps.shape == (1, 16, 16)
    weights = found.weights[0]
    corner = np.unique(found.segments[0, :4, :4])
    assert set(np.argsort(-weights)[: len(corner)]) == set(corner.tolist())
    assert np.abs(np.delete(weights, corner)).max() < 0.3 * weights[corner].min()
    assert torch.equal(found.maps[0], torch.from_numpy(weights)[found.segments[0]])


def test_lime_of_the_ids_of_a_run_is_cut_and_drawn_as_the_run_does(resnet8, scenes_batch):
    images, _ = scenes_batch
    settings = LimeSettings(samples=60, superpixels="slic")
    whole = lime(resnet8, images[:3], None, settings, seed=3, image_ids=["a", "b", "c"])
    alone = lime(resnet8, images[1:2], None, settings, seed=3, image_ids=["b"])
    np.testing.assert_allclose(whole.weights[1], alone.weights[0], atol=1e-6)
    assert np.array_equal(whole.segments[0].numpy(), superpixels(images[0].numpy(), "slic", 0))
    with pytest.raises(UserError, match="expected an image_id for each of 3 images, got 2"):
        lime(resnet8, images[:3], image_ids=["a", "b"])


def test_an_attack_by_name_is_that_of_its_settings_and_stays_in_the_ball(resnet8, scenes_batch):
    images, labels = scenes_batch
    made = attack(resnet8, images, labels, "stepll", "8/255")
    assert (made - images).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal(
        made, perturb(resnet8, images, labels, parse_attack("stepll").__class__("least-likely", 8 / 255))
    )
    assert torch.equal(attack(resnet8, images, labels, parse_attack("fgsm")), attack(resnet8, images, labels, "fgsm"))
    square = attack(resnet8, images[:1], labels[:1], "square", 0.3)
    assert 0 < (square - images[:1]).abs().max() <= 0.3 + 1e-6
    assert resnet8(square).argmax(1) != labels[:1]
    with pytest.raises(UserError, match="did you mean 'square'"):
        attack(resnet8, images, labels, "squar")
    with pytest.raises(UserError, match="did you mean 8/255"):
        attack(resnet8, images, labels, "pgd", 8)


def test_iou_of_maps_with_boxes_is_that_of_the_pixels_by_hand():
    maps = torch.zeros(3, 4, 4)
    maps[0, :2, :2] = torch.tensor([[4.0, 3], [2, 1]])
    maps[1] = torch.arange(16.0).view(4, 4)
    boxes = [[[0, 0, 2, 2]], np.array([[0, 0, 4, 1], [0, 1, 4, 2]]), []]
    iou = map_box_iou(maps, boxes, (4, 4))
    assert iou[:2].tolist() == [1.0, 0.0]  # the four highest are the box; the eight highest are the lower half
    assert iou[2].isnan()
    with pytest.raises(UserError, match="expected boxes for each of 3 maps, got those of 1 images"):
        map_box_iou(maps, boxes[:1], (4, 4))


def test_a_figure_has_a_picture_for_each_image_and_a_notebook_shows_the_first(resnet8, scenes_batch):
    images, labels = scenes_batch
    found = explain(resnet8, images[:10], labels[:10])
    figure = found.plot(boxes=[[[5, 5, 20, 20]]] * 10, names=[f"<{number}>" for number in range(10)])
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 10
    assert drawn[3].get_title() == f"<{int(labels[3])}>"
    plain = explain(resnet8, images[:1], labels[:1]).plot().axes[0].images[0].get_array()
    framed = drawn[0].images[0].get_array()
    assert (np.asarray(plain)[5, 5:20] != np.asarray(framed)[5, 5:20]).any()  # the frame, along its upper edge
    assert np.array_equal(np.asarray(plain)[30:], np.asarray(framed)[30:])
    page = found._repr_html_()
    assert page.startswith("<p>grad-cam of 10 images, maps of (8, 8), the first 8</p>")
    picture = re.search(r"base64,([^\"]+)", page)
    assert matplotlib.image.imread(io.BytesIO(base64.b64decode(picture[1]))).shape[0] > 100
    nothing = Explanation("grad-cam", images[:0], labels[:0], torch.zeros(0, 8, 8))
    assert nothing._repr_html_() == "<p>grad-cam of 0 images, maps of (8, 8)</p>"
