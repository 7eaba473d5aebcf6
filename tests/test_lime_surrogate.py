"""LIME's weights by way of a Gaussian process: nearer to those of all samples, and the same with many."""

import numpy as np
import pytest
import torch
from common import analyze_images

from attnlab.attention.lime import fit, perturbations
from attnlab.attention.lime_surrogate import Process, correction, surrogate_fit
from attnlab.data import load_dataset
from attnlab.errors import UserError
from attnlab.manifests import read_manifest
from attnlab.report.description import analysis_setting


def probabilities(rows: torch.Tensor) -> torch.Tensor:
    """Of a class whose log-odds superpixels move alone and in twos."""
    rng = np.random.default_rng(0)
    alone, twos = rng.normal(size=10), rng.normal(size=(10, 10)) / 4
    signs = 2 * rows.double().numpy() - 1
    return torch.from_numpy(1 / (1 + np.exp(-(signs @ alone + ((signs @ twos) * signs).sum(1) - 2))))


EVERYTHING = torch.from_numpy(np.arange(1024)[:, None] >> np.arange(10) & 1)


def test_a_surrogate_comes_nearer_to_the_weights_of_all_samples_than_as_many_samples_alone():
    (expected,) = fit([EVERYTHING], [probabilities(EVERYTHING)])
    errors = {"ridge": [], "surrogate": []}
    for image in range(3):
        rows = perturbations(str(image), 10, 80, 0, "orthogonal")
        for name, estimate in (("ridge", fit), ("surrogate", surrogate_fit)):
            (found,) = estimate([rows], [probabilities(rows)])
            errors[name].append(np.square(found - expected).sum())
    assert 2 * np.mean(errors["surrogate"]) < np.mean(errors["ridge"])


def test_with_many_samples_it_comes_to_the_weights_of_all_of_them(monkeypatch):
    """Of answers with noise that no process can follow, and more of them than it learns from."""
    monkeypatch.setattr("attnlab.attention.lime_surrogate.LEARNT", 150)
    rows, (expected,) = perturbations("a", 10, 2_000, 0), fit([EVERYTHING], [probabilities(EVERYTHING)])
    answers = probabilities(rows) + torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, 2_000))
    (plain,), (found,) = (estimate([rows], [answers]) for estimate in (fit, surrogate_fit))
    assert np.linalg.norm(found - expected) < np.linalg.norm(plain - expected) < 0.1 * np.linalg.norm(expected)


def test_a_sample_left_out_is_what_the_others_say_of_it():
    rows = perturbations("a", 10, 40, 0)
    signs, odds = (2 * rows.double().numpy() - 1) / np.sqrt(10), probabilities(rows).logit().numpy()
    process = Process(signs, odds)
    kernel = process.process.kernel_(signs)
    centre, spread = odds.mean(), odds.std()
    for at in (0, 7, 39):
        others = np.delete(np.arange(40), at)
        pull = np.linalg.solve(kernel[np.ix_(others, others)], kernel[others, at])
        mean = centre + spread * pull @ ((odds[others] - centre) / spread)
        deviation = spread * np.sqrt(kernel[at, at] - pull @ kernel[others, at])
        draws = np.random.default_rng(0).normal(mean, deviation, 200_000)
        assert process.left_out()[at] == pytest.approx((1 / (1 + np.exp(-draws))).mean(), abs=0.01)


def test_errors_count_as_far_as_they_are_more_than_noise():
    rows = perturbations("a", 10, 300, 0)
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, 300))
    slope = rows.double() @ torch.linspace(-1, 1, 10, dtype=torch.float64)
    for errors, least, most in ((noise, 0.0, 0.5), (slope + noise, 0.95, 1.0)):
        (plain,) = fit([rows], [errors])
        share = np.linalg.norm(correction(rows, errors)) / np.linalg.norm(plain)
        assert least <= share <= most


def test_where_nothing_hangs_on_what_is_shown_all_weights_are_0():
    rows = perturbations("a", 10, 30, 0)
    (found,) = surrogate_fit([rows], [torch.full((30,), 0.3, dtype=torch.float64)])
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_a_run_records_its_fit_and_is_resumed_with_it_alone(tmp_path, resnet8):
    how = {"method": "lime", "lime_samples": 20, "lime_superpixels": "grid", "lime_floor": False, "positions": range(2)}
    surrogate = {**how, "lime_fit": "surrogate"}
    analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **surrogate)
    manifest = read_manifest(tmp_path / "run")
    assert manifest["options"]["lime_fit"] == "surrogate"
    manifest["options"] |= {"model": "resnet8", "data": "scenes", "split": "val"}  # a run of the command line has
    assert "weights of a surrogate" in analysis_setting(manifest, 2, ["lime"])
    with pytest.raises(UserError, match="lime_fit"):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", **how)
