"""`attnlab verify`: a run is what its run.json says, or what is not is named."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from attnlab.config import VerifyConfig
from attnlab.data.base import digest
from attnlab.models import load_model
from attnlab.models.checkpoint import WEIGHTS, save_checkpoint
from attnlab.pipelines.record_differences import ELSEWHERE, SAME, compare_records
from attnlab.pipelines.verify import _of_records, verify
from attnlab.runs import Run
from attnlab.schema import ATTENTION, EVALUATION

NAMES = [f"{number}.bmp" for number in range(6)]  # all BMP files of one size have as many bytes


@pytest.fixture
def photos(tmp_path) -> Path:
    """Six images of noise with a box each."""
    root, draw = tmp_path / "photos", np.random.default_rng(0)
    root.mkdir()
    for name in NAMES:
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(root / name)
    lines = [f"{name},3,4,4,20,24\n" for name in NAMES]
    (root / "boxes.csv").write_text("image,label,x0,y0,x1,y1\n" + "".join(lines))
    return root


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the run that most tests spoil is kept, once one of them has made it."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def made(attnlab, photos, tmp_path, kept) -> Path:
    """A run of two processes, two methods and two budgets by a checkpoint, in three batches of two parts."""
    save_checkpoint(load_model("resnet8"), tmp_path / "mine", "resnet8")
    out, place = tmp_path / "run", kept.with_name("place")
    if kept.exists():  # it names the folder that it was made in
        shutil.copytree(kept, out)
        for path in out.rglob("*.json"):
            path.write_text(path.read_text().replace(place.read_text(), str(tmp_path)))
        return out
    words = ["analyze", "--data", "folder", "--root", photos, "--model", tmp_path / "mine", "--out", out]
    words += ["--method", "grad-cam,saliency", "--eps", "4/255,16/255", "--attack", "pgd2", "--where", "outside"]
    for shard in ("1/2", "2/2"):
        sizes = ["--batch-size", 2, "--part-size", 4, "--workers", 0, "--shard", shard]
        assert attnlab(*words, *sizes).code == 0
    place.write_text(str(tmp_path))
    shutil.copytree(out, kept)
    return out


def rewrite(folder: Path, number: int, change, schema=ATTENTION) -> None:
    """Change the rows of a part as someone who knows its checksums would."""
    run = Run(folder, schema)
    rows = run.rows(number)
    change(rows)
    run.write_part(number, rows)


def found(folder: Path, sample: int = 9, **options) -> tuple[dict[str, str], dict[str, list[str]]]:
    """State of each check that is not ok, and the images of each value that does not hold."""
    done = verify(folder, VerifyConfig.of(sample=sample, workers=0, **options))
    checks = {check.name: check.text for check in done.checks if check.state != "ok"}
    failed = {value.name: sorted(value.differing) for value in done.values if not value.holds}
    assert done.holds == (not failed and all(check.state != "failed" for check in done.checks))
    return checks, failed


def test_a_run_of_two_processes_is_verified_to_the_byte_and_left_as_it_is(attnlab, made):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    done = attnlab("verify", made, "--sample", 3, "--workers", 0, "--format", "json")
    assert done.code == 0
    told = json.loads(done.out)
    values = {value["name"]: value for value in told["values"]}
    assert {"label", "saliency map", "attacked 16/255 grad-cam iou_att_gt", "pixels_sha256"} <= values.keys()
    assert all(value["greatest"] == 0 and value["differing"] == [] for value in values.values())
    assert values["grad-cam map"]["compared"] == 3
    assert values["grad-cam map"]["tolerance"] == SAME
    assert [check["state"] for check in told["checks"]] == ["ok"] * len(told["checks"])
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_changed_record_is_found_and_named(attnlab, made):
    def change(rows):
        rows[1]["adversarial"][1]["maps"][0]["values"][5] *= 1.001
        rows[2]["label"] = 4

    rewrite(made, 0, change)
    checks, failed = found(made)
    assert checks == {}
    assert failed == {"label": ["2.bmp"], "attacked 16/255 grad-cam map": ["1.bmp"]}
    done = attnlab("verify", made, "--sample", 9, "--workers", 0)
    assert done.code == 1
    assert "label differs: 2.bmp\n" in done.out
    assert done.out.endswith("run: not verified\n")


def test_a_part_whose_checksum_does_not_fit_is_one_line(attnlab, made):
    part = made / "records/part-00001.parquet"
    part.write_bytes(part.read_bytes().replace(b"4.bmp", b"5.bmp"))
    assert f"{part} is a damaged part (its checksum does not fit)" in attnlab("verify", made).error


def test_a_changed_image_of_the_same_size_is_found_by_the_hash_of_its_pixels(made, photos):
    pixels = np.array(Image.open(photos / "4.bmp"))
    pixels[9, 9] ^= 255
    Image.fromarray(pixels).save(photos / "4.bmp")
    checks, failed = found(made)
    assert checks == {}  # names, labels, boxes and sizes of files are the same
    assert failed["pixels_sha256"] == ["4.bmp"]
    assert {name for names in failed.values() for name in names} == {"4.bmp"}


def test_another_data_root_is_found_by_its_hash(made, photos, tmp_path):
    other = Path(shutil.copytree(photos, tmp_path / "other"))
    assert found(made, root=other) == ({}, {})  # a copy elsewhere is the same data
    (other / "boxes.csv").write_text((other / "boxes.csv").read_text().replace("3.bmp,3,4", "3.bmp,3,5"))
    checks, failed = found(made, root=other)
    assert list(checks) == ["data"]
    assert checks["data"].startswith("data sha256 was ")
    assert failed["boxes"] == ["3.bmp"]


def test_changed_weights_are_found_by_their_hash_and_nothing_is_computed(attnlab, made, tmp_path):
    save_checkpoint(load_model("resnet8", "none", seed=4), tmp_path / "mine", "resnet8")
    checks, failed = found(made)
    assert list(checks) == ["model", "sample"]
    assert checks["model"].startswith("model sha256 was ")
    assert failed == {}
    weights = tmp_path / "mine" / WEIGHTS  # changed in place, it does not even load
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert f"expected {weights} to have the SHA-256 " in attnlab("verify", made).error


def test_a_run_json_that_names_other_settings_of_the_attack_does_not_fit_its_records(made):
    manifest = Run(made).manifest
    manifest["options"]["attack"]["steps"] = 1
    Run(made).write_manifest(manifest)
    _, failed = found(made)
    assert failed
    assert all(name.startswith("attacked ") for name in failed)


def test_a_run_that_is_not_finished_is_refused(attnlab, made):
    Run(made).write_manifest({**Run(made).manifest, "finished": None})
    assert attnlab("verify", made).error.endswith("which is not: repeat its command to finish it first")


def test_an_evaluation_of_two_models_is_verified_attack_by_attack(attnlab, photos, tmp_path):
    save_checkpoint(load_model("resnet8", "none", seed=4), tmp_path / "mine", "resnet8")
    words = ["--data", "folder", "--root", photos, "--model", "resnet8", "--model", tmp_path / "mine"]
    words += [
        "--attacks",
        "clean,fgsm,pgd2+a3,square,fog@3",
        "--no-check",
        "--batch-size",
        4,
        "--out",
        tmp_path / "run",
    ]
    assert attnlab("evaluate", *words, "--workers", 0).code == 0
    assert found(tmp_path / "run", sample=3) == ({}, {})

    def change(rows):
        outcome = rows[0]["attacks"][2]
        assert outcome["attack"] == "pgd2+a3"
        outcome["prediction"] = (outcome["prediction"] + 1) % 10

    rewrite(tmp_path / "run", 1, change, EVALUATION)
    assert found(tmp_path / "run") == ({}, {"mine: attacked pgd2+a3 prediction": ["0.bmp"]})


def test_adversarial_images_that_were_kept_are_made_again_to_the_byte(attnlab, photos, tmp_path):
    words = ["--data", "folder", "--root", photos, "--model", "resnet8", "--attack", "pgd2", "--workers", 0]
    assert attnlab("attack", *words, "--out", tmp_path / "run").code == 0
    assert found(tmp_path / "run") == ({}, {})
    array = tmp_path / "run/arrays/3.bmp.npy"
    np.save(array, np.load(array) * 0.5)
    assert found(tmp_path / "run")[0] == {"files": "1 file not what is made again, such as arrays/3.bmp.npy"}


def test_a_checkpoint_that_is_not_what_was_saved_is_found_in_the_folder_of_its_training(attnlab, tmp_path):
    for name in ("training", "training/last"):
        save_checkpoint(load_model("lenet", "none"), tmp_path / name, "lenet")
    assert attnlab("verify", tmp_path / "training").code == 0
    weights = tmp_path / "training/last" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    done = attnlab("verify", tmp_path / "training")
    assert done.code == 1
    assert [line.split()[:2] for line in done.out.splitlines()[:2]] == [["failed", "last"], ["ok", "training"]]


# ------------------------------------------------------------------ tolerances


def pair(**changes):
    record = {"image_id": "a", "skipped": None, "margin": 2.0, "boxes": [[1.0, 2.0]], "prediction": 3}
    return [(record, record | changes)] * 10


@pytest.mark.parametrize(
    ("changes", "same", "fails"),
    [
        ({"margin": 2.000001}, True, []),  # half of a millionth
        ({"margin": 2.000003}, True, ["margin"]),
        ({"margin": 2.0019}, False, []),  # just below a thousandth
        ({"margin": 2.0021}, False, ["margin"]),
        ({"margin": float("nan")}, False, ["margin"]),
        ({"margin": None}, False, ["margin"]),
        ({"boxes": [[1.0, 2.0], [1.0, 2.0]]}, False, ["boxes"]),
        ({"prediction": 4}, False, ["prediction"]),
        ({"skipped": "gone"}, False, ["skipped"]),
    ],
)
def test_numbers_are_held_to_shares_of_the_largest_one_and_all_else_is_equal(changes, same, fails):
    assert ELSEWHERE["fp32"] == 1e-3
    values = compare_records(pair(**changes), {}, "fp32", same=same)
    assert [value.name for value in values if not value.holds] == fails


@pytest.mark.parametrize(("same", "number", "holds"), [(True, 1, False), (False, 1, True), (False, 2, False)])
def test_elsewhere_a_tenth_of_the_attacked_images_may_differ(same, number, holds):
    now = [{"image_id": "a", "attacks": [{"prediction": 1 if place < number else 0}]} for place in range(10)]
    before = [{"image_id": "a", "attacks": [{"prediction": 0}]} for _ in range(10)]
    pairs = list(zip(before, now, strict=True))
    values = compare_records(pairs, {"attacks": ["attacked pgd"]}, "fp32", same=same)
    assert {value.name: value.holds for value in values}["attacked pgd prediction"] is holds


@pytest.mark.parametrize(
    ("parts", "used", "state", "text"),
    [
        ({0: ["a", "b"], 1: ["c"]}, "abc", "ok", "checksums of 2 parts fit, 3 records"),
        ({0: ["a", "b"]}, "abc", "failed", "expected 3 in 1 part, got 2"),
        ({0: ["a", "b"], 1: ["d"]}, "abc", "failed", "they are of other images than run.json says"),
        ({0: ["a", "b"], 1: ["d"]}, None, "ok", "checksums of 2 parts fit, 3 records"),
    ],
    ids=["whole", "a part is gone", "other images", "an older run"],
)
def test_records_are_held_to_the_images_of_run_json(parts, used, state, text):
    names = ["a", "b", "c", "d"]
    job = SimpleNamespace(models_count=1, images=SimpleNamespace(image_ids=names))
    known = None if used is None else digest(str(names.index(name)) for name in used)
    check = _of_records({"options": {"images": 3}, "data": {"used": known}}, parts, job)
    assert (check.name, check.state, check.text) == ("records", state, text)
