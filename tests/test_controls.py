"""Table 1's control: areas of the boxes' size that look at nothing."""

import numpy as np
import pandas as pd
import pytest

from attnlab.report.statistics import bootstrap_difference
from attnlab.report.tables.controls import MEASURES, blind_ious, controls, from_the_centre


def test_a_frame_grows_from_the_centre_in_the_images_shape():
    order = from_the_centre((4, 8)).tolist()
    for rows, columns in ((2, 4), (4, 8)):
        down, across = range(2 - rows // 2, 2 + rows // 2), range(4 - columns // 2, 4 + columns // 2)
        inside = {y * 8 + x for y in down for x in across}
        assert set(order[: rows * columns]) == inside
    assert sorted(order) == list(range(32))


@pytest.mark.parametrize(
    ("box", "centred"),
    [
        ((2, 2, 6, 6), 1.0),  # in the middle
        ((0, 0, 4, 4), 4 / 28),  # a quarter of it reaches into the middle
        ((0, 0, 8, 8), 1.0),  # the whole image
        ((0, 0, 2, 2), 0.0),
    ],
)
def test_iou_of_what_looks_at_nothing(box, centred):
    x0, y0, x1, y1 = box
    mask = np.zeros((8, 8), bool)
    mask[y0:y1, x0:x1] = True
    share = mask.mean()
    assert blind_ious(mask, from_the_centre((8, 8))) == pytest.approx((centred, share / (2 - share)))


def test_chance_is_what_random_areas_come_to():
    rng = np.random.default_rng(0)
    mask = np.zeros(400, bool)
    mask[:100] = True
    drawn = [rng.permutation(mask) for _ in range(2000)]
    _, chance = blind_ious(mask.reshape(20, 20), from_the_centre((20, 20)))
    assert np.mean([(mask & other).sum() / (mask | other).sum() for other in drawn]) == pytest.approx(chance, abs=2e-3)


def test_controls_by_hand():
    middle, corner = [np.array([2.0, 2, 6, 6])], [np.array([0.0, 0, 2, 2])]
    images = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d", "flat"],
            "eps": 0.1,
            "group": ["succeed", "succeed", "fail", "fail", "fail"],
            "boxes": [corner, middle, middle, middle, corner],
            "iou_att_gt": [0.2, 0.4, 0.5, 0.7, np.nan],
        }
    )
    table = controls(images, [0.1], (8, 8)).set_index("measure")
    assert list(table.index) == list(MEASURES)
    assert table["n_succeed"].tolist() == table["n_fail"].tolist() == [2] * 4
    assert table["succeed"].tolist() == pytest.approx([0.3, 0.5, (1 / 31 + 1 / 7) / 2, -0.2])
    assert table["fail"].tolist() == pytest.approx([0.6, 1.0, 1 / 7, -0.4])
    assert table["difference"].tolist() == pytest.approx((table["fail"] - table["succeed"]).tolist())
    assert (table["ci_low"] <= table["difference"]).all()
    several = controls(pd.concat([images, images.assign(eps=0.2)]), [0.1, 0.2], (8, 8))
    assert several["eps"].tolist() == [0.1] * 4 + [0.2] * 4
    assert controls(images.iloc[:0], [0.1], (8, 8))["succeed"].isna().all()


def test_the_interval_of_a_difference_is_the_plain_bootstraps():
    rng = np.random.default_rng(1)
    first, second = rng.normal(1, 1, 60), rng.normal(0, 2, 40)
    low, high = bootstrap_difference(first, second)
    draws = [rng.choice(first, 60).mean() - rng.choice(second, 40).mean() for _ in range(20_000)]
    assert (low, high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.05)
    assert np.isnan(bootstrap_difference(first, second[:1])).all()


def test_controls_of_what_has_none_are_refused(attnlab, tmp_path):
    assert attnlab("evaluate", "--limit", 4, "--attacks", "clean", "--out", "accuracy").code == 0
    assert attnlab("tables", "accuracy", "--controls").error.startswith("expected a run of `analyze` for --controls")
    words = ["--method", "lime", "--lime-samples", 20, "--lime-superpixels", "grid", "--limit", 4, "--out", "lime"]
    assert attnlab("analyze", *words).code == 0
    assert attnlab("tables", "lime", "--controls").error.startswith("expected maps and boxes for --controls, got lime")


def test_the_command_adds_the_table_where_it_is_asked_for(attnlab, run):
    assert "controls" not in attnlab("tables", run, "--format", "json").out
    printed = attnlab("tables", run, "--controls", "--table", "controls").out
    assert "centred frame" in printed
    assert len((run / "tables/controls.csv").read_text().splitlines()) == 1 + 2 * len(MEASURES)
