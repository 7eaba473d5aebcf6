"""Figures of images and of records: what is where, and what it says."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import DRAW, bars_of, image, panels_of, words
from PIL import Image

from attnlab.errors import UserError
from attnlab.report.figures import curves, models, style
from attnlab.report.figures.analysis import series_of
from attnlab.report.figures.analyzed_images import figure1, figure3, figure13
from attnlab.report.figures.models import figure2, figure12
from attnlab.report.figures.panels import shares
from attnlab.report.figures.style import DPI, PAGE, save
from attnlab.report.figures.sweep import figure8, sweep_grid
from attnlab.views import Examples, MapSeries, MapView, ReplayedImage

FONT_TYPE = style.STYLE["pdf.fonttype"]
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
