"""What `benchmarks.terms` prints of a checkpoint, against gradients of losses put together by hand."""

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

from attnlab.attacks import Attack
from attnlab.attacks.pgd import perturb
from attnlab.attention.gradcam import grad_cam
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.models import Classifier, load_model
from attnlab.training.images import hold_out
from attnlab.training.losses import hide
from benchmarks.terms import left, main


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the training that several tests look at is kept, once one of them has made it."""
    return tmp_path_factory.mktemp("trained") / "out"


@pytest.fixture
def trained(attnlab, kept) -> None:
    """A finished training in the folder `out`."""
    if not kept.exists():
        assert attnlab("train", "--smoke", "--out", kept).code == 0
    shutil.copytree(kept, "out")


def rows_of(images: int) -> dict[str, list[str]]:
    shown = CliRunner().invoke(main, ["out", "--images", str(images)], catch_exceptions=False).output
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| L")]
    return {name: values for name, *values in rows}


def by_hand(classifier: Classifier, images: Tensor, attacked: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The losses, every map of which has an area."""

    def distance(fill: float) -> Tensor:
        total = torch.zeros(len(images))
        for seen in (images, attacked):
            masked = hide(seen, grad_cam(classifier, seen, labels), fill)
            total = total + (classifier(seen).softmax(1) - classifier(masked).softmax(1)).norm(dim=1)
        return total.mean()

    def cells(seen: Tensor) -> Tensor:
        maps = torch.einsum("kc,nchw->nkhw", classifier.head_weight(), features(seen))
        maps = maps[torch.arange(len(seen)), labels].relu()
        return maps / maps.amax((1, 2), keepdim=True)

    def features(seen: Tensor) -> Tensor:
        network = classifier.network
        x = F.relu(network.norm(network.stem(classifier.normalise(seen))))
        return network.stage3(network.stage2(network.stage1(x)))

    return {
        "L_c": F.cross_entropy(classifier(attacked), labels),
        "L_r, black": -distance(0.0),
        "L_r, grey": -distance(0.5),
        "L_p": (cells(images) - cells(attacked)).abs().mean(),
    }


def test_the_rows_are_of_the_gradients_of_the_terms_equations(trained):
    path = Path("out/training.json")
    options = json.loads(path.read_text())["options"]
    data = load_dataset("scenes", split="train")
    _, held = hold_out(data, 8, 0, None)
    path.write_text(json.dumps({"options": options | {"held_out": 8}}))  # two batches of four
    rows = rows_of(8)

    classifier = load_model("out").eval()
    prepared = ResizedDataset(data, classifier.input_size)
    attack = Attack(eps=options["eps"], steps=1, step_size=options["step_size"], random_start=True)
    draw = torch.Generator().manual_seed(0)
    found: dict[str, list[tuple[float, Tensor]]] = {name: [] for name in rows}
    for batch in (held[:4], held[4:]):
        images = torch.stack([prepared[index].pixels for index in batch]).float() / 255
        labels = torch.tensor([prepared[index].label for index in batch])
        attacked = perturb(classifier, images, labels, attack, seeds=torch.rand(images.shape, generator=draw))
        for name, value in by_hand(classifier, images, attacked, labels).items():
            parts = torch.autograd.grad(value, list(classifier.parameters()), materialize_grads=True)
            found[name].append((value.item(), torch.cat([part.flatten() for part in parts])))
    main_ = (found["L_c"][0][1] + found["L_c"][1][1]) / 2
    noise = (found["L_c"][0][1] - found["L_c"][1][1]).norm() / 2**0.5  # a standard deviation of two values
    for name, (first, second) in found.items():
        mean = (first[1] + second[1]) / 2
        length = mean.norm() / main_.norm()
        cosine = torch.dot(mean, main_) / mean.norm() / main_.norm()
        expected = [(first[0] + second[0]) / 2, length, mean.norm() / noise, cosine, 1 / length]
        message = [float(cell) for cell in rows[name]]
        assert message == pytest.approx([float(value) for value in expected], rel=0.01, abs=6e-3), name


def test_dropout_makes_maps_of_one_image_differ(train, place):
    assert train("--model", "lenet").code == 0
    words = ["out", "--root", str(place)]
    still, moving = (CliRunner().invoke(main, [*words, *more], catch_exceptions=False) for more in ([], ["--dropout"]))
    assert "L_p, noise" not in still.output
    (row,) = (line.strip("| ").split(" | ") for line in moving.output.splitlines() if line.startswith("| L_p, noise"))
    # two draws of maps that are scaled to a largest value of 1, the mean over all cells: as large as L_p itself
    assert 0.02 < float(row[1]) < 0.5
    again = CliRunner().invoke(main, [*words, "--dropout"], catch_exceptions=False)
    assert again.output == moving.output


def test_what_bfloat16_leaves_of_the_terms_is_all_but_rounding(trained, monkeypatch):

    def shares() -> list[float]:
        shown = CliRunner().invoke(main, ["out", "--images", "4"], catch_exceptions=False).output
        found = re.fullmatch(
            r"of what both at 0.01 add to the gradient, bfloat16 leaves (\S+) \(cosine (\S+), of one batch (\S+)\)",
            shown.splitlines()[-1],
        )
        return [float(share) for share in found.groups()]

    share, cosine, of_a_batch = shares()
    assert 0 < cosine == of_a_batch < 1  # there is one batch
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # else a CPU's substitute rounds more: cosine .17, share .28
        assert cosine > 0.5
        assert 0.5 < share < 1.5
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_options: nullcontext())
    assert shares() == [1, 1, 1]


def test_what_rounding_leaves_by_hand():
    exact, rounded = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.5, 0.5], [0.5, -0.5]])
    assert left(exact, rounded) == pytest.approx((0.5, 1, 0.5**0.5))
    assert left(rounded, exact)[0] == pytest.approx(2)


def test_a_single_batch_has_no_noise_and_a_folder_without_a_training_is_one_line(trained):
    assert [values[2] for values in rows_of(4).values()] == ["-"] * 4
    refused = CliRunner().invoke(main, ["out/last"])
    assert refused.exit_code == 1
    assert refused.output == "Error: expected the folder of a training, got out/last: it has no training.json\n"
