"""A map over its image: upsampling, colours, boxes, and overlays of a whole run."""

import json
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from attnlab.errors import UserError
from attnlab.pipelines.replay import replay
from attnlab.records import read_records
from attnlab.report.figures.overlay import OPACITY, blend, colour_bar, overlay, resize_maps
from attnlab.report.figures.overlays import write_overlays


@pytest.mark.parametrize(("shape", "size"), [((8, 8), (299, 299)), ((5, 7), (64, 101)), ((7, 7), (7, 7))])
def test_a_map_is_enlarged_as_torch_interpolates(shape, size):
    values = np.random.default_rng(0).normal(size=shape)
    theirs = torch.nn.functional.interpolate(torch.tensor(values)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(resize_maps(values, size), theirs.numpy(), atol=1e-5)


def test_values_up_to_zero_leave_the_image_grey_and_the_highest_has_the_last_colour():
    image = np.array([[[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]]], np.float32)  # (1, 2, 3)
    picture = blend(image, np.array([[-3.0, 2.0]]), 2.0)
    grey = round(255 * (0.299 + 0.587 * 0.5))
    assert picture[0, 0].tolist() == [grey] * 3
    last = np.array(matplotlib.colormaps["inferno"](1.0)[:3])
    np.testing.assert_allclose(picture[0, 1], 255 * (OPACITY * last + (1 - OPACITY) * 0.2), atol=1)


def test_opacity_grows_with_the_root_of_the_value():
    picture = blend(np.zeros((1, 1, 1), np.float32), np.array([[0.25]]), 1.0)
    colour = np.array(matplotlib.colormaps["inferno"](0.25)[:3])
    np.testing.assert_allclose(picture[0, 0], 255 * OPACITY * 0.5 * colour, atol=2)


def test_a_map_without_positive_values_and_one_of_nan_show_nothing():
    image = np.full((4, 4, 1), 0.5, np.float32)
    for values in (np.full((2, 2), -1.0), np.full((2, 2), np.nan), np.zeros((2, 2))):
        assert (overlay(image, values) == 128).all()


def test_the_scale_can_be_shared_with_another_map():
    image = np.zeros((4, 4, 3), np.float32)
    alone, shared = overlay(image, np.ones((2, 2))), overlay(image, np.ones((2, 2)), high=4.0)
    assert (shared < alone).any()
    assert (shared == blend(image, np.full((4, 4), 0.25), 1.0)).all()


def test_a_box_is_drawn_on_the_inner_border_of_its_half_open_pixels():
    picture = overlay(np.full((20, 30, 3), 0.5, np.float32), boxes=[[5, 2, 25, 18]])
    white = (picture == 255).all(2)
    rows, columns = np.nonzero(white)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 17, 5, 24)
    assert white.sum() == 2 * 20 + 2 * 14  # one pixel wide
    assert (picture[3, 6:24] == 0).all()  # a black line inside
    assert (picture[10, 15] == 128).all()


def test_a_box_beyond_the_frame_is_cut_and_one_outside_is_left_out():
    picture = overlay(np.full((20, 30, 3), 0.5, np.float32), boxes=[[-5, -5, 10, 10], [40, 40, 50, 50]])
    assert (picture[0, :10] == 255).all()
    assert (picture[12:] == 128).all()


def test_cells_are_outlined_at_the_maps_own_resolution():
    image = np.zeros((12, 12, 3), np.float32)
    changed = (overlay(image, np.zeros((3, 4)), cells=True) > 0).all(2)
    assert np.flatnonzero(changed.all(1)).tolist() == [4, 8]
    assert np.flatnonzero(changed.all(0)).tolist() == [3, 6, 9]


def test_a_small_image_is_enlarged_in_whole_pixels_and_superpixels_stay_sharp():
    image = np.random.default_rng(0).random((3, 3, 3)).astype(np.float32)
    plain = overlay(image, scale=4)
    assert plain.shape == (12, 12, 3)
    assert (plain[::4, ::4] == overlay(image)).all()
    sharp = overlay(np.zeros((3, 3, 1), np.float32), np.diag([1.0, 0, 0]), scale=4)
    assert (sharp[:4, :4] == sharp[0, 0]).all()
    assert (sharp[4:] == 0).all()


def test_the_colour_bar_rises_from_grey_to_the_last_colour():
    bar = colour_bar(64)[:, 0]
    assert bar[-1].tolist() == [128] * 3
    assert (bar[0] == blend(np.full((1, 1, 1), 0.5), np.ones((1, 1)), 1.0)[0, 0]).all()


# ------------------------------------------------------------------ a whole run


def test_every_image_of_a_run_has_its_overlays_with_one_scale_for_the_pair(run, tmp_path):
    names = ["val-00002", "val-00007"]
    assert write_overlays(run, replay(run, names), tmp_path, workers=2) == 6
    found = sorted(path.name for path in (tmp_path / "overlays").glob("*"))
    kinds = ("adversarial-eps-16-255", "adversarial-eps-4-255", "clean")
    assert found == [f"{name}-{kind}.png" for name in names for kind in kinds]
    records = read_records(run)
    record = records[records["image_id"] == names[0]].iloc[0]
    maps = [record["map"], *records.loc[records["image_id"] == names[0], "adv_map"]]
    high = max(values.max() for values in maps)
    (view,) = replay(run, names[:1])
    mine = overlay(view.clean, record["map"].reshape(8, 8), list(record["boxes"]), high=high, scale=4)
    written = np.asarray(Image.open(tmp_path / "overlays" / f"{names[0]}-clean.png"))
    assert written.shape == (256, 256, 3)
    assert (written == mine).all()


def test_overlays_of_a_run_without_maps_are_refused(run, tmp_path):
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "run.json").read_text())
    manifest["options"]["methods"] = []
    (copied / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"has no maps, so there is nothing to lay over its images"):
        write_overlays(copied, [], tmp_path)


def test_overlays_into_a_file_are_refused(run, tmp_path):
    (tmp_path / "overlays").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*overlays"):
        write_overlays(run, replay(run, ["val-00002"]), tmp_path)
