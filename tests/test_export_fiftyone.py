"""The export to FiftyOne: coordinates by hand, and the data set as FiftyOne itself loads it, or its calls in memory."""

from pathlib import Path

import numpy as np
import pytest
from common import error_of
from exports import BUDGETS
from fiftyone_in_memory import FiftyOneConfigError, ServiceException, installed

from attnlab.boxes import ground_truth, pack
from attnlab.config import ExportConfig
from attnlab.exports.fiftyone import cut_out, slice_of
from attnlab.exports.views import ClassNames, Truth, View, truth_of
from attnlab.exports.write import export
from attnlab.records import rows_of
from attnlab.runs import Run

NAME = "attnlab test of exports"


@pytest.fixture(scope="module", params=["in memory", "fiftyone"])
def fo(tmp_path_factory, request):
    """FiftyOne with a database of its own, and what stands for it; what it would send or draw is turned off."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in memory":
            yield installed(patch)
            return
        chosen = {"DO_NOT_TRACK": "true", "DATABASE_VALIDATION": "false", "SHOW_PROGRESS_BARS": "false"}
        chosen["DATABASE_DIR"] = str(tmp_path_factory.mktemp("database"))
        for name, value in chosen.items():
            patch.setenv(f"FIFTYONE_{name}", value)
        library = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
        try:
            library.list_datasets()
        except (library.core.config.FiftyOneConfigError, library.core.service.ServiceException) as error:
            pytest.skip(f"FiftyOne's database does not start: {error}")
        yield library


def test_a_box_is_given_in_shares_of_the_image_and_a_mask_cut_to_it():
    assert cut_out(Truth((8, 5, 24, 15)), (20, 40)) == {"bounding_box": [0.2, 0.25, 0.4, 0.5]}
    mask = np.zeros((4, 8), bool)
    mask[1, 2] = mask[2, 4] = True
    (truth,) = truth_of({"mask": pack(mask), "boxes": [[0, 0, 8, 4]]}, (4, 8))
    found = cut_out(truth, (4, 8))
    assert found["bounding_box"] == [0.25, 0.25, 0.375, 0.5]
    assert found["mask"].tolist() == [[True, False, False], [False, False, True]]
    assert truth_of({"mask": pack(mask & False), "boxes": []}, (4, 8)) == []


def test_slices_are_named_after_their_views_without_dots():
    names = [slice_of(View(name, None, 0, 0.0, None, "", None)) for name in ("clean", "eps 16/255", "eps 0.3", "fog@3")]
    assert names == ["clean", "eps 16/255", "eps 0_3", "fog@3"]


def test_without_fiftyone_its_command_is_proposed_before_anything_is_made(exportable, monkeypatch):
    monkeypatch.setattr("attnlab.errors.find_spec", lambda name: None)
    message = "expected the package fiftyone, got none: pip install 'attnlab[fiftyone]'"
    assert error_of(export, "fiftyone", exportable) == message
    assert not (exportable / "export-fiftyone").exists()


@pytest.mark.parametrize(
    "error",
    [FiftyOneConfigError("Could not find\n mongod"), ServiceException("failed to bind to port")],
)
def test_a_database_that_does_not_start_is_one_line_before_pictures_are_made(exportable, tmp_path, monkeypatch, error):
    monkeypatch.setattr(installed(monkeypatch), "broken", error)
    message = f"FiftyOne's database does not start: {' '.join(str(error).split())}"
    assert error_of(export, "fiftyone", exportable, ExportConfig(out=tmp_path / "e")) == message
    assert not list(tmp_path.rglob("*.png"))


def test_the_data_set_that_fiftyone_loads_is_the_run(exportable, fo):
    (line,) = export("fiftyone", exportable, ExportConfig(name=NAME))
    assert line == f"{NAME}: 21 samples of 7 images; open it with: fiftyone app launch '{NAME}'"
    found = fo.load_dataset(NAME)
    names = ClassNames(Run(exportable).manifest["data"]["classes"])
    assert (found.persistent, found.media_type) == (True, "group")
    assert found.group_slices == ["clean", "eps 4/255", "eps 16/255"]
    records = list(rows_of(Run(exportable)))
    for index, slice_name in enumerate(found.group_slices):
        samples = list(found.select_group_slices(slice_name))
        for record, sample in zip(records, samples, strict=True):
            row = record if index == 0 else record["adversarial"][index - 1]
            assert Path(sample.filepath).is_file()
            assert (sample.image_id, sample.tags) == (record["image_id"], ["adversarial" if index else "clean"])
            assert sample.eps == ([None, *BUDGETS][index])
            assert sample.label.label == names[record["label"]]
            assert sample.prediction.label == names[row["prediction"]]
            right = row["prediction"] == record["label"]
            assert sample.prediction.confidence == (row["confidence"] if right else None)
            assert sample.label_confidence == row["confidence"]
            assert sample.iou == row["iou_att_gt"]
            np.testing.assert_array_equal(sample.map.map.ravel(), np.float32(row["map"]).clip(0))
            assert sample.map.range == [0, sample.map.map.max()]
            truth = np.zeros((64, 64), bool)
            for one in sample.ground_truth.detections:
                x0, y0, width, height = (edge * 64 for edge in one.bounding_box)
                rows, columns = slice(round(y0), round(y0 + height)), slice(round(x0), round(x0 + width))
                truth[rows, columns] |= True if one.mask is None else one.mask.astype(bool)
            np.testing.assert_array_equal(truth, ground_truth(record, 64, 64))
    groups = {(sample.image_id, sample.views.id) for sample in found.select_group_slices()}
    assert len(groups) == 7


def test_a_data_set_of_the_same_run_is_replaced_and_another_left_alone(exportable, fo):
    export("fiftyone", exportable, ExportConfig(name=NAME))
    export("fiftyone", exportable, ExportConfig(name=NAME, images=("a.png",)))
    assert len(fo.load_dataset(NAME).select_group_slices()) == 3
    fo.Dataset("mine")
    message = error_of(export, "fiftyone", exportable, ExportConfig(name="mine"))
    assert message == (
        f"FiftyOne has a data set 'mine' that is no export of {exportable} by this version; choose another --name"
    )
    assert error_of(export, "fiftyone", exportable, ExportConfig(name="///")).endswith("choose another --name")
    assert sorted(name for name in fo.list_datasets() if name.startswith(NAME)) == [NAME]


def test_a_failing_export_leaves_the_data_set_of_before(exportable, fo, monkeypatch):
    export("fiftyone", exportable, ExportConfig(name=NAME))
    monkeypatch.setattr("attnlab.exports.fiftyone.cut_out", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export("fiftyone", exportable, ExportConfig(name=NAME))
    assert len(fo.load_dataset(NAME).select_group_slices()) == 21
    assert [name for name in fo.list_datasets() if name.startswith(NAME)] == [NAME]
