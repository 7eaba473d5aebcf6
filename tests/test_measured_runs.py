"""Measures in runs: in the records, in their table, again from stored maps; what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from common import analyze_images, error_of

from attnlab.boxes import ground_truth
from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.kept_maps import unpack_map
from attnlab.measures import MEASURES, chance
from attnlab.measures.recorded import parts_of_measures
from attnlab.pipelines.map_measures import paint
from attnlab.pipelines.stored_measures import stored_measures
from attnlab.records import read_records, rows_of
from attnlab.report.statistics import mean_interval
from attnlab.report.tables.export import make_tables, measures_table
from attnlab.report.tables.iou import i_att
from attnlab.report.tables.measures import measures

COUNT = 4
NAMES = "iou,emd,pointing,mass,max-box-acc,pxap,entropy,spearman,deletion,max-sensitivity"


def analyzed(resnet8, out, **options):
    settings = {"method": "grad-cam,centre,lime", "eps": "4/255,16/255", "lime_samples": 20, "keep_maps": True}
    settings |= {"memory_format": "channels-last", "positions": range(COUNT)}
    return analyze_images(resnet8, load_dataset("scenes"), out, **settings | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory, resnet8):
    return analyzed(resnet8, tmp_path_factory.mktemp("measured") / "run", measures=NAMES)


def values_of(frame, column):
    """The numbers of a column of the records as an array, NaN for what is null."""
    return np.array(pd.to_numeric(frame[column]), float)


def test_records_hold_the_measures_of_the_images_that_the_tables_use(run):
    assert run.manifest["options"]["measures"] == [name for name in NAMES.split(",") if name not in ("emd", "spearman")]
    assert run.manifest["options"]["pair_measures"] == ["emd", "spearman"]
    for row in rows_of(run):
        used = row["prediction"] == row["label"]
        for struct in (row, row["adversarial"][0], *([row["lime"], row["adversarial"][1]["lime"]] if used else [])):
            assert (struct["measures"] is not None) == used
            lengths = [len(numbers) for numbers in struct["measures"] or ()]
            assert lengths in ([], [1, 1, 1, 100, 200, 1, 1, 1])
        assert (row["adversarial"][0]["pair_measures"] is not None) == used


def test_the_measured_iou_is_that_of_table_1(run):
    images = i_att(read_records(run.folder, "grad-cam"))
    for before in ("", "adv_"):
        np.testing.assert_array_equal(values_of(images, f"{before}iou"), values_of(images, f"{before}iou_att_gt"))


def test_read_records_has_a_column_for_each_measure(run):
    frame = i_att(read_records(run.folder))
    assert {"method", "pointing", "adv_pointing", "emd", "pxap"} <= set(frame)
    assert not {"measures", "adv_measures", "pair_measures", "adv_emd"} & set(frame)
    assert frame["pointing"].isin([0, 1]).all()
    assert frame["pxap"].map(len).unique().tolist() == [200]
    centre = frame[frame["method"] == "centre"]
    assert (centre["emd"] == 0).all()  # an attack does not move it
    assert (centre["max-sensitivity"] == 0).all()


def test_measures_of_limes_maps_are_those_of_what_its_weights_paint(run):
    row = next(row for row in rows_of(run) if row["lime"])
    painted = torch.from_numpy(paint(row["lime"], (64, 64)))[None].float()
    mask = torch.from_numpy(ground_truth(row, 64, 64))[None]
    names = run.manifest["options"]["measures"]
    for name in ("iou", "pointing", "mass"):
        expected = MEASURES[name](maps=painted, masks=mask).item()
        assert row["lime"]["measures"][names.index(name)] == [expected], name
    assert np.isnan(row["lime"]["measures"][names.index("max-sensitivity")][0])
    assert not np.isnan(row["lime"]["measures"][names.index("deletion")][0])


def test_a_faithful_measure_in_a_run_equals_the_measure_called_alone(run, resnet8):
    """Deletion of the attacked images is of the maps and the images of that pass; here of the clean ones."""
    number = run.manifest["options"]["measures"].index("deletion")
    rows = [row for row in rows_of(run, method="centre") if row["prediction"] == row["label"]]
    images = torch.stack([torch.as_tensor(load_pixels(row["image_id"])) for row in rows])
    maps = torch.stack([torch.from_numpy(unpack_map(row["full"], (64, 64))) for row in rows]).float()
    labels = torch.tensor([row["label"] for row in rows])
    with torch.no_grad():
        expected = MEASURES["deletion"](classifier=resnet8, images=images, maps=maps, classes=labels)[:, 0]
    np.testing.assert_allclose([row["measures"][number][0] for row in rows], expected, atol=1e-4)


def load_pixels(image_id):
    from attnlab.data.resizing import ResizedDataset

    prepared = ResizedDataset(load_dataset("scenes"), (64, 64))
    sample = next(sample for sample in (prepared[place] for place in range(COUNT)) if sample.image_id == image_id)
    return sample.pixels.float() / 255


def test_the_table_has_means_intervals_and_chance_by_outcome(run):
    table = make_tables(run).frames["measures"]
    assert list(table) == [
        *("eps", "method", "measure", "images", "group", "n", "mean", "ci_low", "ci_high", "chance"),
    ]
    assert len(table) == 2 * 3 * 2 * (8 * 2 + 2)  # eps, methods, groups, measures of clean and attacked maps, of both
    images = i_att(read_records(run.folder, "grad-cam"))
    images = images[(images["eps"] == 16 / 255) & (images["group"] == "succeed")]
    row = table.set_index(["eps", "method", "measure", "images", "group"]).loc[
        lambda rows: rows.index == (16 / 255, "grad-cam", "mass", "attacked", "succeed")
    ]
    numbers = row[["n", "mean", "ci_low", "ci_high"]].to_numpy()[0]
    np.testing.assert_allclose(numbers, mean_interval(images["adv_mass"]))
    masks = [ground_truth(record, 64, 64) for record in images.to_dict("records")]
    assert row["chance"].item() == pytest.approx(np.mean([chance.share(mask) for mask in masks]))


def test_the_table_by_hand():
    """Two methods, eps and masks, half and a quarter of the image; the second image's clean map has no mass."""
    boxes = {"a": [[0.0, 0.0, 4.0, 2.0]], "b": [[0.0, 0.0, 2.0, 2.0]], "c": [[0.0, 0.0, 4.0, 2.0]]}
    frame = pd.DataFrame(
        [
            (name, eps, 0, 0, int(name != "c"), 1.0, boxes[name], None, [[mass], [0.5]], [[0.1], [0.5]], [[0.25 + eps]])
            for eps in (0.5, 0.25)
            for name, mass in (("a", 0.75), ("b", np.nan), ("c", 0.25))
        ],
        columns=[
            *("image_id", "eps", "label", "prediction", "adv_prediction", "box_share", "boxes", "mask"),
            *("measures", "adv_measures", "pair_measures"),
        ],
    )
    of = SimpleNamespace(manifest={"options": {"methods": ["grad-cam", "centre"]}, "data": {"has_boxes": True}})
    table = measures(
        of, [0.25, 0.5], (4, 4), (2, 5), ["mass", "auc", "top-iou"], lambda _method: [frame[:2], frame[2:]]
    )
    assert table["eps"].tolist() == [0.25] * 20 + [0.5] * 20
    assert table["method"].tolist() == (["grad-cam"] * 10 + ["centre"] * 10) * 2
    found = table[:10].set_index(["measure", "images", "group"])[["n", "mean", "chance"]].T.to_dict("list")
    # of two cells in ten, 28, 16 and 1 of 45 pairs share none, one and both: IoU 0, 1/3 and 1
    two_of_ten = pytest.approx((16 / 3 + 1) / 45)
    assert found == {
        ("mass", "clean", "succeed"): [1, 0.75, 0.5],
        ("mass", "clean", "fail"): [1, 0.25, 0.5],
        ("mass", "attacked", "succeed"): [2, 0.1, (0.5 + 0.25) / 2],
        ("mass", "attacked", "fail"): [1, 0.1, 0.5],
        ("auc", "clean", "succeed"): [2, 0.5, 0.5],
        ("auc", "clean", "fail"): [1, 0.5, 0.5],
        ("auc", "attacked", "succeed"): [2, 0.5, 0.5],
        ("auc", "attacked", "fail"): [1, 0.5, 0.5],
        ("top-iou", "pair", "succeed"): [2, 0.5, two_of_ten],
        ("top-iou", "pair", "fail"): [1, 0.5, two_of_ten],
    }
    assert table["mean"][20:].to_numpy()[-1] == 0.75, "of the other eps"


def test_a_measure_of_all_images_together_is_no_mean_of_theirs(run):
    table = make_tables(run).frames["measures"]
    images = i_att(read_records(run.folder, "centre"))
    images = images[(images["eps"] == 4 / 255) & (images["group"] == "fail")]
    values = np.array(images["pxap"].tolist())
    row = table.query("measure == 'pxap' and method == 'centre' and images == 'clean' and group == 'fail'").iloc[0]
    assert row["eps"] == 4 / 255
    assert row["mean"] == MEASURES["pxap"].total(values, np.ones((1, len(values))))[0]
    assert row["ci_low"] <= row["mean"] <= row["ci_high"]


def test_stored_maps_give_the_measures_of_the_run(run, tmp_path, resnet8):
    names = [name for name in NAMES.split(",") if MEASURES[name].family != "faithfulness"]
    bare = analyzed(resnet8, tmp_path / "bare")
    found = stored_measures(bare, names)
    assert (found.names, found.notes) == (tuple(names), ())
    ours = measures_table(bare, found.names, found.frames).frames["measures"]
    theirs = make_tables(run).frames["measures"]
    theirs = theirs[theirs["measure"].isin(names)].reset_index(drop=True)
    # float16 keeps three digits of a pixel method's maps
    pd.testing.assert_frame_equal(ours, theirs, atol=2e-3, rtol=0)
    exact = ours["method"] != "centre"
    pd.testing.assert_frame_equal(ours[exact], theirs[exact], rtol=1e-6)


def test_what_a_run_has_taken_is_not_asked_of_the_model_again(run):
    found = stored_measures(run, ["deletion", "ssim"])
    frames = list(found.frames("grad-cam"))
    kept = list(parts_of_measures(run, "grad-cam"))
    place = run.manifest["options"]["measures"].index("deletion")
    for ours, theirs in zip(frames, kept, strict=True):
        for one, other in zip(ours["measures"], theirs["measures"], strict=True):
            assert (one is None and other is None) or one[0] == other[place]
    assert found.names == ("deletion", "ssim")


def test_what_records_do_not_suffice_for_is_named_with_what_is_missing(tmp_path, resnet8):
    run = analyzed(resnet8, tmp_path / "run", method="centre", keep_maps=False)
    assert error_of(stored_measures, run, ["iou", "insertion", "emd"]).endswith(
        "suffice for, got iou and insertion: missing is the maps of centre at the images' resolution: attnlab analyze "
        "--keep-maps keeps them; the model: attnlab analyze --measures takes it as the maps are made"
    )
    found = stored_measures(run, ["all"])
    assert found.names[:2] == ("top-iou", "spearman")
    assert found.notes[0].startswith("left out: iou, pointing, mass, auc, max-box-acc, pxap, missing is the maps of")
    both = analyzed(resnet8, tmp_path / "both", method="grad-cam,centre", keep_maps=False)
    found = stored_measures(both, ["iou"])
    assert found.notes[0].startswith("left out: iou of centre, missing is")
    table = measures_table(both, found.names, found.frames, found.notes).frames["measures"]
    assert (table.loc[table["method"] == "centre", "n"] == 0).all()
    assert (table.loc[table["method"] == "grad-cam", "n"] > 0).any()


def test_measures_of_the_object_are_refused_without_boxes(tmp_path, resnet8):
    images = replace(load_dataset("scenes"), has_boxes=False)
    options = {"positions": range(2), "method": "grad-cam"}

    def analyze(measures):
        return analyze_images(resnet8, images, tmp_path / "run", measures=measures, **options)

    assert error_of(analyze, "iou,emd,mass") == (
        "expected --measures that need no boxes, got iou and mass, which compare maps with boxes or masks: these data "
        "have none"
    )
    with pytest.warns(UserWarning, match="--measures all leaves out iou, pointing, mass, auc, max-box-acc and pxap"):
        run = analyze("all")
    assert "iou" not in run.manifest["options"]["measures"]
    assert "entropy" in run.manifest["options"]["measures"]


@pytest.mark.parametrize(
    ("measures", "error"),
    [
        ("iou,iou", "expected each of --measures once, got iou twice"),
        ("all,iou", "expected --measures all alone, got all,iou"),
        ("pointin", "did you mean 'pointing'?"),
    ],
)
def test_names_of_measures_are_checked_before_a_run(measures, error):
    assert error_of(lambda: AnalyzeConfig.of(measures=measures)).endswith(error)


def test_a_run_is_resumed_with_the_same_measures_alone(run, resnet8):
    assert analyzed(resnet8, run.folder, measures=NAMES).manifest["finished"]
    assert "measures" in error_of(lambda: analyzed(resnet8, run.folder, measures="iou"))
    assert "measures" in error_of(lambda: analyzed(resnet8, run.folder))


def test_the_command_writes_the_table_and_leaves_the_records(run, attnlab):
    before = {path: path.read_bytes() for path in run.folder.glob("r*/*.parquet")}
    done = attnlab("measure", run.folder, "--measures", "mass,shift", "--format", "csv")
    assert done.out == (run.folder / "tables/measures.csv").read_text()
    assert done.out.startswith("eps,method,measure,images,group,n,mean,ci_low,ci_high,chance\n")
    assert {line.split(",")[2] for line in done.out.splitlines()[1:]} == {"mass", "shift"}
    assert r"16/255 & lime & shift & pair &" in (run.folder / "tables/measures.tex").read_text()
    assert before == {path: path.read_bytes() for path in run.folder.glob("r*/*.parquet")}
    assert "each of --measures once" in attnlab("measure", run.folder, "--measures", "mass,mass").error
