"""Score-CAM and Ablation-CAM: what they leave alone, and memory that runs out."""

import pytest
import torch
from perturbed_layers import NETWORKS, classifier_of, maps_of, noise
from torch import Tensor

from attnlab.attention.masked_inference import NotFinite


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_is_given_back_as_it_was(name, method):
    classifier = classifier_of(name)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    maps = maps_of(classifier, noise(), method)
    assert not maps.requires_grad
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(torch.equal(value, before[key]) for key, value in classifier.state_dict().items())


@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_batches_are_halved_where_memory_runs_out(method, monkeypatch):
    classifier, images = classifier_of("channels-last"), noise()
    expected = maps_of(classifier, images, method)
    fc = classifier.network.fc
    forward = fc.forward

    def short(values: Tensor) -> Tensor:
        if len(values) > 4:
            raise RuntimeError("CUDA out of memory")
        return forward(values)

    monkeypatch.setattr(fc, "forward", short)
    torch.testing.assert_close(maps_of(classifier, images, method), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("method", "answer"), [("score-cam", 1), ("ablation-cam", 3)])
def test_a_model_that_gives_nan_for_a_perturbed_image_is_named(method, answer, monkeypatch):
    """The first pass of score-cam, the third of ablation-cam, behind its two of trying out."""
    classifier, images = classifier_of("channels-last"), noise()
    fc, answers = classifier.network.fc, []
    forward = fc.forward

    def broken(values: Tensor) -> Tensor:
        answers.append(values)
        return forward(values) * (torch.nan if len(answers) > answer else 1)

    monkeypatch.setattr(fc, "forward", broken)
    with pytest.raises(NotFinite, match="NaN for a perturbed copy of image 0"):
        maps_of(classifier, images, method)
