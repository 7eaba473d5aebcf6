"""`attnlab analyze --sanity`: sanity.csv, and the mark of a method that does not notice random weights."""

import pandas as pd
import pytest
import torch
from common import analyze_images, error_of

from attnlab.attention import METHODS, Method
from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.measures import sanity
from attnlab.records import SANITY_COLUMNS, read_sanity, unaware_methods
from attnlab.report.tables.export import make_tables, write_tables
from attnlab.report.tables.formats import FORMATS
from attnlab.runs import Run

STAGES = 3


def edge_detector(seen):
    """The image's own gradient, whatever the model."""
    grey = seen.images.detach().mean(1)
    return torch.gradient(grey, dim=1)[0].abs() + torch.gradient(grey, dim=2)[0].abs()


@pytest.fixture(scope="module")
def checked(resnet8, tmp_path_factory):
    """A run of Grad-CAM and an edge detector on a few images, and the model's fingerprint before."""
    out, before = tmp_path_factory.mktemp("sanity") / "run", resnet8.fingerprint()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "STAGES", STAGES)
        patch.setitem(METHODS, "edges", Method(edge_detector, needs="nothing", at="pixels"))
        options = {"split": "val", "method": "grad-cam,edges", "eps": "4/255", "sanity": True}
        run = analyze_images(resnet8, load_dataset("scenes"), out, positions=range(5), **options)
        analyze_images(resnet8, load_dataset("scenes"), out, positions=range(5), **options)  # keeps the file
    assert resnet8.fingerprint() == before
    return run.folder


def test_an_edge_detector_is_marked_and_grad_cam_of_a_trained_network_is_not(checked):
    assert unaware_methods(checked) == ["edges"]
    frame = read_sanity(checked)
    assert list(frame) == SANITY_COLUMNS
    assert len(frame) == 2 * 2 * STAGES
    edges = frame[frame["method"] == "edges"]
    assert set(edges["images"]) == {5}
    assert edges["spearman"].tolist() == [pytest.approx(1)] * 2 * STAGES


def test_every_table_marks_the_method_in_its_row_and_caption_and_csv_keeps_its_name(checked):
    report = write_tables(checked)
    assert report.marked == ("edges",)
    said = "† edges does not notice random weights (sanity.csv: rank correlation of |maps| 0.5 or more)"
    for name in ("table1", "table2", "table3"):
        assert report.captions[name].endswith(said)
        assert {line[0] for line in report.lay_out(name).lines} == {"grad-cam", "edges†"}
        assert set(pd.read_csv(checked / f"tables/{name}.csv")["method"]) == {"grad-cam", "edges"}
        assert r"edges\dag{} &" in (checked / f"tables/{name}.tex").read_text()
    assert "| edges† |" in FORMATS["markdown"](report)
    (line,) = [line for line in report.summary if "sanity.csv" in line]
    assert line.endswith("edges 1.00")


def test_a_damaged_file_marks_nothing(checked, tmp_path):
    whole = (checked / "sanity.csv").read_text()
    for text in ("", "method,order\n", whole.replace("spearman", "other"), whole.replace("5,", "five,")):
        (tmp_path / "sanity.csv").write_text(text)
        assert read_sanity(tmp_path) is None
        assert unaware_methods(tmp_path) == []


def test_a_run_without_the_check_says_nothing_of_it(run):
    report = make_tables(Run(run))
    assert report.marked == ()
    assert "random weights" not in "".join([*report.captions.values(), *report.summary])


def test_sanity_of_lime_alone_is_refused():
    said = error_of(lambda: AnalyzeConfig.of(method="lime", sanity=True))
    assert said.startswith("expected --sanity with a --method of Tables 1-3, got lime")
