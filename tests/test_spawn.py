"""Worker processes that are started by spawn, as on macOS and Windows, inherit nothing and make the same records."""

import multiprocessing

import pytest
from common import analyze_images

from attnlab.data import load_dataset
from attnlab.worker_pool import call_in_workers


@pytest.fixture
def spawning():
    """Processes are spawned."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.usefixtures("spawning")
def test_spawned_workers_read_images_and_cut_superpixels_as_one_process_does(resnet8, tmp_path):
    images, options = load_dataset("scenes"), {"method": ("grad-cam", "lime"), "lime_samples": 20}
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, workers in ((alone, 0), (together, 2)):
        analyze_images(resnet8, images, folder, positions=range(4), workers=workers, **options)
    part = "records/part-00000.parquet"
    assert (alone / part).read_bytes() == (together / part).read_bytes()
    assert call_in_workers(1, [multiprocessing.get_start_method] * 3) == 3
