"""Superpixels that fit the image: by slic where quickshift finds too few, and a warning where there are few."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from attnlab.config import AnalyzeConfig
from attnlab.pipelines.lime_stage import LimeStage
from attnlab.superpixels import FEW, method_for, superpixels


@pytest.mark.parametrize(
    ("channels", "size", "method"),
    [
        (1, (28, 28), "slic"),
        (3, (32, 32), "slic"),
        (1, (299, 299), "slic"),
        (3, (64, 65), "slic"),
        (3, (65, 65), "quickshift"),
        (3, (299, 224), "quickshift"),
        (3, (299, 63), "slic"),
    ],
)
def test_grey_and_small_images_are_cut_by_slic(channels, size, method):
    assert method_for(channels, size) == method


def test_a_digit_has_too_few_superpixels_by_quickshift_and_enough_by_slic():
    digit = np.zeros((1, 28, 28), np.float32)
    digit[:, 6:22, 12:16] = 0.9  # a one
    assert len(np.unique(superpixels(digit, "quickshift", 0))) < FEW <= len(np.unique(superpixels(digit, "slic", 0)))


def test_digits_are_cut_by_slic_unless_asked_otherwise_and_a_run_keeps_its_own(attnlab, place):
    words = ["analyze", "--data", "mnist", "--root", place, "--split", "train", "--model", f"{place}/net.py:build"]
    words += ["--method", "lime", "--lime-samples", 20, "--limit", 10, "--workers", 0]

    def cut_by(folder):
        return json.loads(Path(folder, "run.json").read_text())["options"]["lime"]["superpixels"]

    answer = attnlab(*words, "--out", "a")
    assert (answer.code, cut_by("a")) == (0, "slic")
    assert "superpixels by slic, as quickshift finds too few in images this small" in answer.err
    assert attnlab(*words, "--out", "b", "--lime-superpixels", "quickshift").code == 0
    assert attnlab(*words, "--out", "b").code == 0
    assert cut_by("b") == "quickshift"


def test_few_superpixels_are_warned_of_once_with_the_likely_fix():
    explainer = LimeStage(None, AnalyzeConfig.of(method="lime"), None)
    with pytest.warns(UserWarning, match="quickshift cuts b into 3 superpixels: .*; --lime-superpixels slic"):
        explainer._warn_of_few_superpixels({"a": 8, "b": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer._warn_of_few_superpixels({"c": 2})
