"""Runs of which nothing can come are errors, not numbers of nothing; images that are gone are named, and counted."""

from pathlib import PureWindowsPath

import pytest
from common import analyze_images, error_of
from PIL import Image

from attnlab.attacks import Attack
from attnlab.attacks.parse import parse_attack
from attnlab.attention.lime import LimeSettings
from attnlab.config import AnalyzeConfig, EvaluateConfig
from attnlab.config.analyze import LimeOptions
from attnlab.data import load_dataset
from attnlab.data.sampling import choose
from attnlab.files import file_of
from attnlab.pipelines.checks import check_passes
from attnlab.pipelines.lime_stage import lime_settings

HUGE = 10**5000


def samples(text: str) -> LimeSettings:
    return lime_settings(LimeOptions(samples=text))


@pytest.fixture
def photos(tmp_path):
    """Five scenes as files with boxes, and the words that name them and a model."""
    folder = tmp_path / "photos"
    folder.mkdir()
    scenes = load_dataset("scenes")
    rows = "image,label,x0,y0,x1,y1\n"
    for number in range(5):
        image, label, _ = scenes.read(number)
        image.save(folder / f"{number}.png")
        rows += f"{number}.png,{label},5,5,40,40\n"
    (folder / "boxes.csv").write_text(rows)
    return folder


@pytest.fixture
def words(photos):
    return ("--data", "folder", "--root", photos, "--model", "resnet8", "--workers", 0, "--device", "cpu")


@pytest.mark.parametrize(
    "command", [("analyze",), ("evaluate", "--attacks", "clean"), ("attack", "--attack", "fgsm"), ("train",)]
)
def test_a_command_whose_images_are_all_unusable_fails_with_the_commonest_reason(attnlab, photos, words, command):
    for number in range(5):
        (photos / f"{number}.png").write_bytes(b"no image" if number else b"")
    more = ("--held-out", 2, "--batch-size", 2, "--epochs", 1) if command[0] == "train" else ()
    message = attnlab(*command, *words, *more, "--out", "out")
    error = message.err.splitlines()[-1]
    assert (message.code, error.startswith("Error: none of the ")) == (1, True)
    assert "no image that Pillow can read" in error
    if command[0] != "train":
        assert "none of the 5 images can be used, 4 of them: no image that Pillow can read; out/skipped.csv" in error


def test_a_command_whose_images_are_all_without_a_row_fails(attnlab, photos, words):
    (photos / "boxes.csv").write_text("image,label,x0,y0,x1,y1\n")
    assert "none of the 5 images can be used: no row in boxes.csv" in attnlab("analyze", *words, "--out", "out").error


@pytest.mark.parametrize("command", [("analyze",), ("evaluate", "--attacks", "clean")])
def test_a_command_tells_once_of_transparency_and_of_boxes_beyond_the_frame(attnlab, photos, words, command):
    picture = Image.open(photos / "1.png").convert("RGBA")
    picture.putalpha(0)
    picture.save(photos / "1.png")
    table = photos / "boxes.csv"
    table.write_text(table.read_text().replace("5,5,40,40", "5,5,90,40", 1))
    warned = [line for line in attnlab(*command, *words, "--out", "out").err.splitlines() if "of 5 images with" in line]
    assert sorted(warned) == [
        "Warning: 1 of 5 images with a box that reaches beyond the frame, clipped to it: 0.png",
        "Warning: 1 of 5 images with transparent parts, shown over white: 1.png",
    ]


@pytest.fixture
def gone(attnlab, photos, words):
    """A run one of whose images has become unreadable: of the same size, so the data's fingerprint holds."""
    assert attnlab("analyze", *words, "--out", "out").code == 0
    (photos / "2.png").write_bytes(bytes((photos / "2.png").stat().st_size))
    return "1 of 5 images of out cannot be read any more and are left out: 2.png (no image that Pillow can read)"


def test_a_page_names_an_image_that_is_gone_and_counts_it(attnlab, photos, gone):
    assert gone in attnlab("report", "out", "--device", "cpu").err
    page = (photos.parent / "out" / "report.html").read_text()
    assert "1 of 5 images count above and are not shown here, since their files were not read again: 2.png" in page


def test_overlays_name_an_image_that_is_gone(attnlab, gone):
    message = attnlab("figures", "out", "--overlays", "--device", "cpu")
    assert gone in message.err
    assert "overlays: 8 pictures" in message.out


def test_a_figure_of_an_image_that_is_gone_says_so(attnlab, gone):
    message = attnlab("figures", "out", "--only", "figure1", "--images", "2.png", "--device", "cpu")
    assert "image 2.png cannot be read any more" in message.out + message.err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AnalyzeConfig.of(seed=-1), "expected --seed of at least 0, got -1"),
        (lambda: EvaluateConfig.of(seed=2**63), f"expected --seed of at most {2**63 - 1}, got {2**63}"),
        (lambda: choose(load_dataset("scenes"), 5, stratify=True, seed=-1), "expected --seed of at least 0, got -1"),
        (lambda: choose(load_dataset("scenes"), 0), "expected --limit of at least 1, got 0"),
        (lambda: Attack(steps=2**31), f"expected steps of at most 100000, got {2**31}"),
        (lambda: Attack(steps=HUGE), "expected steps of at most 100000, got a number of more than 20 digits"),
        (lambda: Attack(restarts=2**31, random_start=True), f"expected restarts of at most 10000, got {2**31}"),
        (lambda: LimeSettings(samples=10**30), "expected --lime-samples of at most 1000000, got a number of more than"),
        (lambda: samples("9" * 5000), "expected --lime-samples of at most 1000000, got a number of more than"),
        (lambda: samples("99999999"), "expected --lime-samples of at most 1000000, got 99999999"),
        (lambda: samples("many"), "expected --lime-samples to be a whole number or auto, got 'many'"),
        (lambda: parse_attack("pgd" + "9" * 5000), "expected an attack of "),
        (lambda: parse_attack("pgd99999999"), "expected steps of at most 100000, got 99999999"),
        (lambda: EvaluateConfig.of(sigma=float("inf")), "expected --sigma of at least 0, got inf"),
        (lambda: AnalyzeConfig.of(sigma=float("nan")), "expected --sigma of at least 0, got nan"),
        (lambda: check_passes(10**30, 0), "expected --batch-size of at most 65536"),
        (lambda: check_passes(8, -1), "expected --workers of at least 0, got -1"),
        (lambda: check_passes(8, 2**31), "expected --workers of at most 1024"),
    ],
)
def test_numbers_beyond_sense_are_refused(call, message):
    assert error_of(call).startswith(message)


def test_a_limit_beyond_the_images_takes_all():
    assert len(choose(load_dataset("scenes"), 10**30)) == 500


@pytest.mark.parametrize(
    "options",
    [
        ("--seed", -1, "--stratify", "--limit", 4),
        ("--attack", "pgd", "--steps", 2**31),
        ("--attack", "pgd", "--restarts", 10**30),
        ("--method", "lime", "--lime-samples", 10**30),
        ("--workers", 10**30, "--limit", 4),
        ("--batch-size", 10**30, "--limit", 4),
    ],
)
def test_the_command_refuses_them_in_one_line(attnlab, options):
    assert attnlab("analyze", "--device", "cpu", "--out", "out", *options).error.startswith("expected --")


class Twice:
    """Scenes that give two images one id."""

    def __init__(self):
        self.scenes = load_dataset("scenes")

    def __getattr__(self, name):
        return getattr(self.scenes, name)

    @property
    def image_ids(self):
        return ["same", "same", "other"]


def test_a_data_set_of_ones_own_that_repeats_an_id_is_refused(resnet8, tmp_path):
    message = error_of(lambda: analyze_images(resnet8, Twice(), tmp_path / "run"))
    assert message == "expected every image of scenes to have an id of its own, got 'same' for 2 images"
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_too_long_for_its_arrays_file_is_shortened_and_stays_its_own(tmp_path):
    first, second = (file_of(tmp_path, "n" * 250 + ending, ".npy") for ending in ("a", "b"))
    assert first != second
    for path in (first, second):
        path.touch()  # raises where a name is too long
    assert file_of(tmp_path, "ä/é.png", ".npy") == tmp_path / "ä" / "é.png.npy"
    assert len(file_of(tmp_path, "é" * 126, "-adversarial.png").name.encode()) <= 255


@pytest.mark.parametrize(
    "image_id",
    ["a:b.png", "12?.png", "CON.png", "aux", "con .tar.gz", "lpt1.x", "end.", "a|b/c.png", "C:\\x", "tab\t", "d./e"],
)
def test_names_that_windows_does_not_allow_are_others_there_and_kept_apart(image_id, tmp_path, monkeypatch):
    assert file_of(tmp_path, image_id, ".png") == tmp_path / f"{image_id}.png"
    monkeypatch.setattr("attnlab.files.WINDOWS", True)
    path = file_of(tmp_path, image_id, ".png")
    for part in path.relative_to(tmp_path).parts:
        assert not set(part) & set('<>:"/\\|?*\t')
        assert part[-1] not in ". "
        assert not PureWindowsPath(part).is_reserved()
    assert path != file_of(tmp_path, image_id.swapcase(), ".png")
    assert file_of(tmp_path, "n1/console.com1.png", ".png") == tmp_path / "n1" / "console.com1.png.png"
