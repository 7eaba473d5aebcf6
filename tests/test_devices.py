"""Other devices: torch's meta device, which refuses tensors that lie elsewhere, and a GPU where there is one."""

import random
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from common import analyze_images
from torch import Tensor, nn
from torch.testing import assert_close
from trainings import A_STEP, PASSES, PLAN, during, interrupt, training, weights_of
from twins import IMAGES, load_twins, run_evaluation

from attnlab.attacks import ATTACKS, Attack
from attnlab.attacks.pgd import perturb
from attnlab.attention import map_metrics
from attnlab.attention.gradcam import grad_cam
from attnlab.models import Classifier, load_model
from attnlab.models.bn_folding import folded
from attnlab.records import read_evaluation, read_records
from attnlab.training import DEFENSES, adversary
from attnlab.training.images import DRAWS, augmented
from attnlab.training.log import read_log
from attnlab.training.parse import parse_defense
from attnlab.training.recipes import AUGMENTATIONS
from attnlab.training.step import Step

# ------------------------------------------------------------------ no pass mixes devices


@pytest.fixture
def elsewhere(either, batch) -> tuple:
    """A small network, clean images, images near them, and labels, on the meta device."""
    return either.to("meta"), *(values.to("meta") for values in batch)


def test_the_meta_device_refuses_what_lies_elsewhere():
    with pytest.raises(RuntimeError):
        torch.ones(3, device="meta") + torch.ones(3)


@pytest.mark.parametrize(
    ("name", "sigma"),
    [*((name, None) for name in ATTACKS), *((name, 10.0) for name, attack in ATTACKS.items() if attack.deviates)],
)
def test_attacks_stay_on_the_device(elsewhere, name, sigma):
    classifier, images, _, labels = elsewhere
    attack = replace(ATTACKS[name], eps=0.1, sigma=sigma, steps=min(3, ATTACKS[name].steps))
    assert perturb(classifier, images, labels, attack, seeds=[5, 6, 7, 8]).device.type == "meta"


def test_restarts_stay_on_the_device(elsewhere):
    classifier, images, _, labels = elsewhere
    attack = replace(ATTACKS["pgd"], steps=2, restarts=2)
    assert perturb(classifier, images, labels, attack).device.type == "meta"


def test_maps_and_what_is_read_from_them_stay_on_the_device(elsewhere):
    classifier, images, attacked, labels = elsewhere
    first, second = grad_cam(classifier, images, labels), grad_cam(classifier, attacked, labels)
    enlarged = map_metrics.resize_maps(first, (19, 23))
    made = [
        enlarged,
        map_metrics.normalize_max(first),
        map_metrics.above_mean(enlarged),
        map_metrics.is_constant(first),
    ]
    made += [map_metrics.topk_intersection(first, second), map_metrics.topk_overlap(first, second, 3)]
    assert {values.device.type for values in made} == {"meta"}


@pytest.mark.parametrize("attention", ["", "+aad"])
@pytest.mark.parametrize("name", DEFENSES)
def test_training_steps_stay_on_the_device(elsewhere, monkeypatch, name, attention):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no meta device
    classifier, images, attacked, labels = elsewhere
    step = Step(classifier, parse_defense(name + attention))
    loss = step(images, attacked, labels).loss
    loss.backward()
    assert loss.device.type == "meta"
    assert {weight.grad.device.type for weight in classifier.parameters()} == {"meta"}


@pytest.mark.parametrize("how", AUGMENTATIONS)
def test_augmented_images_stay_on_the_device(how):
    pixels = torch.zeros(4, 3, 10, 10, device="meta")
    assert augmented(pixels, how, torch.rand(4, DRAWS)).device.type == "meta"


# ------------------------------------------------------------------ a GPU gives what the CPU gives


@pytest.fixture
def gpu() -> str:
    """A GPU's name for torch; tests that need one skip where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return "cuda"


def twins_on(device: str, precision: str = "fp32") -> dict[str, Classifier]:
    return {name: classifier.place(device, precision) for name, classifier in load_twins().items()}


def test_an_analysis_on_a_gpu(gpu, tmp_path):
    options = {"method": "grad-cam,lime", "lime_samples": 100, "lime_superpixels": "slic", "workers": 2}
    for device in (gpu, "cpu"):
        classifier = twins_on(device)["first"]
        analyze_images(classifier, IMAGES, tmp_path / device, **options, positions=range(12))
    ours, theirs = read_records(tmp_path / gpu), read_records(tmp_path / "cpu")
    assert (ours["prediction"] == theirs["prediction"]).all()
    for name in ("confidence", "adv_confidence", "iou_att_gt"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-2)
    for mine, other in zip(ours["map"], theirs["map"], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3 * np.abs(other).max())
    for mine, other in zip(ours["lime"], theirs["lime"], strict=True):
        assert (mine is None) == (other is None)  # misclassified images are not explained
        if mine is not None:
            np.testing.assert_allclose(mine["weights"], other["weights"], atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_evaluation_on_a_gpu(gpu, tmp_path, precision):
    for device in (gpu, "cpu"):
        run_evaluation(twins_on(device, precision), tmp_path / device)
    ours, theirs = read_evaluation(tmp_path / gpu), read_evaluation(tmp_path / "cpu")
    clean = ours["attack"] == "clean"
    digits = 1e-3 if precision == "fp32" else 0.5
    np.testing.assert_allclose(ours["margin"][clean], theirs["margin"][clean], atol=digits)
    # a sign that tips near zero moves an attack, and few images with it
    assert (ours["prediction"] == theirs["prediction"]).mean() > 0.9


@pytest.mark.parametrize("defense", ["alp+aad", "trades", "none"])
def test_the_first_step_of_a_training_on_a_gpu(gpu, networks, tmp_path, defense):
    """Without what is drawn on the device, dropout and the attack's start, whose numbers are each device's own."""
    for device in (gpu, "cpu"):
        plan = replace(PLAN, epochs=1, ramp=1000)  # the ball has no size yet
        training(networks, tmp_path / device, device=device, build="plain", defense=defense, plan=plan).run()
    ours, theirs = (read_log(tmp_path / device / "log.jsonl") for device in (gpu, "cpu"))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-2, abs=1e-3)


class Waiting(nn.Module):
    """A network that waits for the GPU in each pass."""

    input_size = (10, 10)

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(300, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images.flatten(1)) * max(1.0, float(images.detach().max()))


class Wavering(Waiting):
    """A network that draws a number on the CPU in each pass."""

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images.flatten(1)) * random.uniform(1, 1.001)


NETWORKS = {"waiting": Waiting, "wavering": Wavering, "generic": lambda: load_model("lenet", "none")}


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("name", ["folded", "compiled", "bf16", "generic", "waiting", "wavering", "large", "unwanted"])
def test_an_attack_that_comes_again_is_recorded_where_it_can_be_and_stays_the_attack(gpu, monkeypatch, name, start):
    network = NETWORKS.get(name, lambda: load_model("resnet8"))()
    classifier = (network if isinstance(network, Classifier) else Classifier(network)).place(gpu)
    if name == "large":
        monkeypatch.setattr(adversary, "SHARE", 0)
    calls = []
    monkeypatch.setattr(adversary, "perturb", lambda *args, **options: calls.append(1) or perturb(*args, **options))
    attacker = adversary.Adversary(classifier, compiled=name == "compiled", cuda_graph=name != "unwanted")
    draw = torch.Generator(gpu).manual_seed(0)
    attack = Attack(eps=0.1, steps=3, step_size=0.03, random_start=start)
    for turn in range(6):
        images, draws = torch.rand(2, 8, classifier.channels, *classifier.input_size, generator=draw, device=gpu)
        labels = torch.randint(classifier.classes, (8,), generator=draw, device=gpu)
        attack = replace(attack, eps=0.05) if turn == 5 else attack
        with torch.autocast("cuda", torch.bfloat16, enabled=name == "bf16"):
            made = attacker(images, labels, attack, draws if start else None).clone()
            with folded(classifier.network, attacker.pairs):
                asked = perturb(classifier, images, labels, attack, seeds=draws)
        # a sign that tips near zero moves a pixel, and moves others with it
        assert ((made - asked).abs() < 1e-6).float().mean() > (0.9 if name in ("compiled", "wavering") else 0.999)
        with torch.no_grad():
            for tensor in (*classifier.parameters(), *classifier.network.buffers()):
                if tensor.is_floating_point():
                    tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=draw, device=gpu))
    # recorded: two warm-ups and a trial, the recording, two replays that call nothing, and a warm-up of another eps
    assert len(calls) == {"unwanted": 6, "waiting": 7, "wavering": 7, "large": 7}.get(name, 5)


@pytest.mark.parametrize("option", ["bf16", "compiled"])
def test_faster_trainings_on_a_gpu_stay_close_to_the_plain_one(gpu, networks, tmp_path, option):
    plain = training(networks, tmp_path / "plain", device=gpu, build="plain")
    faster = training(networks, tmp_path / "faster", device=gpu, build="plain", **{option: True})
    for ours in (plain, faster):
        ours.run()
    ends = [read_log(ours.folder / "log.jsonl")[0] for ours in (faster, plain)]
    assert ends[0] == pytest.approx(ends[1], rel=0.1, abs=0.05)


def test_a_training_on_a_gpu_that_is_interrupted_goes_on(gpu, networks, tmp_path):
    whole = training(networks, tmp_path / "whole", device=gpu)
    whole.run()
    for _ in range(2):
        ours = training(networks, tmp_path / "ours", device=gpu)
        if not (ours.folder / "log.jsonl").exists():
            during(ours, PASSES + A_STEP + 1, interrupt)
        try:
            ours.run()
        except KeyboardInterrupt:
            continue
    assert [line["epoch"] for line in read_log(ours.folder / "log.jsonl")] == [1, 1, 2, 2, 3, 3]
    for name, value in weights_of(whole.classifier).items():
        assert_close(weights_of(ours.classifier)[name], value, rtol=1e-3, atol=1e-4)
