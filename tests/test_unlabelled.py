"""Images without labels: what the model predicts of the clean image stands for the label."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from attnlab.data import load_dataset
from attnlab.data.base import UNLABELLED
from attnlab.data.resizing import ResizedDataset
from attnlab.data.sampling import choose
from attnlab.data.summary import summarise
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.records import read_evaluation, read_records

COUNT = 6


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six scenes as files, in two folders, and what is no image."""
    scenes, root = load_dataset("scenes", split="test"), tmp_path / "pictures"
    for index in range(COUNT):
        path = root / f"{'ab'[index % 2]}/{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes.read(index).image.save(path)
    (root / "notes.txt").write_text("none")
    return root


def predictions(classifier, images) -> dict[str, int]:
    """What a classifier makes of each image, one at a time."""
    prepared = ResizedDataset(images, classifier.input_size)
    with frozen_eval(classifier), torch.no_grad():
        seen = [(one.image_id, classifier(one.pixels[None] / 255)) for one in map(prepared.__getitem__, range(COUNT))]
    return {name: int(logits.argmax()) for name, logits in seen}


def test_a_folder_of_images_needs_nothing_else(pictures):
    images = load_dataset("images", pictures)
    assert images.image_ids == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]
    assert {images.label_of(index) for index in range(COUNT)} == {UNLABELLED}
    assert not images.labelled
    assert str(summarise(images, range(COUNT))) == "6 images without labels; no boxes or masks"
    assert load_dataset("images", pictures, "b").image_ids == ["1.png", "3.png", "5.png"]
    with pytest.raises(UserError, match=r"no images below .*; expected files such as photo\.jpg there"):
        load_dataset("images", pictures / "a" / "none" if (pictures / "a/none").mkdir() else pictures / "a/none")


def test_an_analysis_compares_maps_of_the_predicted_class(attnlab, pictures, resnet8):
    wanted = predictions(resnet8, load_dataset("images", pictures))
    done = attnlab("analyze", "--data", "images", "--root", pictures, "--model", "resnet8", "--out", "out")
    assert done.code == 0
    assert "without labels: predictions of clean images stand for them; I_att: 6 images" in done.out
    assert "accuracy" not in done.out
    records = read_records(Path("out"))
    assert dict(zip(records["image_id"], records["label"], strict=True)) == wanted
    assert (records["label"] == records["prediction"]).all()
    assert pd.read_csv("out/tables/table3.csv")["n"].sum() == 4 * COUNT
    caption = " ".join(Path("out/tables/table3.tex").read_text().replace("%", "").split())
    assert f"n = {COUNT} images, without labels: predictions of clean images stand for them; " in caption
    assert not Path("out/tables/table1.csv").exists()
    assert json.loads(Path("out/run.json").read_text())["data"]["labels"] == "predicted"
    assert attnlab("report", "out").code == 0
    assert "predictions of clean images stand for them" in Path("out/report.html").read_text()
    assert attnlab("figures", "out").code == 0


def test_lime_of_the_true_class_explains_the_prediction(attnlab, pictures):
    options = ["--method", "lime", "--target", "true", "--lime-samples", 20, "--workers", 0]
    done = attnlab("analyze", "--data", "images", "--root", pictures, "--model", "resnet8", *options, "--out", "out")
    assert done.code == 0
    records = read_records(Path("out"))
    assert [lime["class"] for lime in records["lime"]] == records["label"].tolist()


def test_an_evaluation_counts_the_predictions_that_attacks_leave(attnlab, pictures, resnet8):
    wanted = predictions(resnet8, load_dataset("images", pictures))
    words = ["--data", "images", "--root", pictures, "--model", "resnet8", "--attacks", "clean,fgsm"]
    done = attnlab("evaluate", *words, "--out", "out")
    assert done.code == 0
    assert "without labels: accuracy is the share of images whose clean prediction the attack leaves" in done.out
    caption = " ".join(Path("out/tables/table6.tex").read_text().replace("%", "").split())
    assert f"{COUNT} images; without labels: predictions of clean images stand for them; " in caption
    records = read_evaluation(Path("out"))
    assert dict(zip(records["image_id"], records["label"], strict=True)) == wanted
    accuracy = pd.read_csv("out/tables/table6.csv").set_index("attack")["accuracy"]
    assert accuracy["clean"] == 100
    kept = records[records["attack"] == "fgsm"]
    assert accuracy["fgsm"] == pytest.approx(100 * (kept["label"] == kept["prediction"]).mean(), abs=0.005)


def test_boxes_without_labels_give_table_1(attnlab, pictures):
    rows = [f"{'ab'[index % 2]}/{index}.png,,10,10,50,50" for index in range(COUNT)]
    (pictures / "boxes.csv").write_text("\n".join(["image,label,x0,y0,x1,y1", *rows]))
    done = attnlab("analyze", "--data", "folder", "--root", pictures, "--model", "resnet8", "--out", "out")
    assert done.code == 0
    assert pd.read_csv("out/tables/table1.csv")["n"].sum() == COUNT


def test_labels_in_some_rows_alone_are_refused(pictures):
    (pictures / "boxes.csv").write_text("image,label\na/0.png,\na/2.png,3\n")
    with pytest.raises(UserError, match="expected each label to be a class index"):
        load_dataset("folder", pictures)


def test_what_needs_labels_says_so(attnlab, pictures):
    with pytest.raises(UserError, match="expected images with labels for --stratify, got images, which has none"):
        choose(load_dataset("images", pictures), 3, stratify=True)
    (pictures / "boxes.csv").write_text("image,label\na/0.png,\na/2.png,\n")
    train = ["train", "--data", "folder", "--root", pictures, "--model", "resnet8", "--batch-size", 1]
    assert attnlab(*train).error == "expected images with labels to train on, got folder, which has none"
