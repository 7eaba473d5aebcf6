"""Controls that look at nothing: the centred frame of the controls of Table 1, and noise."""

import numpy as np
import torch

from attnlab.attention.blind_maps import centre_maps, random_maps
from attnlab.attention.model_pass import ModelPass
from attnlab.boxes import rasterise
from attnlab.measures import MEASURES
from attnlab.report.tables.controls import blind_ious, from_the_centre


def a_pass(height, width, seeds=(5, 6, 7)):
    images = torch.zeros(len(seeds), 3, height, width)
    nothing = torch.zeros(len(seeds), 2)
    return ModelPass(None, images, nothing, None, nothing.argmax(1), seeds)


def test_the_centre_by_hand():
    assert torch.allclose(centre_maps(a_pass(2, 4))[0], torch.tensor([[0.25, 0.5, 0.5, 0.25]] * 2))


def test_the_centres_iou_is_that_of_the_controls_table():
    for size in ((32, 32), (30, 47), (224, 224)):
        maps = centre_maps(a_pass(*size))
        boxes = [[2, 3, 20, 25], [0, 0, 9, 30], [10, 10, 22, 21]]
        masks = np.stack([rasterise(np.array([box], float), *size) for box in boxes])
        expected = [blind_ious(mask, from_the_centre(size))[0] for mask in masks]
        assert MEASURES["iou"](maps=maps, masks=torch.from_numpy(masks))[:, 0].tolist() == expected


def test_noise_depends_on_an_images_seed_alone():
    together = random_maps(a_pass(8, 9))
    alone = torch.cat([random_maps(a_pass(8, 9, (seed,))) for seed in (5, 6, 7)])
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])
    assert 0.4 < together.mean() < 0.6


def test_without_seeds_the_place_in_the_batch_seeds_the_noise(resnet8):
    images = torch.rand(3, 3, 64, 64)
    seen = ModelPass(resnet8, images, resnet8(images), None, torch.zeros(3, dtype=torch.long))
    given = ModelPass(resnet8, images, seen.logits, None, seen.classes, seeds=[0, 1, 2])
    assert torch.equal(random_maps(seen), random_maps(given))
