"""The grid of panels and the curves: what is where, and what it says."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from attnlab.errors import UserError
from attnlab.report.figures import curves, models, style
from attnlab.report.figures.analysis import series_of
from attnlab.report.figures.analyzed_images import figure1, figure3, figure13
from attnlab.report.figures.models import figure2, figure12
from attnlab.report.figures.overlay import overlay
from attnlab.report.figures.panels import Panel, Row, class_name, difference, draw_panels, prediction_text, shares
from attnlab.report.figures.style import COLUMN, DPI, MARK, PAGE, mark, save
from attnlab.report.figures.sweep import figure8, sweep_grid
from attnlab.views import Examples, MapSeries, MapView, ReplayedImage

FONT_TYPE = style.STYLE["pdf.fonttype"]
DRAW = np.random.default_rng(0)


def image(height: int = 24, width: int = 32) -> np.ndarray:
    return DRAW.random((height, width, 3)).astype(np.float32)


def panels_of(figure: Figure) -> list:
    """Axes that show a picture of pixels; colour bars are those with ticks."""
    return [axes for axes in figure.axes if axes.images and not len(axes.get_yticks())]


def bars_of(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images and len(axes.get_yticks())]


def words(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts)]
    return [text for text in [*found, *(text.get_text() for text in figure.texts)] if text]


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


# ------------------------------------------------------------------ figures of images and of records

SEGMENTS = (np.arange(24 * 32).reshape(24, 32) // 300).astype(np.uint16)
MANIFEST = {
    "options": {"methods": ["grad-cam", "lime"]},
    "features": [2],
    "model": {"map_shape": [4, 4], "input_size": [24, 32]},
}


def replayed(name: str = "a") -> ReplayedImage:
    lime = {"weights": [0.5, -0.2, 0.1], "segments": zlib.compress(SEGMENTS.tobytes())}
    row = {"prediction": 1, "confidence": 0.5, "iou_att_gt": 0.25, "map": DRAW.normal(size=16).tolist(), "lime": lime}
    record = {**row, "image_id": name, "label": 1, "boxes": [[3, 4, 20, 20]], "adversarial": [{**row, "prediction": 0}]}
    return ReplayedImage(record, image(), [image()])


def attacked(*groups: str, method: str = "grad-cam") -> Examples:
    series = [(group, [series_of(replayed(), method, 0, MANIFEST)]) for group in groups]
    return Examples(series, ["no", "yes"], subject="Maps of m", setting="net, data", rule="Images: as named")


def series(views: int) -> MapSeries:
    one = [MapView(image(), DRAW.normal(size=(4, 4)), place % 2, 0.4, 0.6) for place in range(views)]
    return MapSeries("a", 0, np.array([[3.0, 4, 20, 20]]), one, one)


def views(*groups: tuple[str, list[MapSeries]], columns: Sequence[str] = ()) -> Examples:
    return Examples(groups, "01", columns, "aad", "scenes test, pgd", "Images as named")


def test_a_replayed_image_has_the_views_of_its_record():
    seen = replayed()
    (clean,), (adversarial,) = series_of(seen, "grad-cam", 0, MANIFEST)[3:5]
    assert clean.map.ravel().tolist() == seen.record["map"]
    assert clean[2:4] == (1, 0.5)
    assert (adversarial.prediction, adversarial.iou) == (0, 0.25)
    assert adversarial.pixels is seen.adversarial[0]
    assert series_of(seen, "grad-cam", None, MANIFEST).adversarial == []
    seen.record["iou_att_gt"] = None
    assert np.isnan(series_of(seen, "grad-cam", None, MANIFEST).clean[0].iou)


def test_figure_1_shows_image_map_adversarial_map_and_perturbation():
    figure, caption = figure1(attacked("succeed", "fail"))
    assert len(panels_of(figure)) == 8
    said = words(figure)
    assert said[:4] == ["original image", "yes (0.50)", "its attention", "IoU 0.25"]
    assert "no (yes: 0.50)" in said
    assert said[-2:] == ["succeed", "fail"]
    assert [len(axes.patches) for axes in panels_of(figure)] == [1, 1, 1, 0] * 2
    assert caption.endswith("confidence. Maps of m; net, data. Images: as named.")


def test_figure_3_shows_the_strongest_superpixels_that_speak_for_the_class():
    figure, _ = figure3(attacked("succeed", method="lime"))
    shown = np.asarray(panels_of(figure)[1].images[0].get_array())[:: 256 // 24 + 1, :: 256 // 24 + 1]
    coloured = (np.ptp(shown.astype(int), axis=2) > 5)[:24, :32]
    assert (coloured == (SEGMENTS == 0)).all()  # the second strongest speaks against it


def test_figure_13_has_pairs_of_image_and_map_and_leaves_missing_places_empty():
    one = series_of(replayed(), "grad-cam", None, MANIFEST)
    figure, _ = figure13(views(("(a)", [one, one]), ("(b)", [one])))
    assert len(panels_of(figure)) == 6
    assert figure.get_size_inches()[0] == PAGE


@pytest.mark.parametrize(
    ("make", "panels", "said"),
    [
        (lambda: figure2(views(("", [series(5)] * 2))), 2 * 7, "round 5"),
        (lambda: figure12(views(("StepLL", [series(3)]), ("StepLL + A3", [series(3)]))), 2 * 5, "StepLL + A3"),
        (lambda: models.figure6(views(("", [series(3)]), columns=["1", "5", "epoch 9"])), 1 + 3 + 3, "epoch 9"),
        (lambda: models.figure7(views(("", [series(2)] * 2), columns=["raw", "aad"])), 2 * 5, "aad"),
        (lambda: models.figure9(views(("", [series(4)] * 2), columns=[*"abcd"])), 2 * 9, "d"),
        (
            lambda: models.figure10(views(("(a)", [series(2)] * 3), ("(b)", [series(2)]), columns=["u", "v"])),
            12,
            "(b)",
        ),
    ],
)
def test_figures_of_models_have_a_panel_for_each_view(make, panels, said):
    figure, caption = make()
    assert len(panels_of(figure)) == panels
    assert said in words(figure)
    assert caption.endswith("scenes test, pgd. Images as named.")


def test_maps_of_several_models_are_relative_to_their_largest_value():
    np.testing.assert_allclose(shares(np.array([[-1.0, 2.0], [4.0, 0.0]])), [[0, 0.5], [1, 0]])
    assert (shares(np.array([[-1.0]])) == 0).all()
    bars = bars_of(models.figure7(views(("", [series(2)]), columns=["raw", "aad"])).figure)
    assert [bar.get_yticklabels()[1].get_text() for bar in bars] == ["1", "1"]


TABLE = pd.DataFrame(
    [(alpha, beta, 90 + alpha, 40 + 10 * beta, 200) for alpha in (0, 0.1, 1) for beta in (0, 0.1)],
    columns=["alpha", "beta", "clean", "robust", "n"],
)


def test_figure_8_has_two_axes_for_each_weight_at_the_best_of_the_other():
    figure, _ = figure8(TABLE)
    left, right = figure.axes[:2], figure.axes[2:]
    assert [axes.get_xlabel() for axes in left] == ["α", "β"]  # noqa: RUF001
    assert [axes.get_title() for axes in left] == ["(a) rectification loss, β = 0.1", "(b) preservation loss, α = 1"]  # noqa: RUF001
    lines = [axes.lines[0].get_ydata().tolist() for axes in (*left, *right)]
    assert lines == [[90, 90.1, 91], [91, 91], [41, 41, 41], [40, 41]]
    assert right[0].get_ylabel() == "accuracy under PGD (%)"


@pytest.mark.parametrize(("query", "label"), [("beta == 0", "α"), ("alpha == 1", "β")])  # noqa: RUF001
def test_figure_8_of_one_varied_weight_has_one_panel(query, label):
    left, _ = figure8(TABLE.query(query)).figure.axes
    assert left.get_xlabel() == label


def test_the_grid_of_a_sweep_tells_its_values_and_leaves_unfinished_cells_empty():
    clean, robust, *_ = sweep_grid(TABLE.iloc[:-1]).figure.axes
    assert [text.get_text() for text in clean.texts] == ["90.0", "90.1", "91.0", "90.0", "90.1"]
    assert [text.get_text() for text in robust.texts] == ["40.0"] * 3 + ["41.0"] * 2


def test_iou_against_eps_tells_both_overlaps_at_each_eps():
    rows = [
        (str(one), eps, group, 0.6, iou, [1, 1])
        for eps, iou in ((1 / 255, 0.4), (8 / 255, 0.2))
        for one, group in enumerate(["succeed", "fail"] * 2)
    ]
    columns = ["image_id", "eps", "group", "iou_att_gt", "adv_iou_att_gt", "shared_cells"]
    named = {"model": "net", "data": "scenes", "split": "val", "attack_name": "fgsm"}
    manifest = {"options": {**named, "eps": [1 / 255, 8 / 255]}, "model": {"map_shape": [1, 3]}}
    figure, caption = curves.iou_against_eps(pd.DataFrame(rows, columns=columns), manifest)
    left, right = figure.axes
    assert ", 2 cells of each map (right)" in caption
    assert caption.endswith("net, scenes val, fgsm, ε = 1/255, 8/255.")
    assert [label.get_text() for label in left.get_xticklabels()] == ["1/255", "8/255"]
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1 / 255, 0.4], [8 / 255, 0.2]])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [1 / 3] * 2)  # one of two cells in common
    grey = [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == ":"]
    assert grey == pytest.approx([0.6])


def test_accuracy_against_steps_tells_the_share_at_each_number_of_steps():
    rows = [
        ("m", str(one), 1, 1, attack, int(one < correct))
        for attack, correct in (("pgd5", 3), ("pgd10", 1))
        for one in range(4)
    ]
    columns = ["model", "image_id", "label", "clean_prediction", "attack", "prediction"]
    attacks = {"pgd5": {"steps": 5}, "pgd10": {"steps": 10}}
    manifest = {
        "options": {
            "attacks": attacks,
            "models": {"m": {"defense": "none"}},
            "data": "scenes",
            "split": "test",
            "images": 4,
        }
    }
    figure, caption = curves.accuracy_against_steps(pd.DataFrame(rows, columns=columns), manifest)
    (axes,) = figure.axes
    assert caption.endswith("scenes test, 4 images.")
    assert axes.lines[0].get_xydata().tolist() == [[5, 75], [10, 25]]
    assert axes.get_xlabel() == "steps of pgd"


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


def test_files_are_png_and_pdf_with_the_caption_and_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "DPI", DPI)
    monkeypatch.setitem(style.STYLE, "pdf.fonttype", FONT_TYPE)
    folder = tmp_path / "deep" / "figures"
    paths = save(figure8(TABLE).figure, folder, "figure8", "Figure 8.")
    assert [path.name for path in paths] == ["figure8.png", "figure8.pdf"]
    assert Image.open(paths[0]).size[0] == 300 * PAGE
    assert paths[1].read_bytes().startswith(b"%PDF")
    assert b"/Subtype /Type0" in paths[1].read_bytes()  # a font, whose letters can be searched for
    assert (folder / "figure8.txt").read_text() == "Figure 8.\n"
    again = save(figure8(TABLE).figure, tmp_path / "again", "figure8")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    Path(tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file \(File exists\); choose another folder with --out"):
        save(figure8(TABLE).figure, tmp_path / "file", "figure8")
