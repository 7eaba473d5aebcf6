"""From maps at the images' resolution to cells, and how records keep them."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies

from attnlab.attention.pixel_maps import pool_to_grid, shares
from attnlab.kept_maps import grid_of, pack_map, unpack_map


def test_cells_are_sums_of_positive_parts_by_hand():
    maps = torch.tensor([[[1.0, 2.0, -9.0, 4.0], [3.0, -1.0, 5.0, 6.0]]])
    assert pool_to_grid(maps, (1, 2)).tolist() == [[[6.0, 15.0]]]
    assert pool_to_grid(maps, (2, 4)).tolist() == maps.relu().tolist()


def test_a_pixel_on_the_border_of_cells_is_shared_by_area():
    maps = torch.tensor([[[1.0, 10.0, 100.0]] * 3])
    assert pool_to_grid(maps, (1, 2)).tolist() == [[[18.0, 315.0]]]  # 3 (1 + 10 / 2), 3 (10 / 2 + 100)
    assert pool_to_grid(maps, (2, 2)).tolist() == [[[9.0, 157.5]] * 2]
    assert pool_to_grid(maps[:, :1], (2, 3)).tolist() == [[[0.5, 5.0, 50.0]] * 2]  # a grid that is finer than the map


@given(strategies.integers(1, 40), strategies.integers(1, 20), strategies.integers(0, 9))
def test_pooling_equals_a_mean_over_pixels_that_are_cut_into_parts(size, cells, seed):
    values = torch.randn(1, size, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts = values.relu().repeat_interleave(cells, 1).view(cells, size) / cells  # each pixel in `cells` parts
    torch.testing.assert_close(pool_to_grid(values, (cells, 1))[0, :, 0], parts.sum(1))
    torch.testing.assert_close(shares(size, cells).sum(0), torch.ones(size, dtype=torch.float64))


def test_a_kept_map_has_its_shape_and_shares_whatever_its_scale():
    values = np.random.default_rng(0).normal(size=(5, 7)) * 1e-12
    kept = unpack_map(pack_map(values), (5, 7))
    np.testing.assert_allclose(kept, values / np.abs(values).max(), atol=5e-4)
    assert (unpack_map(pack_map(np.zeros((2, 2))), (2, 2)) == 0).all()


def test_a_network_without_an_attention_layer_has_the_papers_grid():
    assert grid_of((7, 5)) == (7, 5)
    assert grid_of(()) == (8, 8)
    with pytest.raises(ValueError, match="unpack"):
        grid_of((7,))
