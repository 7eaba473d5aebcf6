"""The picture for a first look: a row for each model, a column for each image."""

import numpy as np
import pytest

from attnlab.report.figures.models import gaze
from attnlab.report.figures.style import BLUE, VERMILION
from attnlab.views import MapView

IMAGE = np.full((8, 8, 3), 0.5, np.float32)
MAP = np.eye(4) - 0.5


@pytest.fixture
def figure():
    right, wrong = MapView(IMAGE, MAP, 2, 0.75, 0.75), MapView(IMAGE, 10 * MAP, 7, 0.1, 0.9)
    return gaze({"first": [right, right], "second": [wrong, right]}, [2, 2], [[[1, 2, 5, 6]], []], "0123456789")


def test_each_row_is_named_and_holds_an_image_each(figure):
    assert [text.get_text() for text in figure.texts] == ["first", "second"]
    pictures = [axes for axes in figure.axes if axes.get_xlim() == (0, 8)]
    assert len(pictures) == 4
    assert [len(axes.patches) for axes in pictures] == [1, 0, 1, 0]  # the box of the first image


def test_below_stands_the_prediction_in_blue_where_right_and_red_where_wrong(figure):
    message = [(text.get_text(), text.get_color()) for axes in figure.axes for text in axes.texts]
    assert message == [("2 (0.75)", BLUE), ("2 (0.75)", BLUE), ("7 (0.90)", VERMILION), ("2 (0.75)", BLUE)]


def test_maps_are_relative_so_that_models_of_other_scales_compare(figure):
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.get_xlim() == (0, 8)]
    np.testing.assert_array_equal(pictures[0], pictures[2])
