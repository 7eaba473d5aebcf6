"""`attnlab report`: what it writes and says, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from pages import pictures_of
from PIL import Image
from skimage.data import chelsea

from attnlab.errors import UserError
from attnlab.report.page.write import write_report


def test_the_command_writes_the_page_and_tells_its_size(attnlab, run, tmp_path):
    message = attnlab("report", run, "--out", "deep/page.html")
    assert (message.code, message.out) == (0, f"deep/page.html: {Path('deep/page.html').stat().st_size / 1e6:.1f} MB\n")
    assert "200 of 200 images" in message.err
    assert len(pictures_of(Path("deep/page.html").read_text())) == 200


def test_moved_data_is_told_with_both_ways_out(attnlab, tmp_path):
    (tmp_path / "data").mkdir()
    Image.fromarray(chelsea()).save(tmp_path / "data/cat.png")
    (tmp_path / "data/boxes.csv").write_text("image,label,x0,y0,x1,y1\ncat.png,3,100,20,320,280\n")
    assert attnlab("analyze", "--data", "folder", "--root", "data", "--model", "resnet8", "--out", "run").code == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    error = attnlab("report", "run").error
    assert error.startswith("the images cannot be seen again: expected --root to be an existing folder")
    assert error.endswith("--root DIR says where data lies that was moved, --no-images makes a report without pictures")
    assert not Path("run/report.html").exists()
    assert attnlab("report", "run", "--root", "moved").code == 0
    assert attnlab("report", "run", "--no-images").code == 0


def test_an_interrupted_report_leaves_none(attnlab, run, monkeypatch):
    def stop(pixels, size, quality):
        raise KeyboardInterrupt

    monkeypatch.setattr("attnlab.report.page.cards.as_jpeg", stop)
    message = attnlab("report", run, "--out", "report.html")
    assert message.code == 130
    assert message.err.splitlines()[0] == "0 of 200 images; nothing was written."
    assert list(Path().iterdir()) == []


def test_a_newer_run_is_refused(attnlab, run, tmp_path):
    manifest = json.loads((run / "run.json").read_text())
    (tmp_path / "new").mkdir()
    (tmp_path / "new/run.json").write_text(json.dumps({**manifest, "schema": 99, "attnlab": "9.0"}))
    assert attnlab("report", "new").error == "new was written by a newer attnlab (9.0); update attnlab"


def test_a_run_that_does_not_name_its_model_has_a_page_without_pictures(attnlab, run, tmp_path):
    shutil.copytree(run, "unnamed")
    manifest = json.loads((run / "run.json").read_text())
    del manifest["options"]["model"]
    Path("unnamed/run.json").write_text(json.dumps(manifest))
    error = attnlab("report", "unnamed").error
    assert "unnamed does not say with which model it was made, so it cannot be seen again; " in error
    assert error.endswith("--no-images makes a report without pictures")
    assert attnlab("report", "unnamed", "--no-images").code == 0


def test_a_run_without_records_is_refused(attnlab, run, tmp_path):
    (tmp_path / "new/records").mkdir(parents=True)
    shutil.copy(run / "run.json", tmp_path / "new/run.json")
    assert attnlab("report", "new").error == "new holds no records yet"


def test_what_is_no_run_is_refused(attnlab, tmp_path):
    assert attnlab("report", "nowhere").error == "expected nowhere to be a run, but it has no run.json"


def test_a_place_that_cannot_be_written_is_told_before_the_work(attnlab, run, tmp_path):
    (tmp_path / "file").write_text("")
    error = attnlab("report", run, "--out", "file/report.html").error
    assert error.startswith("cannot write file/report.html: ")
    assert error.endswith("; --out FILE puts the report elsewhere")
    error = attnlab("report", run, "--out", ".").error
    assert error == "expected --out to be a file, got the folder .; did you mean report.html?"


def test_views_are_not_asked_for_when_the_file_cannot_be_written(run, tmp_path):
    def views():
        raise AssertionError("asked for")
        yield

    with pytest.raises(UserError, match="expected --out to be a file"):
        write_report(run, views(), tmp_path)
