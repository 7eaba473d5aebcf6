"""Models of zoos through the commands: an analysis, a training with the attention terms, an evaluation of both."""

import json
from pathlib import Path

import pytest
from hf_models import save

from attnlab.models import load_model
from attnlab.models.zoos.listed import robustbench_table

ROBUSTBENCH = "robustbench:Hendrycks2020AugMix_WRN@cifar10/corruptions"


@pytest.fixture(scope="module")
def name(request, tmp_path_factory) -> str:
    """A model with random weights, for ten classes."""
    if request.param == ROBUSTBENCH:
        if not robustbench_table():
            pytest.skip("needs the package robustbench")
        return ROBUSTBENCH
    pytest.importorskip("transformers", reason="needs the package transformers")
    processor = {"vit": "ViTImageProcessor", "convnext": "ConvNextImageProcessor"}[request.param]
    return save(tmp_path_factory.mktemp("hf") / request.param, request.param, processor)


@pytest.mark.parametrize("name", ["vit", "convnext", ROBUSTBENCH], indirect=True)
def test_a_model_of_a_zoo_is_analysed_trained_and_evaluated(attnlab, name):
    words = ["--model", name, "--weights", "none", "--limit", 2, "--workers", 0]
    assert attnlab("analyze", *words, "--out", "analysis").code == 0
    model = json.loads(Path("analysis/run.json").read_text())["model"]
    assert (model["input_size"], model["classes"]) == ([32, 32], 10)
    assert model["layer"] == load_model(name, "none").layer
    defense = ["--defense", "madry"] if name == ROBUSTBENCH else []  # which is the slowest here
    assert attnlab("train", *words[:4], *defense, "--smoke", "--out", "trained").code == 0
    assert json.loads(Path("trained/model.json").read_text())["model"] == name
    trained = load_model("trained")
    assert trained.fingerprint() != load_model(name, "none").fingerprint()
    done = attnlab("evaluate", "--model", "trained", *words[4:], "--attacks", "clean,pgd2", "--out", "evaluation")
    assert (done.code, "Error" in done.err) == (0, False)
    manifest = Path("evaluation/run.json").read_text()
    assert trained.fingerprint() in manifest
    assert f'"network": {json.dumps(name)}' in manifest
