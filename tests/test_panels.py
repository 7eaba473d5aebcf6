"""The grid of panels: what is where, and what it says."""

import numpy as np
import pytest
from drawn import bars_of, image, panels_of
from matplotlib.patches import Rectangle

from attnlab.report.figures.overlay import overlay
from attnlab.report.figures.panels import Panel, Row, class_name, difference, draw_panels, prediction_text
from attnlab.report.figures.style import COLUMN, MARK, PAGE, mark
from attnlab.views import MapView


def test_boxes_are_drawn_where_they_are():
    box = [5.0, 2.0, 20.0, 18.0]
    figure = draw_panels([Row("", [Panel(image(), boxes=np.array([box]))])])
    (axes,) = panels_of(figure)
    (drawn,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [*drawn.get_xy(), drawn.get_width(), drawn.get_height()] == [5, 2, 15, 16]
    assert axes.images[0].get_extent() == [0, 32, 24, 0]  # so that a pixel's border has the pixel's number
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 32), (24, 0))


def test_a_row_has_one_colour_scale_and_its_bar_another_row_its_own():
    low, high = np.full((2, 2), 1.0), np.full((2, 2), 4.0)
    pixels = image()
    rows = [Row("a", [Panel(pixels, low), Panel(pixels, high), Panel(pixels)]), Row("b", [Panel(pixels, low), None])]
    figure = draw_panels(rows, bar="Grad-CAM")
    assert [[text.get_text() for text in bar.get_yticklabels()] for bar in bars_of(figure)] == [["0", "4"], ["0", "1"]]
    assert [bar.get_ylabel() for bar in bars_of(figure)] == ["Grad-CAM"] * 2
    weak, strong, plain, own = (np.asarray(axes.images[0].get_array()) for axes in panels_of(figure))
    scale = weak.shape[0] // 24
    assert (weak == overlay(pixels, low, high=4.0, scale=scale)).all()
    assert (strong == overlay(pixels, high, high=4.0, scale=scale)).all()
    assert (plain == overlay(pixels, scale=scale)).all()
    assert (own == overlay(pixels, low, high=1.0, scale=scale)).all()


def test_a_row_without_maps_has_no_bar_and_one_without_positive_values_says_so():
    rows = [Row("", [Panel(image())]), Row("", [Panel(image(), -np.ones((2, 2)))])]
    (bar,) = bars_of(draw_panels(rows))
    assert [text.get_text() for text in bar.get_yticklabels()] == ["", "≤ 0"]


def test_the_layers_grid_is_shown_where_it_is_asked_for():
    rows = [Row("", [Panel(image(), np.ones((4, 8)))])]
    (axes,) = panels_of(draw_panels(rows, grid=True))
    across, down = (lines.get_segments() for lines in axes.collections)
    assert [line[0][1] for line in across] == [6, 12, 18]
    assert [line[0][0] for line in down] == [4, 8, 12, 16, 20, 24, 28]
    (axes,) = panels_of(draw_panels(rows))
    assert not len(axes.collections)


@pytest.mark.parametrize(("columns", "width"), [(3, COLUMN), (4, PAGE)])
def test_figures_are_as_wide_as_a_column_or_a_page_and_panels_keep_their_aspect(columns, width):
    figure = draw_panels([Row("x", [Panel(image(), np.ones((2, 2)), below=["a", "b"])] * columns)] * 2, ["t"] * columns)
    assert figure.get_size_inches()[0] == width
    for axes in panels_of(figure):
        box = axes.get_position()
        tall, wide = box.height * figure.get_size_inches()[1], box.width * width
        assert tall / wide == pytest.approx(24 / 32)
        assert 0 < box.x0 < box.x1 < 1
        assert 0 < box.y0 < box.y1 < 1


def test_what_stands_below_is_the_prediction_and_its_confidence():
    classes = ["tench, Tinca tinca", "goldfish"]
    view = MapView(image(), np.ones((1, 1)), 0, 0.25, 0.25)
    assert prediction_text(view, 0, classes) == "tench (0.25)"
    assert prediction_text(view._replace(prediction=1, top=0.7), 0, classes) == "goldfish (0.70)"
    assert prediction_text(view._replace(prediction=1, top=float("nan")), 0, classes) == "goldfish (tench: 0.25)"
    assert class_name(3, []) == "class 3"


def test_a_long_line_is_cut():
    figure = draw_panels([Row("", [Panel(image(), below=["a" * 200])] * 4)])
    (text, *_) = [text.get_text() for axes in panels_of(figure) for text in axes.texts]
    assert text.endswith("a…")
    assert len(text) < 40


def test_a_perturbation_is_magnified_by_the_factor_that_is_told():
    clean = np.full((2, 2, 3), 0.5, np.float32)
    change, factor = difference(clean, clean + np.float32(16 / 255))
    assert factor == 5
    np.testing.assert_allclose(change, 0.5 + 5 * 16 / 255, atol=1e-6)
    assert difference(clean, clean)[1] == 1


def test_a_mark_has_a_line_of_its_own_and_moves_nothing_else():
    figure = draw_panels([Row("name", [Panel(image(), np.ones((2, 2)))] * 4)], ["title"] * 4)
    height = figure.get_size_inches()[1]
    before = [axes.get_position(original=True).bounds for axes in figure.axes]
    mark(figure, "unfinished: 1 of 2 images")
    taller = figure.get_size_inches()[1]
    assert taller == pytest.approx(height + MARK)
    for (x, y, wide, tall), axes in zip(before, figure.axes, strict=True):
        moved = axes.get_position(original=True).bounds
        assert moved == pytest.approx((x, (y * height + MARK) / taller, wide, tall * height / taller))
    assert figure.texts[-1].get_text() == "unfinished: 1 of 2 images"
    assert figure.texts[-1].get_position()[1] * taller < MARK
