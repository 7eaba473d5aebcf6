"""Memory of what comes after a run of many images, and parts of its records."""

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from grown_runs import PART, grown

from attnlab.config import AnalyzeConfig
from attnlab.errors import UserError
from attnlab.pipelines.analyze import analyze
from attnlab.pipelines.checks import check_usable
from attnlab.pipelines.replay import replay
from attnlab.records import parts_of_records, read_records, skipped_images
from attnlab.report.page.cards import read_gallery
from attnlab.report.tables.export import make_tables
from attnlab.runs import Run
from attnlab.schema import ATTENTION


@pytest.fixture(scope="module")
def explained(tmp_path_factory) -> Path:
    """A small run with maps and LIME."""
    out = tmp_path_factory.mktemp("explained") / "run"
    options = {"lime_samples": "40", "lime_superpixels": "grid", "lime_batch_size": 20}
    analyze(AnalyzeConfig.of(method="grad-cam,lime", limit=8, out=out, **options))
    return out


def peak(function: Callable[[Run], object], run: Path) -> int:
    gc.collect()
    tracemalloc.start()
    function(Run(run))
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def test_what_comes_after_a_run_holds_one_part_at_a_time(explained, tmp_path):
    few, many = (grown(explained, tmp_path / str(count), count, 40) for count in (160, 480))
    for function in (make_tables, read_gallery, skipped_images, check_usable):
        function(Run(few))  # imports
        assert peak(function, many) < 1.3 * peak(function, few), function.__name__
    assert peak(lambda run: read_records(run.folder), many) > 2 * peak(lambda run: read_records(run.folder), few)


def test_views_hold_no_records_of_images_that_are_still_to_come(run):
    views = replay(run)
    for _, view in zip(range(70), views, strict=False):  # more than a batch
        assert view.record["image_id"] not in views.gi_frame.f_locals["records"]
        assert len(views.gi_frame.f_locals["records"]) == 0


def test_parts_of_records_are_the_records(explained):
    frames = list(parts_of_records(Run(explained)))
    assert [len(frame) for frame in frames] == [8]
    assert [name for frame in frames for name in frame["image_id"]] == read_records(explained)["image_id"].tolist()


def test_an_image_that_two_parts_hold_is_named_by_whatever_reads_some_columns(explained, tmp_path):
    folder = grown(explained, tmp_path / "run", 2 * PART)
    run, rows = Run(folder, ATTENTION), Run(folder).table().to_pylist()
    run.write_part(1, rows[:PART])
    for read in (skipped_images, make_tables, read_gallery, lambda run: run.table(["label"])):
        with pytest.raises(UserError, match="is damaged: its records hold image 'image-000000' 2 times"):
            read(run)
