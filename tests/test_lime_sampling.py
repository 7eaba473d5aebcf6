"""How LIME draws its samples, and the lime package as its engine."""

import numpy as np
import pytest
import torch
from common import analyze_images
from scipy.linalg import hadamard

from attnlab.attention import SAMPLINGS
from attnlab.attention.lime import LimeSettings, explain, fit, perturbations
from attnlab.attention.lime_package import explain_by_package
from attnlab.attention.lime_samples import _hadamard
from attnlab.attention.masked_inference import MaskedInference, NotFinite
from attnlab.config import AnalyzeConfig
from attnlab.config.analyze import LimeOptions
from attnlab.data import load_dataset
from attnlab.errors import UserError
from attnlab.manifests import read_manifest
from attnlab.pipelines.own_passes import lime_cost
from attnlab.records import read_records
from attnlab.report.description import analysis_setting
from attnlab.superpixels import superpixels

LIME = {"method": "lime", "lime_samples": 20, "lime_superpixels": "slic", "lime_batch_size": 16}


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("superpixels", [1, 7, 32, 33])
def test_fewer_samples_are_the_first_of_more_and_are_the_images_own(sampling, superpixels):
    many, few = (perturbations("a", superpixels, samples, 1, sampling) for samples in (301, 90))
    assert many.shape == (301, superpixels)
    assert torch.equal(many[:90], few)
    if superpixels > 1:
        assert not torch.equal(many, perturbations("b", superpixels, 301, 1, sampling))
        assert not torch.equal(many, perturbations("a", superpixels, 301, 2, sampling))


@pytest.mark.parametrize("sampling", ["paired", "orthogonal"])
def test_each_sample_is_followed_by_its_complement(sampling):
    rows = perturbations("a", 20, 100, 0, sampling)
    assert torch.equal(rows[0::2], ~rows[1::2])


@pytest.mark.parametrize("superpixels", [3, 20, 64])
def test_a_block_shows_every_three_superpixels_in_each_way_equally_often(superpixels):
    block = 2 << (superpixels - 1).bit_length()
    signs = 2 * perturbations("a", superpixels, 3 * block, 0, "orthogonal")[block : 2 * block].double() - 1
    assert (signs.sum(0) == 0).all()
    assert torch.equal(signs.T @ signs, block * torch.eye(superpixels, dtype=torch.float64))
    assert (torch.einsum("sa,sb,sc->abc", signs, signs, signs) == 0).all()


def test_a_block_is_scipys_hadamard_matrix_but_for_order_and_flips():
    class Unshuffled:
        def permutation(self, count):
            return np.arange(count)

        def integers(self, _low, _high, count, dtype):
            return np.zeros(count, dtype)

    assert np.array_equal(1 - 2.0 * _hadamard(Unshuffled(), 16), hadamard(16))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sample_alone_shows_a_random_half(sampling):
    rows = np.stack([perturbations(str(image), 12, 40, 0, sampling).numpy() for image in range(400)])
    shares = rows[:, 1:].mean(0)  # of 400 images: a standard error of .025
    assert np.abs(shares - 0.5).max() < 0.12
    together = np.einsum("isa,isb->sab", rows[:, 1:].astype(float), rows[:, 1:]) / 400
    assert np.abs(together[:, ~np.eye(12, dtype=bool)] - 0.25).max() < 0.12


def test_ways_of_drawing_come_to_the_same_weights_and_some_come_sooner():
    """Superpixels act alone, in twos and in threes; the right weights are those of all 4096 images there are."""
    rng = np.random.default_rng(0)
    alone, twos, threes = rng.normal(size=12), rng.normal(size=(12, 12)) / 2, rng.normal(size=(12, 12, 12)) / 16

    def answer(rows):
        signs = 2 * rows.double().numpy() - 1
        pairs, triples = signs @ twos, np.tensordot(signs, threes, 1)
        return torch.tensor(signs @ alone + (pairs * signs).sum(1) + np.einsum("sbc,sb,sc->s", triples, signs, signs))

    def weights(sampling, samples, image):
        rows = perturbations(str(image), 12, samples, 0, sampling)
        return fit([rows], [answer(rows)])[0]

    everything = torch.from_numpy(np.arange(4096)[:, None] >> np.arange(12) & 1)
    (expected,) = fit([everything], [answer(everything)])

    def error(sampling, samples):
        return np.mean([(weights(sampling, samples, image) - expected) ** 2 for image in range(50)])

    for sampling in SAMPLINGS:
        assert np.abs(weights(sampling, 20_000, 99) - expected).max() < 0.4  # of weights of up to 4
    assert 1.2 * error("orthogonal", 64) < min(error("random", 64), error("paired", 64))
    assert 1.2 * error("paired", 320) < error("random", 320)


@pytest.mark.parametrize("hide", ["grey", "mean"])
def test_the_lime_engine_equals_the_batched_one(resnet8, scenes_batch, hide):
    images, classes = (part[[1, 3]] for part in scenes_batch)
    segments = [superpixels(image.numpy(), "slic", 0) for image in images]
    shown = [perturbations(name, int(labels.max()) + 1, 50, 0) for name, labels in zip("ab", segments, strict=True)]
    settings = LimeSettings(50, hide=hide)
    theirs = explain_by_package(resnet8, images, classes, segments, shown, settings, 7)
    labels = torch.from_numpy(np.stack(segments).astype(np.int64))
    ours = explain(MaskedInference(resnet8, images, classes, labels, hide, 16), shown, settings)
    for one, other in zip(theirs, ours, strict=True):
        assert one.samples == other.samples == 50
        assert np.abs(one.weights).max() > 1e-4
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-7)


def test_a_run_by_the_lime_engine_holds_what_the_batched_one_holds(tmp_path, resnet8):
    runs = {}
    for engine in ("batched", "lime"):
        out = tmp_path / engine
        analyze_images(resnet8, load_dataset("scenes"), out, **LIME, lime_engine=engine, positions=range(2))
        runs[engine] = read_records(out)
        assert read_manifest(out)["options"].get("lime_engine", "batched") == engine
    for name in ("lime", "lime_again", "adv_lime"):
        pairs = list(zip(runs["batched"][name].dropna(), runs["lime"][name].dropna(), strict=True))
        assert pairs
        for ours, theirs in pairs:
            assert [ours[key] for key in ("class", "samples", "segments")] == [
                theirs[key] for key in ("class", "samples", "segments")
            ]
            np.testing.assert_allclose(ours["weights"], theirs["weights"], atol=1e-5)


def test_the_lime_engine_refuses_nan_and_means_of_other_channels(resnet8, scenes_batch):
    images, classes = (part[:1] for part in scenes_batch)
    segments, shown = [np.zeros((64, 64), np.uint16)], [perturbations("a", 1, 4, 0)]
    with pytest.raises(NotFinite):
        explain_by_package(resnet8, images * torch.nan, classes, segments, shown, LimeSettings(4), 8)
    with pytest.raises(UserError, match="--lime-hide grey with --lime-engine lime for images of 1 channels"):
        explain_by_package(resnet8, images[:, :1], classes, segments, shown, LimeSettings(4, hide="mean"), 8)


@pytest.mark.parametrize("sampling", ["paired", "orthogonal"])
def test_a_run_records_its_sampling_and_is_resumed_with_it_alone(tmp_path, resnet8, sampling):
    how = {**LIME, "lime_sampling": sampling, "positions": range(2)}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **how)
    manifest = read_manifest(tmp_path / "run")
    manifest["options"] |= {"model": "resnet8", "data": "scenes", "split": "val"}  # a run of the command line has
    assert manifest["options"]["lime_sampling"] == sampling
    assert f"slic, 20 {sampling} samples, hidden grey" in analysis_setting(manifest, 2, ["lime"])
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **how)
    with pytest.raises(UserError, match="lime_sampling"):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **LIME, positions=range(2))


def test_what_the_lime_engine_cannot_do_is_refused():
    with pytest.raises(UserError, match="--lime-sampling random with --lime-engine lime, got paired"):
        LimeOptions(engine="lime", sampling="paired")
    with pytest.raises(UserError, match="whole number with --lime-engine lime, got auto"):
        LimeOptions(engine="lime", samples="auto")
    with pytest.raises(UserError, match="--lime-fit ridge with --lime-engine lime, got surrogate"):
        LimeOptions(engine="lime", fit="surrogate")
    with pytest.raises(UserError, match="did you mean 'paired'"):
        LimeOptions(sampling="pared")
    with pytest.raises(UserError, match="random, paired, orthogonal"):
        LimeSettings(sampling="sobol")


def test_the_estimate_says_that_the_lime_packages_own_work_is_not_in_it():
    estimates = [
        lime_cost(AnalyzeConfig.of(method="lime", lime_engine=name), 2, 100, 0.1, 0) for name in ("batched", "lime")
    ]
    assert estimates[0].startswith("LIME: at most 0:01:01")
    assert estimates[1] == f"{estimates[0]}; the lime package's own work comes on top"
