"""The analysis run: against an independent reference, cut short and resumed, in any batch size."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerGradCam
from common import analyze_images
from PIL import Image

from attnlab.attacks import ATTACKS
from attnlab.attacks.parse import parse_attack
from attnlab.attention import METHODS, Method
from attnlab.attention.gradcam import grad_cam, grad_cam_maps
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset, collate
from attnlab.errors import UserError
from attnlab.hooks import capture, find_layer
from attnlab.models import Classifier, load_model
from attnlab.pipelines.fused_pass import fused_pass
from attnlab.records import read_records
from attnlab.report.tables.export import make_tables, write_tables

#: float columns agree to this; all others are equal
DIGITS = 1e-5


def assert_same_records(first: pd.DataFrame, second: pd.DataFrame) -> None:
    for name in first:
        if name in ("map", "adv_map"):
            for ours, theirs in zip(first[name], second[name], strict=True):
                np.testing.assert_allclose(ours, theirs, atol=DIGITS * np.abs(theirs).max())
        elif first[name].dtype.kind == "f":
            np.testing.assert_allclose(first[name], second[name], atol=DIGITS)
        else:
            assert [str(value) for value in first[name]] == [str(value) for value in second[name]], name


def reference_record(classifier: Classifier, image: Image.Image, box: list[float], label: int, eps: float) -> dict:
    """One image with captum and plain loops: what section 3 of the paper says, without attnlab's own passes."""
    x = torch.tensor(np.array(image)).permute(2, 0, 1)[None].float() / 255
    cam = LayerGradCam(classifier, find_layer(classifier.network, classifier.attention_layer))
    x.requires_grad_(True)
    logits = classifier(x)
    loss = torch.nn.functional.cross_entropy(logits, logits.argmin(1))
    adversarial = (x - eps * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1).detach()
    clean_map, adversarial_map = (
        cam.attribute(images.detach(), target=label, relu_attributions=False).detach() for images in (x, adversarial)
    )
    big = torch.nn.functional.interpolate(clean_map, size=(64, 64), mode="bilinear", align_corners=False)
    truth = np.zeros((64, 64), bool)
    x0, y0, x1, y1 = map(int, box)
    truth[y0:y1, x0:x1] = True
    area = np.zeros(64 * 64, bool)
    area[np.argsort(-big.numpy().ravel(), kind="stable")[: truth.sum()]] = True
    area = area.reshape(64, 64)
    top = [set(np.argsort(-maps.numpy().ravel(), kind="stable")[:10]) for maps in (clean_map, adversarial_map)]
    return {
        "prediction": int(logits.argmax()),
        "confidence": float(logits.detach().softmax(1)[0, label]),
        "margin": float(logits[0, label] - max(logits[0, other] for other in range(10) if other != label)),
        "adv_prediction": int(classifier(adversarial).argmax()),
        "iou_att_gt": (area & truth).sum() / (area | truth).sum(),
        "iou_10": len(top[0] & top[1]) / len(top[0] | top[1]),
    }


def test_records_equal_captum_and_plain_loops(run):
    classifier = load_model("resnet8")  # contiguous, image by image: another order of the same sums
    images = load_dataset("scenes")
    records = read_records(run)
    for position in range(0, 200, 13):
        image, label, boxes = images.read(position)
        for _, record in records[records["image_id"] == images.image_ids[position]].iterrows():
            expected = reference_record(classifier, image, boxes[0].tolist(), label, record["eps"])
            assert record["label"] == label
            assert record["boxes"][0].tolist() == boxes[0].tolist()
            assert record["prediction"] == expected["prediction"]
            assert record["adv_prediction"] == expected["adv_prediction"]
            assert record["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)
            assert record["margin"] == pytest.approx(expected["margin"], abs=1e-3)
            assert record["iou_att_gt"] == pytest.approx(expected["iou_att_gt"], abs=0.01)
            shared = record["shared_cells"][9]
            assert shared / (20 - shared) == pytest.approx(expected["iou_10"], abs=0.12)  # one cell of ten


def test_every_image_has_a_record_for_each_eps_in_order(run):
    records = read_records(run)
    assert list(records["image_id"]) == [f"val-{number:05d}" for number in range(200) for _ in range(2)]
    assert list(records["eps"]) == [4 / 255, 16 / 255] * 200
    assert (records["label"] != records["prediction"]).any(), "misclassified images are recorded too"


def test_maps_in_the_records_are_the_raw_signed_ones(run, resnet8):
    prepared = ResizedDataset(load_dataset("scenes"), (64, 64))
    batch = collate([prepared[position] for position in range(4)])
    maps = grad_cam(resnet8, batch.pixels.float() / 255, batch.labels)
    stored = np.stack(read_records(run).query("eps > 0.05")["map"].iloc[:4].tolist())
    np.testing.assert_allclose(stored, maps.flatten(1).numpy(), atol=1e-5)
    assert stored.min() < 0


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (32, 0)])
def test_batch_size_and_workers_change_no_record(tmp_path, run, resnet8, batch_size, workers):
    analyze_images(
        resnet8,
        load_dataset("scenes"),
        tmp_path / "r",
        eps=(4 / 255, 16 / 255),
        batch_size=batch_size,
        workers=workers,
        positions=range(64),
    )
    ours = read_records(tmp_path / "r")
    assert_same_records(ours, read_records(run).iloc[: len(ours)])


def test_several_eps_in_one_run_equal_one_run_each(tmp_path, run, resnet8):
    for eps in (4 / 255, 16 / 255):
        out = tmp_path / f"{eps:.3f}"
        analyze_images(resnet8, load_dataset("scenes"), out, eps=(eps,), batch_size=50, positions=range(50))
        both = read_records(run)
        assert_same_records(read_records(out), both[both["eps"] == eps].iloc[:50].reset_index(drop=True))


def test_closed_and_generic_path_give_the_same_records(tmp_path):
    outs = []
    for head in ("classifier", None):
        classifier = load_model("resnet8")
        classifier.head = head
        out = tmp_path / str(head)
        # the two are one model, so the manifests differ in `head` alone
        analyze_images(classifier, load_dataset("scenes"), out, positions=range(32), batch_size=16)
        outs.append(read_records(out))
    assert_same_records(*outs)


def test_target_predicted_explains_each_images_own_class(resnet8, scenes_batch):
    images, labels = scenes_batch
    wrong = (labels + 1) % 10
    clean, (adversarial,) = fused_pass(resnet8, images, wrong, [ATTACKS["stepll"]], {"grad-cam": "predicted"})
    torch.testing.assert_close(clean.maps["grad-cam"], grad_cam(resnet8, images, clean.logits.argmax(1)))
    from attnlab.attacks.pgd import perturb

    attacked = perturb(resnet8, images, wrong, replace(ATTACKS["stepll"], eps=16 / 255))
    torch.testing.assert_close(adversarial.maps["grad-cam"], grad_cam(resnet8, attacked, adversarial.logits.argmax(1)))


def test_a_method_in_the_dict_makes_the_maps_of_a_run_and_stands_in_its_captions(tmp_path, resnet8, monkeypatch):
    def first_channel(seen):
        return seen.features[:, 0] * seen.classes[:, None, None]

    monkeypatch.setitem(METHODS, "first-channel", Method(first_channel))
    images = load_dataset("scenes")
    run = analyze_images(resnet8, images, tmp_path, method="first-channel", model="resnet8", positions=range(6))
    sample = ResizedDataset(images, (64, 64))[5]
    with torch.no_grad(), capture(resnet8.network, resnet8.attention_layer) as outputs:
        resnet8(sample.pixels[None] / 255)
    expected = (outputs[0][0, 0] * sample.label).flatten()
    np.testing.assert_allclose(read_records(tmp_path)["map"][5], expected, atol=1e-5)
    assert "first-channel maps of the true class" in make_tables(run).captions["table1"]


def test_nan_logits_stop_the_run_and_name_the_image(tmp_path):
    classifier = load_model("resnet8")
    weight = classifier.network.classifier.weight
    weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match="not finite for image val-00000"):
        analyze_images(classifier, load_dataset("scenes"), tmp_path / "run", positions=range(8))


def test_broken_images_are_skipped_and_the_run_goes_on(tmp_path, resnet8):
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,label,x0,y0,x1,y1"]
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)).save(root / f"{number}.png")
    lines += ["0.png,1,5,5,60,60", "1.png,2,5,5,60,60", "1.png,2,50,50,20,20"]  # 1: a second, inverted box
    lines += ["2.png,3,,,,", "3.png,4,70,70,70,90", "4.png,5,1,1,50,50"]  # 2: no box; 3: an empty one
    (root / "4.png").write_bytes((root / "4.png").read_bytes()[:300])
    (root / "boxes.csv").write_text("\n".join(lines))
    run = analyze_images(resnet8, load_dataset("folder", root), tmp_path / "run", batch_size=4)
    skipped = pd.read_csv(run.folder / "skipped.csv").set_index("image_id")["reason"]
    assert list(skipped.index) == ["2.png", "3.png", "4.png", "5.png"]
    assert "none given" in skipped["2.png"]
    assert "empty" in skipped["3.png"]
    assert "cannot be decoded" in skipped["4.png"]
    assert "no row in boxes.csv" in skipped["5.png"]
    records = read_records(run.folder).set_index("image_id")
    assert list(records.index) == ["0.png", "1.png", "2.png", "3.png"]
    assert list(records["dropped_boxes"]) == [0, 1, 0, 1]
    assert list(records["iou_att_gt"].isna()) == [False, False, True, True]


def test_maps_of_few_cells_have_a_table_3_of_one(tmp_path, resnet8):
    """Two by two, in which none of the paper's numbers of cells is a part."""
    images = load_dataset("scenes")
    network = torch.nn.Sequential(
        resnet8.network, torch.nn.Unflatten(1, (10, 1, 1)), torch.nn.Upsample((2, 2)), torch.nn.Flatten(),
        torch.nn.Linear(40, 10),
    )  # fmt: skip
    network.input_size = (64, 64)
    run = analyze_images(Classifier(network, "2"), images, tmp_path / "run", positions=range(60))
    assert set(make_tables(run).frames["table3"]["cells"]) == {1}


def test_data_without_boxes_has_a_table_3(tmp_path, shared):
    convolution, head = torch.nn.Conv2d(1, 8, 5, 4), torch.nn.Linear(288, 10)
    network = torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), head)
    network.input_size = (28, 28)
    classifier = Classifier(network.eval())
    images = load_dataset("mnist", shared / "mnist", "test")
    analyze_images(
        classifier, images, tmp_path / "run", data="mnist", split="test", positions=range(200), batch_size=100
    )
    frames = write_tables(tmp_path / "run").frames
    assert list(frames) == ["table3"]
    assert frames["table3"]["n"].sum() > 0
    message = "these data have no boxes: Tables 1, 2 and 4, which compare attention with them, are left out"
    assert message in write_tables(tmp_path / "run").summary


def test_tables_of_mobilenet_equal_the_independent_reference(tmp_path, shared):
    """The first 60 images against what captum and plain loops gave for them (contiguous layout, one by one)."""
    classifier = load_model(f"{shared}/weights/mobilenet_v2_tf.py:build").place("cpu", memory_format="contiguous")
    images = load_dataset("imagenet", shared / "imagenet-val")
    analyze_images(classifier, images, tmp_path / "run", positions=range(60), batch_size=4)
    records = read_records(tmp_path / "run")
    mine = records[records["label"] == records["prediction"]]
    assert len(mine) == REFERENCE["correct"]
    assert (mine["adv_prediction"] != mine["prediction"]).sum() == REFERENCE["succeed"]
    assert mine["iou_att_gt"].mean() == pytest.approx(REFERENCE["iou"], abs=1e-4)
    shared_cells = np.array(mine["shared_cells"].tolist())[:, 9]
    assert (shared_cells / (20 - shared_cells)).mean() == pytest.approx(REFERENCE["k10"], abs=5e-3)


#: the reference's first 60 images at eps 16/255: I_att, succeed, mean IoU (.6738 before boxes held their last pixel),
#: mean IoU of 10 cells
REFERENCE = {"correct": 35, "succeed": 29, "iou": 0.678140, "k10": 0.418457}


@pytest.mark.parametrize("name", ["pgd3", "iter-stepll3+a3"])
def test_any_attack_of_the_loop_moves_the_same_images_in_any_batch(tmp_path, resnet8, name):
    attack = replace(parse_attack(name), step_size=8 / 255)
    for batch_size in (2, 6):
        analyze_images(
            resnet8,
            load_dataset("scenes"),
            tmp_path / str(batch_size),
            attack=attack,
            batch_size=batch_size,
            positions=range(6),
        )
    two, six = (read_records(tmp_path / str(batch_size)) for batch_size in (2, 6))
    np.testing.assert_allclose(two["adv_confidence"], six["adv_confidence"], atol=1e-4)
    assert (two["adv_prediction"] == six["adv_prediction"]).all()
    assert (two["adv_confidence"] < two["confidence"]).mean() > 0.5


def test_a_method_that_the_network_does_not_allow_is_refused_before_the_run(tmp_path, resnet8, monkeypatch):
    def refuse(classifier):
        raise UserError(f"expected a transformer for rollout, got {type(classifier.network).__name__}")

    monkeypatch.setitem(METHODS, "rollout", Method(grad_cam_maps, allows=refuse))
    with pytest.raises(UserError, match="expected a transformer for rollout, got ResNet8"):
        analyze_images(resnet8, load_dataset("scenes"), tmp_path / "run", method="rollout", positions=range(8))
    assert not (tmp_path / "run").exists()
