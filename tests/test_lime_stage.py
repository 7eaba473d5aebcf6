"""LIME inside a run: what is recorded, cut short and resumed, in any batch size."""

import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from common import analyze_images, begun_run, pieces_of

from attnlab.attention.lime import LimeSettings, explain, perturbations
from attnlab.attention.masked_inference import MaskedInference
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import LimeOptions
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.data.sampling import choose
from attnlab.errors import UserError
from attnlab.pipelines.hardware import lime_batch_size
from attnlab.pipelines.lime_stage import SECOND_SEED, lime_settings
from attnlab.records import read_records
from attnlab.report.tables.lime import lime_tables
from attnlab.runs import Run
from attnlab.schema import ATTENTION
from attnlab.seeding import seed_of
from attnlab.superpixels import superpixels

SAMPLES = 30
LIME = {"method": "grad-cam,lime", "lime_samples": SAMPLES, "lime_superpixels": "slic"}


@pytest.fixture(scope="module")
def lime_run(tmp_path_factory, resnet8):
    out = tmp_path_factory.mktemp("lime") / "run"
    analyze_images(resnet8, load_dataset("scenes"), out, **LIME, batch_size=5, lime_batch_size=16, positions=range(8))
    return read_records(out)


def weights_of(records, name):
    return [explanation["weights"] for explanation in records[name].dropna()]


def assert_same_explanations(first, second):
    for name in ("lime", "lime_again", "adv_lime"):
        for ours, theirs in zip(first[name].dropna(), second[name].dropna(), strict=True):
            assert ours["segments"] == theirs["segments"]
            assert (ours["class"], ours["samples"]) == (theirs["class"], theirs["samples"])
            np.testing.assert_allclose(ours["weights"], theirs["weights"], atol=1e-5)


def test_correct_images_are_explained_and_no_others(lime_run):
    correct = lime_run["label"] == lime_run["prediction"]
    assert correct.any()
    for name in ("lime", "lime_again", "adv_lime"):
        assert (lime_run[name].notna() == correct).all()


def test_a_record_is_what_the_engine_says_of_the_image(lime_run, resnet8):
    record = lime_run[lime_run["lime"].notna()].iloc[0]
    sample = ResizedDataset(load_dataset("scenes"), (64, 64))[int(record["image_id"][-5:])]
    image = sample.pixels[None].float() / 255
    for name, seed in (("lime", 0), ("lime_again", SECOND_SEED)):
        segments = superpixels(image[0].numpy(), "slic", seed_of(seed, record["image_id"]))
        assert np.array_equal(np.frombuffer(zlib.decompress(record[name]["segments"]), np.uint16), segments.ravel())
        shown = perturbations(record["image_id"], int(segments.max()) + 1, SAMPLES, seed)
        labels = torch.tensor(segments.astype(np.int64))[None]
        sampler = MaskedInference(resnet8, image, torch.tensor([record["prediction"]]), labels, "grey", SAMPLES)
        (expected,) = explain(sampler, [shown], LimeSettings(SAMPLES, "slic"))
        np.testing.assert_allclose(record[name]["weights"], expected.weights, atol=1e-5)


def test_each_image_explains_its_own_class_unless_the_label_is_asked_for(tmp_path, lime_run, resnet8):
    changed = lime_run.dropna(subset="lime").query("adv_prediction != label")
    assert len(changed) > 0
    assert [explanation["class"] for explanation in changed["adv_lime"]] == changed["adv_prediction"].tolist()
    settings = LIME | {"target": "true", "lime_floor": False}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **settings, positions=range(6))
    explained = read_records(tmp_path / "run").dropna(subset="adv_lime")
    assert [explanation["class"] for explanation in explained["adv_lime"]] == explained["label"].tolist()
    assert explained["lime_again"].isna().all()


@pytest.mark.parametrize(("batch_size", "lime_batch_size", "workers"), [(1, 7, 0), (8, 400, 2)])
def test_batches_and_workers_change_no_explanation(tmp_path, lime_run, resnet8, batch_size, lime_batch_size, workers):
    how = {"batch_size": batch_size, "lime_batch_size": lime_batch_size, "workers": workers, "positions": range(8)}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **LIME, **how)
    assert_same_explanations(read_records(tmp_path / "run"), lime_run)


def test_the_default_superpixels_and_samples_run(tmp_path, resnet8):
    options = {"method": "lime", "lime_superpixels": "quickshift", "lime_floor": False}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **options, positions=range(1))
    explained = read_records(tmp_path / "run")["lime"].dropna()
    assert [explanation["samples"] for explanation in explained] == [1000] * len(explained)
    assert len(explained)


def test_shared_superpixels_are_the_clean_images(tmp_path, resnet8):
    settings = LIME | {"lime_segments": "shared"}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **settings, positions=range(4))
    for _, record in read_records(tmp_path / "run").dropna(subset="lime").iterrows():
        assert record["adv_lime"]["segments"] == record["lime"]["segments"] == record["lime_again"]["segments"]


def test_an_interruption_loses_at_most_the_image_at_hand(tmp_path, lime_run, resnet8):
    message = []

    def interrupt(count):
        message.append(count)
        if sum(message) >= 7:
            raise KeyboardInterrupt

    images, out = load_dataset("scenes"), tmp_path / "run"
    how = {"batch_size": 5, "lime_batch_size": 16, "positions": range(8)}
    with pytest.raises(KeyboardInterrupt):
        analyze_images(resnet8, images, out, **LIME, progress=interrupt, **how)
    kept = Run(out).unfinished(0)
    assert len(kept) == sum(message) == 7
    journal = pieces_of(out)
    journal.write_bytes(journal.read_bytes()[:-100])  # killed while the last image was being written
    seen = []
    analyze_images(resnet8, images, out, **LIME, progress=seen.append, **how)
    assert seen[0] == 6
    assert_same_explanations(read_records(out), lime_run)


def test_lime_alone_needs_no_attention_layer(tmp_path, resnet8):
    from attnlab.models import load_model

    classifier = load_model("resnet8")
    classifier.attention_layer = None
    settings = LIME | {"method": "lime"}
    analyze_images(classifier, load_dataset("scenes"), tmp_path / "run", **settings, positions=range(3))
    records = read_records(tmp_path / "run")
    assert records["map"].isna().all()
    assert records["lime"].notna().any()


def test_fewer_samples_than_superpixels_are_warned_of(tmp_path, resnet8):
    settings = LIME | {"lime_samples": 5, "lime_superpixels": "grid"}
    with pytest.warns(UserWarning, match=r"5 LIME samples for an image of 64 superpixels.*--lime-samples"):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **settings, positions=range(4))


@pytest.mark.parametrize("field", [{"method": ("lime", "shap")}, {"lime_segments": "mine"}, {"method": ()}])
def test_settings_that_do_not_exist_are_refused(field):
    with pytest.raises(UserError, match="expected --"):
        AnalyzeConfig.of(**LIME | field)


def test_a_limit_takes_the_first_images_or_all_classes_in_turn():
    images = load_dataset("scenes")
    assert choose(images, 5) == [0, 1, 2, 3, 4]
    assert choose(images, None) == choose(images, 10_000) == list(range(500))
    chosen = choose(images, 43, stratify=True, seed=3)
    labels = Counter(images.read(position).label for position in chosen)
    assert sorted(chosen) == chosen
    assert len(set(chosen)) == 43
    assert sorted(labels.values()) == [4] * 7 + [5] * 3
    assert chosen == choose(images, 43, stratify=True, seed=3)
    assert chosen != choose(images, 43, stratify=True, seed=4)


def test_labels_are_known_without_reading_the_images(shared):
    for images in (load_dataset("scenes", split="train"), load_dataset("imagenet", shared / "imagenet-val")):
        for position in range(0, 300, 37):
            assert images.label_of(position) == images.read(position).label


def test_nan_names_the_image(tmp_path, resnet8, monkeypatch):
    infer = type(resnet8).infer
    monkeypatch.setattr(
        type(resnet8), "infer", lambda self, x: infer(self, x) * (torch.nan if len(x) == SAMPLES else 1)
    )
    settings = LIME | {"method": "lime"}
    with pytest.raises(UserError, match="perturbed copy of image val-0000"):
        analyze_images(
            resnet8, load_dataset("scenes"), tmp_path / "run", **settings, lime_batch_size=SAMPLES, positions=range(3)
        )


def test_a_piece_without_its_end_is_dropped_and_later_ones_are_kept(tmp_path):
    run = begun_run(tmp_path)
    row = {"image_id": "a", "skipped": "why"}
    run.append(0, [row])
    run.append(0, [row | {"image_id": "b"}])
    journal = pieces_of(tmp_path)
    journal.write_bytes(journal.read_bytes()[:-8])
    assert [kept["image_id"] for kept in run.unfinished(0)] == ["a"]
    Run(tmp_path, ATTENTION).append(0, [row | {"image_id": "c"}])
    assert {kept["image_id"] for kept in run.unfinished(0)} == {"a", "c"}


def test_samples_are_a_number_or_auto():
    message = {text: lime_settings(LimeOptions(samples=text)) for text in ("250", 250, "auto")}
    assert [(settings.samples, settings.patience) for settings in message.values()] == [(250, 0), (250, 0), (1000, 3)]
    with pytest.raises(UserError, match="whole number or auto, got 'many'"):
        LimeOptions(samples="many")


def test_numbers_of_features_below_1_are_refused(lime_run):
    with pytest.raises(UserError, match="from 1 on"):
        LimeSettings(features=(8, 0))
    with pytest.raises(UserError, match="from 1 on"):
        lime_tables(lime_run, [16 / 255], (64, 64), features=[-2])


def test_the_fastest_batch_is_found_where_memory_is_short(resnet8, monkeypatch):
    infer = type(resnet8).infer

    def small_device(self, normalised):
        if len(normalised) > 4:
            raise RuntimeError("CUDA out of memory")
        return infer(self, normalised)

    monkeypatch.setattr(type(resnet8), "infer", small_device)
    size, speed = lime_batch_size(resnet8)
    assert size in (1, 2, 4)
    assert speed > 0


def test_workers_end_with_their_parent():
    code = (
        "import os, signal\nfrom attnlab.superpixels import segmenting\nimport numpy as np\n"
        "with segmenting(1) as cut:\n"
        "    cut(np.zeros((3, 8, 8)), 'grid', 0).result()\n"
        "    import multiprocessing; print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    worker = Path("/proc") / answer.stdout.strip()
    for _ in range(1200):
        if not worker.exists():
            return
        time.sleep(0.05)
    pytest.fail("the worker outlived its parent")
