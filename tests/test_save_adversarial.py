"""Adversarial images as files, and attacks that are no settings of the loop inside an evaluation."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnlab.attacks.others import OTHER_ATTACKS, AttackFunction
from attnlab.config import AttackConfig, EvaluateConfig
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.errors import UserError
from attnlab.pipelines.accuracy_records import eight_bit
from attnlab.pipelines.evaluate import evaluate
from attnlab.records import read_evaluation
from attnlab.runs import Run


@settings(max_examples=30)
@given(eps=st.floats(0, 1), seed=st.integers(0, 1000))
def test_eight_bit_images_stay_in_the_ball_and_as_near_as_whole_levels_allow(eps, seed):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, 3, 4, 4), generator=draw) / 255
    adversarial = (images + eps * (2 * torch.rand(images.shape, generator=draw) - 1)).clamp(0, 1)
    levels = eight_bit(adversarial, images, eps)
    assert levels.dtype == torch.uint8
    assert (levels / 255 - images).abs().max() <= eps + 1e-6
    assert (levels / 255 - adversarial).abs().max() < 1 / 255


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    out = tmp_path_factory.mktemp("craft") / "run"
    evaluate(AttackConfig.of(attack="pgd3", limit=12, batch_size=5, out=out))
    return out


def test_files_hold_what_the_records_tell(crafted, resnet8):
    records = read_evaluation(crafted).set_index(["attack", "image_id"])
    images = load_dataset("scenes", split="test")
    for index, image_id in enumerate(images.image_ids[:12]):
        array = torch.from_numpy(np.load(crafted / "arrays" / f"{image_id}.npy"))
        levels = torch.from_numpy(np.array(Image.open(crafted / "images" / f"{image_id}.png"))).permute(2, 0, 1)
        clean = ResizedDataset(images, (64, 64))[index].pixels / 255
        for name, pixels in (("pgd3", array), ("pgd3 8-bit", levels / 255)):
            assert (pixels - clean).abs().max() <= 16 / 255 + 1e-6
            with torch.no_grad():
                prediction = int(resnet8(pixels[None])[0].argmax())
            assert prediction == records.loc[(name, image_id), "prediction"]


def test_both_accuracies_are_in_table_6(crafted):
    from attnlab.report.tables.export import write_tables

    write_tables(crafted)
    table = pd.read_csv(crafted / "tables" / "table6.csv")
    assert table["attack"].tolist() == ["clean", "pgd3", "pgd3 8-bit"]
    assert not (crafted / "tables" / "table6_worst.csv").exists()


def test_going_on_with_other_options_is_refused(crafted):
    with pytest.raises(UserError, match="other options"):
        evaluate(AttackConfig.of(attack="pgd4", limit=12, out=crafted))


@pytest.mark.parametrize("attacks", ["clean", "pgd3,cw3", "clean,pgd3"])
def test_files_are_made_of_one_attack(tmp_path, attacks):
    with pytest.raises(UserError, match="expected one attack"):
        evaluate(AttackConfig.of(attack=attacks, out=tmp_path / "run"))


def test_attacks_outside_the_loop_are_run_and_told_in_the_manifest(tmp_path, monkeypatch):
    def black(classifier, images, labels, eps, seeds):
        return (images - eps).clamp(min=0)

    monkeypatch.setitem(OTHER_ATTACKS, "square", AttackFunction(black))
    evaluate(EvaluateConfig.of(attacks="clean,square", eps="32/255", limit=8, out=tmp_path / "run"))
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["options"]["attacks"] == {
        "clean": None,
        "square": {"method": "square", "eps": 32 / 255, "stages": [], "norm": "linf"},
    }
    records = read_evaluation(tmp_path / "run")
    assert records["attack"].tolist() == ["clean", "square"] * 8
    clean, darker = (records[records["attack"] == name]["margin"].to_numpy() for name in ("clean", "square"))
    assert (clean != darker).all()
    assert Run(tmp_path / "run").manifest["finished"]


def test_no_file_is_written_outside_the_folder(tmp_path):
    from attnlab.files import file_of

    with pytest.raises(UserError, match="below their folder"):
        file_of(tmp_path / "images", "../stolen", ".png")
