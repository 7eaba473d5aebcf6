"""Images of any number of channels: how many a network takes, and data sets that have them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from common import error_of
from PIL import Image
from torch import nn

from attnlab.data import load_dataset
from attnlab.data.resizing import read_batch
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.pipelines.replay import replay
from attnlab.records import read_evaluation

#: a file with networks for five channels, for any number, and for three
NET = """
from torch import nn

def build(channels=5, size=(16, 24)):
    network = nn.Sequential(
        nn.Conv2d(channels, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    network.input_size = size
    return network

def colour():
    return build(3)

def flat():
    network = nn.Sequential(nn.Flatten(), nn.Linear(5 * 16 * 24, 3))
    network.input_size = (16, 24)
    return network

def digits(channels=3):
    pool = nn.AdaptiveAvgPool2d(1)
    network = nn.Sequential(nn.Conv2d(channels, 4, 5, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 10))
    network.input_size = (28, 28)
    return network

def grey():
    network = digits(1)
    network.input_size = (64, 64)
    return network
"""


def net(*layers: nn.Module) -> nn.Module:
    network = nn.Sequential(*layers)
    network.input_size = (16, 16)
    return network


class Backwards(nn.Module):
    """A network whose last convolution is registered first."""

    input_size = (16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first, self.head = nn.Conv2d(7, 4, 1), nn.Conv2d(2, 7, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.last(self.first(x)).mean((2, 3)))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images of five channels, of both kinds of file, and networks for them."""
    root = tmp_path / "data"
    root.mkdir()
    draw = np.random.default_rng(1)
    rows = ["image,label,x0,y0,x1,y1"]
    for number in range(6):
        pixels = draw.integers(0, 256, (20, 30, 5), dtype=np.uint8)
        name = f"{number}.{'tif' if number % 2 else 'npy'}"
        if number % 2:
            tifffile.imwrite(root / name, pixels, photometric="minisblack", planarconfig="contig")
        else:
            np.save(root / name, pixels)
        rows.append(f"{name},{number % 3},2,3,20,15")
    (root / "boxes.csv").write_text("\n".join(rows))
    (root / "net.py").write_text(NET)
    return root


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (net(nn.Conv2d(5, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), 5),
        (net(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), 3),
        (net(nn.Flatten(), nn.Linear(256, 3)), 1),
        (net(nn.Flatten(), nn.Linear(768, 3)), 3),
        (Backwards(), 2),
    ],
    ids=["convolution", "folded", "grey", "colour", "registered backwards"],
)
def test_the_number_of_channels_is_what_the_network_takes(network, channels):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    flags = [module.training for module in network.modules()]
    assert Classifier(network).channels == channels
    assert [module.training for module in network.modules()] == flags
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


def test_a_stated_number_is_for_networks_that_do_not_say_it_and_refused_where_they_say_another():
    flat = net(nn.Flatten(), nn.Linear(7 * 256, 3))
    classifier = Classifier(flat, channels=7)
    assert (classifier.channels, classifier.stated) == (7, {"channels": 7})
    assert error_of(lambda: Classifier(Backwards(), channels=4)).startswith(
        "expected --channels 2, as the network takes, got 4"
    )
    flat.input_size = (7, 16, 16)
    assert Classifier(flat).channels == 7


def test_the_command_says_how_to_state_it(attnlab, folder):
    words = ("evaluate", "--data", "folder", "--root", folder, "--model", f"{folder}/net.py:flat", "--weights", "none")
    words += ("--workers", 0, "--attacks", "clean,fgsm")
    assert attnlab(*words).error.endswith("--channels another number of channels")
    assert attnlab(*words, "--channels", 5, "--out", "out").code == 0
    assert json.loads(Path("out/run.json").read_text())["model"]["net.py:flat"]["channels"] == 5
    assert attnlab(*words, "--channels", 0).code == 2


def test_a_network_of_timm_is_built_for_the_stated_number(tmp_path):
    pytest.importorskip("timm", reason="needs the extra timm")
    name = "timm:test_byobnet"
    assert "--mean and --std say others" in error_of(lambda: load_model(name, "none", channels=5))
    classifier = load_model(name, "none", channels=5, mean=0.5, std=0.25)
    assert (classifier.channels, next(classifier.network.parameters()).shape[1]) == (5, 5)
    save_checkpoint(classifier, tmp_path / "saved", name)
    again = load_model(str(tmp_path / "saved"))
    assert again.channels == 5
    assert again.fingerprint() == classifier.fingerprint()


# ------------------------------------------------------------------ a data set, and what is made of it


def test_all_images_have_as_many_channels_as_the_first_and_others_are_left_out(folder):
    Image.new("RGB", (30, 20)).save(folder / "x.png")
    with (folder / "boxes.csv").open("a") as table:
        table.write("\nx.png,1,,,,\n")
    images = load_dataset("folder", folder)
    assert images.channels == 5
    batch = read_batch(images, (16, 24), range(7))
    assert batch.pixels.shape == (6, 5, 16, 24)
    assert batch.skipped[0].reason == "3 channels, where the data set has 5"


def test_an_analysis_of_five_channels_says_in_pages_and_figures_which_three_it_shows(attnlab, folder):
    words = ("--data", "folder", "--root", folder, "--model", f"{folder}/net.py:build", "--weights", "none")
    done = attnlab("analyze", *words, "--method", "grad-cam,lime", "--lime-samples", 20, "--workers", 0, "--out", "out")
    assert done.code == 0, done.err
    (view, *_) = replay("out", trust_code=True)
    assert view.clean.shape == (16, 24, 5)
    assert attnlab("report", "out", "--trust-code").code == 0
    shown = "Images show the first three of 5 channels, as red, green and blue."
    assert shown in Path("out/report.html").read_text()
    named = ("--images", view.record["image_id"], "--trust-code")
    drawn = attnlab("figures", "out", "--only", "figure1", *named)
    assert (drawn.code, Path("out/figures/figure1.txt").exists()) == (0, True), drawn.err
    assert Path("out/figures/figure1.txt").read_text().strip().endswith(shown)
    assert attnlab("figures", "out", "--only", "figure1", "--overlays", *named).code == 0


def test_attacked_images_of_five_channels_are_kept_as_arrays_that_the_folder_reads_again(attnlab, folder):
    words = ("--data", "folder", "--root", folder, "--model", f"{folder}/net.py:build", "--weights", "none")
    assert attnlab("attack", *words, "--attack", "fgsm", "--workers", 0, "--out", "out").code == 0
    pixels = np.load(next(Path("out/images").glob("0*.npy")))
    exact = np.load(next(Path("out/arrays").glob("0*.npy")))
    assert (pixels.shape, pixels.dtype) == ((16, 24, 5), np.uint8)
    assert np.abs(np.moveaxis(exact, 0, -1) * 255 - pixels).max() <= 1


def test_a_model_of_another_number_of_channels_is_refused(attnlab, folder):
    words = ("evaluate", "--data", "folder", "--root", folder, "--model", f"{folder}/net.py:colour")
    message = "expected a model of 5 channels for folder, got net.py:colour, one of 3; name another with --model"
    assert attnlab(*words, "--weights", "none").error == message


# ------------------------------------------------------------------ grey images in colour, colour ones in grey


def test_grey_images_are_shown_to_a_colour_network_where_the_user_says_so(attnlab, place, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    words = ("--data", "mnist", "--root", place, "--model", f"{tmp_path}/net.py:digits", "--weights", "none")
    command = ("analyze", *words, "--split", "train", "--limit", 5, "--workers", 0, "--out", "out")
    assert attnlab(*command).error == (
        "expected a model of 1 channel for mnist, got one of 3; name another with --model, or show it the images in "
        "colour with --channels 3"
    )
    assert attnlab(*command, "--channels", 3).code == 0
    images = load_dataset("mnist", place, "train")
    for index, view in enumerate(replay("out", trust_code=True)):
        grey = np.asarray(images.read(index).image) / np.float32(255)
        np.testing.assert_array_equal(view.clean, np.repeat(grey[..., None], 3, 2))


def test_a_training_with_stated_channels_keeps_them_in_its_checkpoint(attnlab, place, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    words = ("--data", "mnist", "--root", place, "--model", f"{tmp_path}/net.py:digits", "--weights", "none")
    done = attnlab(
        "train", *words, "--channels", 3, "--defense", "none", "--epochs", 1, "--held-out", 10, "--batch-size", 10,
        "--out", "out",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert load_model("out", trust_code=True).stated == {"channels": 3}
    words = ("--data", "mnist", "--root", place, "--split", "train", "--model", "out", "--trust-code")
    assert attnlab("evaluate", *words, "--attacks", "clean", "--limit", 5, "--out", "e").code == 0
    assert len(read_evaluation(Path("e"))) == 5


def test_colour_images_are_shown_to_a_grey_network_by_their_luminance(tmp_path):
    from attnlab.pipelines.checks import fitted, seen_by

    (tmp_path / "net.py").write_text(NET)
    images = load_dataset("scenes")
    classifier = load_model(f"{tmp_path}/net.py:grey", "none", channels=1)
    shown = seen_by(images, classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted(classifier, shown) is classifier
    assert (shown.channels, shown.name, len(shown.image_ids)) == (1, "scenes", 500)
    colours = np.asarray(images.read(0).image).astype(float)
    luminance = colours @ [0.299, 0.587, 0.114]
    assert np.abs(np.asarray(shown.read(0).image) - luminance).max() <= 1
    assert seen_by(images, load_model("resnet8")) is images
