"""The training loop: against plain loops, cut short and gone on with, in two processes, and when things go wrong."""

import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from attnlab.attacks.pgd import Attack, perturb
from attnlab.errors import UserError
from attnlab.models import Classifier, load_model
from attnlab.models.checkpoint import WEIGHTS, trained_as
from attnlab.seeds import seed_of
from attnlab.training import trainer
from attnlab.training.distributed import World, world
from attnlab.training.images import Resident, order_of
from attnlab.training.log import read_log
from attnlab.training.parse import parse_defense
from attnlab.training.plan import PLANS, Plan, plan_for
from attnlab.training.schedule import learning_rate, optimizer_of
from attnlab.training.state import FILE, Progress, load_state
from attnlab.training.trainer import Training
from attnlab.training.validate import validate

#: a file with networks of the users' own: one with all that is random or has a memory, one with nothing of it
NETWORKS = """
from torch import nn

class Net(nn.Module):
    input_size = (10, 10)
    attention_layer = "relu"

    def __init__(self, plain, classes=3):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, 2)
        self.norm = nn.Identity() if plain else nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3)
        self.relu = nn.ReLU()
        self.dropout = nn.Identity() if plain else nn.Dropout(0.3)
        self.last = nn.Linear(6, classes)

    def forward(self, x):
        x = self.relu(self.second(self.norm(self.first(x)).relu()))
        return self.last(self.dropout(x.mean((2, 3))))

def build():
    return Net(plain=False)

def plain():
    return Net(plain=True)
"""
PLAN = Plan(
    "net",
    epochs=3,
    batch_size=4,
    learning_rate=0.02,
    eps=8 / 255,
    step_size=4 / 255,
    steps=2,
    schedule="one-cycle",
    ramp=1,
    augment="crop-flip",
    weight_decay=1e-2,
)
STEPS = 5


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "net.py"
    path.write_text(NETWORKS)
    return path


def noise(count: int, seed: int) -> Resident:
    """Images whose labels show in their brightness, so that something can be learnt."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 100, (count, 3, 10, 10), generator=draw) + 70 * labels[:, None, None, None]
    return Resident(pixels.to(torch.uint8), labels)


def training(networks: Path, folder: Path, *, build: str = "build", defense: str = "aad", **options: Any) -> Training:
    """A training of 5 steps an epoch (22 images in batches of 4) that validates on 7 images."""
    names = {"plan": PLAN, "images": noise(22, 0), "held_out": noise(7, 1), "seed": 3} | options
    model = f"{networks}:{build}"
    classifier = load_model(model, "none", seed=1)
    return Training(classifier, model, defense, parse_defense(defense, alpha=0.1, beta=0.1), folder=folder, **names)


def weights_of(classifier: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in classifier.network.state_dict().items()}


def assert_same_weights(first: Training, second: Training) -> None:
    mine, theirs = weights_of(first.classifier), weights_of(second.classifier)
    assert {name for name in mine if not torch.equal(mine[name], theirs[name])} == set()


def during(training: Training, call: int, act: Callable[[], None]) -> None:
    """Do something in the middle of the network's n-th pass."""
    passes = iter(range(10**9))
    training.classifier.network.second.register_forward_hook(
        lambda *_: act() if next(passes) == call else None  # returns nothing, so changes no output
    )


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def die() -> None:
    raise RuntimeError("killed")


# ------------------------------------------------------------------ what a training is


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_without_defence_equals_a_plain_loop_of_torch(networks, tmp_path, optimizer):
    plan = replace(PLAN, optimizer=optimizer, augment="none", schedule="decay")
    ours = training(networks, tmp_path, build="plain", defense="none", plan=plan)
    model = load_model(ours.model, "none", seed=1).train()
    kinds = {
        "adam": lambda parameters: torch.optim.AdamW(parameters, 0.02, weight_decay=1e-2),
        "sgd": lambda parameters: torch.optim.SGD(parameters, 0.02, 0.9, weight_decay=1e-2, nesterov=True),
    }
    theirs = kinds[optimizer](model.parameters())
    for epoch in range(3):
        theirs.param_groups[0]["lr"] = [0.02, 0.02, 0.02 * 0.94][epoch]
        for rows in torch.tensor(order_of(22, 3, epoch))[:20].split(4):
            loss = F.cross_entropy(model(ours.images.pixels[rows].float() / 255), ours.images.labels[rows])
            theirs.zero_grad()
            loss.backward()
            theirs.step()
    ours.run()
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(ours.classifier.network.state_dict()[name], value)


def test_every_step_attacks_the_model_in_eval_mode_from_a_new_start_with_a_ramped_budget(
    networks, tmp_path, monkeypatch
):
    seen = []

    def watched(classifier: Classifier, images: Tensor, labels: Tensor, attack: Attack, **options: Any) -> Tensor:
        made = perturb(classifier, images, labels, attack, **options)
        seen.append((attack, made - images))
        return made

    monkeypatch.setattr(trainer, "perturb", watched)
    plan = replace(PLAN, epochs=2, ramp=0.8)  # over four of five steps
    ours = training(networks, tmp_path, defense="madry", plan=plan)
    ours.run()
    assert [attack.eps / PLAN.eps for attack, _ in seen] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1])
    assert [attack.step_size / PLAN.step_size for attack, _ in seen[:3]] == pytest.approx([0, 0.25, 0.5])
    assert all(attack.random_start and attack.steps == 2 for attack, _ in seen)
    for attack, moved in seen:
        assert moved.abs().max() <= attack.eps + 1e-6
    assert not torch.equal(seen[-1][1], seen[-2][1])


@pytest.mark.parametrize("ramp", [0, 1, 2])
def test_the_ramp_grows_from_nothing_to_the_full_budget(networks, tmp_path, ramp):
    ours = training(networks, tmp_path, plan=replace(PLAN, ramp=ramp))
    shares = [ours.attack(epochs).eps / PLAN.eps for epochs in (0, 0.5, 1, 1.5, 2, 3)]
    assert shares == pytest.approx({0: [1] * 6, 1: [0, 0.5, 1, 1, 1, 1], 2: [0, 0.25, 0.5, 0.75, 1, 1]}[ramp])


def test_learning_rates_by_hand():
    def rates(schedule: str, epochs: int, steps: int) -> list[float]:
        plan = replace(PLAN, schedule=schedule, epochs=epochs, learning_rate=1.0)
        return [learning_rate(plan, step, steps) for step in range(epochs * steps)]

    assert rates("constant", 2, 2) == [1, 1, 1, 1]
    assert rates("decay", 5, 2) == pytest.approx([1, 1, 1, 1, 0.94, 0.94, 0.94, 0.94, 0.8836, 0.8836])
    # (1 - cos(pi p)) / 2 with p = 1/6, 1/2, 5/6 on the way up, 13/14, 11/14, ..., 1/14 on the way down
    down = [0.98746, 0.89092, 0.71694, 0.5, 0.28306, 0.10908, 0.01254]
    assert rates("one-cycle", 1, 10) == pytest.approx([0.06699, 0.5, 0.93301, *down], abs=1e-5)
    assert rates("one-cycle", 2, 5) == rates("one-cycle", 1, 10)


def test_a_log_line_holds_the_means_of_its_steps_and_a_line_an_epoch_the_held_out_accuracies(
    networks, tmp_path, monkeypatch
):
    training(networks, tmp_path / "fine").run()
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    training(networks, tmp_path / "each").run(told.append)
    each, lines = read_log(tmp_path / "each" / "log.jsonl"), read_log(tmp_path / "fine" / "log.jsonl")
    assert told == each
    assert [(line["epoch"], line.get("step")) for line in lines] == [(n, s) for n in (1, 2, 3) for s in (5, None)]
    assert set(lines[0]) > {"adversarial", "rectification", "preservation", "without_area", "adversarial_accuracy"}
    for epoch in (1, 2, 3):
        (line,) = (line for line in lines if line["epoch"] == epoch and "step" in line)
        steps = [line for line in each if line["epoch"] == epoch and "step" in line]
        assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
        for name in set(line) - {"epoch", "step", "of"}:
            assert line[name] == pytest.approx(sum(step[name] for step in steps) / 5)


def test_a_training_leaves_the_global_generator_and_the_models_modes_as_they_were(networks, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    handler = signal.getsignal(signal.SIGINT)
    ours = training(networks, tmp_path, plan=replace(PLAN, epochs=1))
    ours.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in ours.classifier.modules())
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_global_generator_plays_no_part_and_the_seed_does(networks, tmp_path):
    torch.manual_seed(1)
    first = training(networks, tmp_path / "first")
    first.run()
    torch.manual_seed(2)
    second = training(networks, tmp_path / "second")
    second.run()
    assert_same_weights(first, second)
    other = training(networks, tmp_path / "other", seed=4)
    other.run()
    assert not torch.equal(weights_of(other.classifier)["last.weight"], weights_of(first.classifier)["last.weight"])


def test_parameters_that_their_author_froze_stay_as_they_are(networks, tmp_path):
    ours = training(networks, tmp_path)
    ours.classifier.network.first.requires_grad_(False)
    before = weights_of(ours.classifier)
    ours.run()
    after = weights_of(ours.classifier)
    assert torch.equal(after["first.weight"], before["first.weight"])
    assert not torch.equal(after["second.weight"], before["second.weight"])
    ours.classifier.requires_grad_(False)
    with pytest.raises(UserError, match="expected a model with parameters to train"):
        optimizer_of(ours.classifier, PLAN)


def test_bf16_passes_train_float32_weights_close_to_those_of_float32(networks, tmp_path):
    exact, rounded = (training(networks, tmp_path / str(bf16), bf16=bf16) for bf16 in (False, True))
    exact.run()
    rounded.run()
    assert {value.dtype for value in rounded.classifier.parameters()} == {torch.float32}
    ours, theirs = (weights_of(each.classifier)["last.weight"] for each in (rounded, exact))
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).norm() < 0.5 * theirs.norm()


def test_memory_does_not_grow_from_step_to_step(networks, tmp_path, monkeypatch):
    counts = []

    def count(line: dict[str, Any]) -> None:
        if "step" in line:
            counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))

    monkeypatch.setattr(trainer, "LOG_EVERY", 2)
    gc.collect()
    gc.disable()  # what a collection would have to find is a leak too
    try:
        training(networks, tmp_path, images=noise(160, 0), plan=replace(PLAN, epochs=1)).run(count)
    finally:
        gc.enable()
    assert len(counts) == 20
    assert len(set(counts[1:])) == 1


# ------------------------------------------------------------------ validation and checkpoints


def test_validation_sees_every_held_out_image_whatever_the_batch(networks, tmp_path):
    ours = training(networks, tmp_path)
    ours.run()
    classifier, held, attack = (
        ours.classifier,
        noise(13, 2),
        Attack(eps=0.1, steps=3, step_size=0.05, random_start=True),
    )
    right = {"clean": 0, "robust": 0}
    for place in range(13):
        image, label = held.pixels[[place]].float() / 255, held.labels[[place]]
        made = perturb(classifier, image, label, attack, seeds=[seed_of(3, f"held out {place}") % 2**63])
        with torch.no_grad():
            right["clean"] += int(classifier(image).argmax() == label)
            right["robust"] += int(classifier(made).argmax() == label)
    assert 0 < right["robust"] < right["clean"]
    for size in (1, 4, 13, 50):
        figures = validate(classifier, held, attack, size, World(), 3)
        assert figures == pytest.approx({name: 100 * value / 13 for name, value in right.items()})


def judged(monkeypatch: pytest.MonkeyPatch, *figures: tuple[float, float]) -> None:
    """Let validations find clean and robust accuracy as given."""
    answers = iter(figures)
    monkeypatch.setattr(trainer, "validate", lambda *_: dict(zip(("clean", "robust"), next(answers), strict=True)))


@pytest.mark.parametrize(("defense", "best"), [("madry", 2), ("alp+aad", 2), ("none+aad", 2), ("none", 1)])
def test_the_folder_is_the_best_epochs_checkpoint_and_last_is_the_last(networks, tmp_path, monkeypatch, defense, best):
    judged(monkeypatch, (60, 10), (50, 30), (60, 30))  # of equals the first
    training(networks, tmp_path, defense=defense, snapshots=True).run()
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["001", "002", "003"]
    for folder, epoch in ((tmp_path, best), (tmp_path / "last", 3)):
        mine, theirs = load_file(folder / WEIGHTS), load_file(tmp_path / "epochs" / f"{epoch:03d}" / WEIGHTS)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_load_model_gives_back_the_trained_model_with_its_layer_and_its_defence(networks, tmp_path):
    ours = training(networks, tmp_path, defense="alp+aad")
    ours.run()
    again = load_model(str(tmp_path / "last"))
    images = torch.rand(4, 3, 10, 10)
    assert torch.equal(again(images), ours.classifier(images))
    assert again.attention_layer == "relu"
    assert trained_as(str(tmp_path)) == {"network": f"{networks}:build", "defense": "alp+aad"}


def test_without_snapshots_none_are_kept(networks, tmp_path):
    training(networks, tmp_path, plan=replace(PLAN, epochs=1)).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last", "log.jsonl", "model.json", "state.safetensors", "weights.safetensors"
    ]  # fmt: skip


# ------------------------------------------------------------------ cut short

#: passes of an epoch through the network: two of the attack, of all images and of masked ones, a step; six to validate
PASSES = 4 * STEPS + 2 * (2 + 2)


@pytest.fixture(scope="module", params=["adam", "sgd"])
def whole(request, networks, tmp_path_factory) -> Training:
    """A training that nothing interrupted, of a network with batch norm and dropout."""
    plan = replace(PLAN, optimizer=request.param)
    ours = training(networks, tmp_path_factory.mktemp("whole"), plan=plan)
    counted: list[int] = []
    handle = ours.classifier.network.second.register_forward_hook(lambda *_: counted.append(1))
    ours.run()
    handle.remove()
    assert len(counted) == 3 * PASSES
    return ours


def assert_same_training(ours: Training, whole: Training) -> None:
    assert_same_weights(ours, whole)
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}", FILE):
        assert (ours.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@pytest.mark.parametrize(
    "call",
    [
        0,  # in the first attack
        6,  # in the second step's forward pass, which moves running statistics
        4 * STEPS - 1,  # in an epoch's last step
        4 * STEPS + 3,  # in its validation
        PASSES - 1,
        2 * PASSES + 9,
    ],
)
def test_a_training_that_is_interrupted_and_gone_on_with_equals_an_uninterrupted_one_to_the_bit(
    networks, tmp_path, whole, call
):
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_training_that_is_interrupted_again_and_again_equals_an_uninterrupted_one(networks, tmp_path, whole):
    sessions = 0
    finished = False
    while not finished:
        sessions += 1
        assert sessions < 20
        ours = training(networks, tmp_path, plan=whole.plan)
        during(ours, 4, interrupt)  # two steps a session, or a validation and one
        try:
            ours.run()
            finished = True
        except KeyboardInterrupt:
            pass
    assert sessions > 6
    assert_same_training(ours, whole)


@pytest.mark.parametrize("call", [6, PASSES + 6, PASSES + 4 * STEPS + 2])
def test_a_training_that_is_killed_goes_on_from_its_last_epoch(networks, tmp_path, whole, call):
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, call, die)
    with pytest.raises(RuntimeError, match="killed"):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    optimizer = optimizer_of(second.classifier, whole.plan)
    stands = load_state(tmp_path, second.classifier.network, optimizer)
    assert (stands.epoch, stands.step) == (call // PASSES, 0)
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_training_that_is_killed_behind_a_line_of_the_log_has_that_line_once(networks, tmp_path, whole, line):
    lines = iter(range(100))
    with pytest.raises(RuntimeError, match="killed"):
        training(networks, tmp_path, plan=whole.plan).run(lambda _: die() if next(lines) == line else None)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "st')  # as if it had happened amid a line
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_long_epoch_is_saved_in_between(networks, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_EVERY", -1.0)
    first = training(networks, tmp_path, plan=whole.plan)
    during(first, 4 * 3 + 1, die)
    with pytest.raises(RuntimeError, match="killed"):
        first.run()
    second = training(networks, tmp_path, plan=whole.plan)
    optimizer = optimizer_of(second.classifier, whole.plan)
    assert load_state(tmp_path, second.classifier.network, optimizer).step == 3
    second = training(networks, tmp_path, plan=whole.plan)
    second.run()
    assert_same_training(second, whole)


def test_a_finished_training_is_not_trained_again(networks, tmp_path, whole):
    training(networks, tmp_path, plan=whole.plan).run()
    made = (tmp_path / WEIGHTS).stat().st_mtime_ns
    told: list[dict[str, Any]] = []
    again = training(networks, tmp_path, plan=whole.plan)
    again.run(told.append)
    assert told == []
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == made
    assert_same_training(again, whole)


def test_single_step_and_ensemble_trainings_go_on_to_the_same_weights_too(networks, tmp_path):
    def ensemble(folder: Path) -> Training:
        source = load_model(f"{networks}:plain", "none", seed=9)
        plan = replace(PLAN, augment="resized-crop-flip", schedule="decay")
        return training(networks, folder, defense="ensemble+aad", sources=(source,), plan=plan)

    uninterrupted = ensemble(tmp_path / "whole")
    uninterrupted.run()
    first = ensemble(tmp_path / "parts")
    during(first, 9, interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = ensemble(tmp_path / "parts")
    second.run()
    assert_same_training(second, uninterrupted)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_state_file_cut_short_is_refused_with_a_way_out(networks, tmp_path, whole, keep):
    content = (whole.folder / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:keep])
    with pytest.raises(UserError) as error:
        training(networks, tmp_path, plan=whole.plan).run()
    assert str(error.value).startswith(f"{tmp_path / FILE} is damaged (")
    assert str(error.value).endswith("remove it to start again from the beginning, or choose another --out")


def test_no_state_is_the_beginning(networks, tmp_path):
    ours = training(networks, tmp_path)
    assert load_state(tmp_path, ours.classifier.network, optimizer_of(ours.classifier, PLAN)) == Progress()


# ------------------------------------------------------------------ two processes


def one_of_two(rank: int, port: int, networks: Path, folder: Path) -> None:
    """What torchrun would start: a plain network, one with batch norm and dropout, the latter interrupted as well."""
    torch.set_num_threads(1)
    write = trainer.save_state

    def write_slowly(*of: Any) -> None:
        sleep(0.3)  # as a disk may: the other process must wait until the state is there
        write(*of)

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with world(torch.device("cpu")) as processes:

        def run(name: str, build: str, *, during_second: bool = False) -> None:
            ours = training(networks, folder / name, build=build, world=processes)
            if build == "plain":
                ours.classifier.double()
            if during_second and rank == 1:
                during(ours, PASSES + 9, interrupt)
            trainer.save_state = write_slowly if during_second else write
            try:
                ours.run()
            except KeyboardInterrupt:
                (folder / f"interrupted-{rank}").touch()
            torch.save(weights_of(ours.classifier), folder / f"{name}-{rank}.pt")

        run("plain", "plain")
        run("whole", "build")
        run("parts", "build", during_second=True)
        run("parts", "build")
        with pytest.raises(UserError) as error:
            training(networks, folder / ("whole" if rank == 0 else "elsewhere"), world=processes).run()
        (folder / f"apart-{rank}.txt").write_text(str(error.value))


@pytest.fixture(scope="module")
def two(networks, tmp_path_factory) -> Path:
    """Trainings by two processes, each with half of every batch."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.spawn(one_of_two, (port, networks, folder), nprocs=2)
    return folder


def test_two_processes_with_half_of_each_batch_equal_one_with_the_whole(networks, tmp_path, two):
    alone = training(networks, tmp_path, build="plain")
    alone.classifier.double()
    alone.run()
    for rank in (0, 1):
        theirs = torch.load(two / f"plain-{rank}.pt")
        for name, value in weights_of(alone.classifier).items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-6, atol=1e-9)
    mine, log = read_log(tmp_path / "log.jsonl"), read_log(two / "plain" / "log.jsonl")
    assert len(mine) == len(log) == 6
    for ours, other in zip(mine, log, strict=True):
        assert other == pytest.approx(ours)


def test_two_processes_have_the_same_weights_and_running_statistics_of_the_first(two):
    first, second = (torch.load(two / f"whole-{rank}.pt") for rank in (0, 1))
    assert {name for name in first if not torch.equal(first[name], second[name])} == set()


def test_two_processes_of_which_one_is_interrupted_both_stop_and_go_on_to_the_same_weights(two):
    assert (two / "interrupted-0").exists()
    assert (two / "interrupted-1").exists()
    for rank in (0, 1):
        parts, whole = (torch.load(two / f"{name}-{rank}.pt") for name in ("parts", "whole"))
        assert {name for name in whole if not torch.equal(parts[name], whole[name])} == set()
    for name in ("log.jsonl", WEIGHTS, f"last/{WEIGHTS}", FILE):
        assert (two / "parts" / name).read_bytes() == (two / "whole" / name).read_bytes()


def test_two_processes_that_find_different_trainings_are_both_refused(two):
    for rank, folder in enumerate(("whole", "elsewhere")):
        assert (two / f"apart-{rank}.txt").read_text() == (
            f"expected all processes to find the same training in {two / folder}, got some that stand at another step; "
            "choose an --out that all machines share"
        )


class Activated(nn.BatchNorm2d):
    """A batch norm with an activation inside, as timm has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(("size", "device", "shared"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)])
def test_several_gpus_share_the_statistics_of_plain_batch_norms_and_change_nothing_else(size, device, shared):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(Activated(4), nn.BatchNorm2d(4)))
    parameters, names, images = list(network.parameters()), list(network.state_dict()), torch.rand(5, 3, 6, 6)
    before = [network.train()(images), network.eval()(images)]
    World(0, size, torch.device(device)).share_norms(network)
    assert [type(network[1]), type(network[2][1])] == [nn.SyncBatchNorm if shared else nn.BatchNorm2d] * 2
    assert type(network[2][0]) is Activated
    assert list(network.state_dict()) == names
    assert all(mine is theirs for mine, theirs in zip(network.parameters(), parameters, strict=True))
    assert torch.equal(network(images), before[1])
    assert torch.equal(network.train()(images), before[0])


@pytest.mark.parametrize(
    ("closed", "defense", "shared"),
    [(True, "aad", True), (False, "aad", False), (False, "madry", True)],
)
def test_norms_that_a_map_is_differentiated_through_are_not_shared(
    networks, tmp_path, monkeypatch, closed, defense, shared
):
    asked = []
    monkeypatch.setattr(World, "share_norms", lambda _, network: asked.append(network))
    monkeypatch.setattr(World, "agree", lambda *_: True)
    monkeypatch.setattr(trainer, "DistributedDataParallel", lambda step: step)
    ours = training(networks, tmp_path, defense=defense, world=World(1, 2))
    if not closed:
        ours.classifier.head = None
    trainer.Session(ours, lambda _: None, lambda: False)
    assert asked == ([ours.classifier.network] if shared else [])


# ------------------------------------------------------------------ what goes wrong


class Breaking(nn.Module):
    """A network whose logits are not finite from some pass on."""

    def __init__(self, network: nn.Module, call: int) -> None:
        super().__init__()
        self.network, self.call, self.passes = network, call, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.network(x) * (torch.nan if self.passes > self.call else 1)


@pytest.mark.parametrize(
    ("step", "good"),
    [(3, "there is no checkpoint yet"), (STEPS + 2, "the last good checkpoint is {folder}/last, after epoch 1")],
)
def test_a_term_that_is_not_finite_stops_with_its_step_its_name_and_the_last_good_checkpoint(
    networks, tmp_path, step, good
):
    ours = training(networks, tmp_path, defense="none")
    epoch, number = divmod(step - 1, STEPS)
    validation = 2 * (1 + 2 + 1)  # two batches: the clean images, two steps of the attack, the attacked images
    ours.classifier.network = Breaking(ours.classifier.network, step - 1 + epoch * validation)
    with pytest.raises(UserError) as error:
        ours.run()
    assert str(error.value) == (
        f"the term clean became nan in epoch {epoch + 1}, step {number + 1}; {good.format(folder=tmp_path)}; "
        "a smaller --learning-rate or a longer --ramp may help"
    )
    if epoch:
        assert all(value.isfinite().all() for value in load_file(tmp_path / FILE).values())
        assert all(value.isfinite().all() for value in load_file(tmp_path / "last" / WEIGHTS).values())
    else:
        assert not (tmp_path / FILE).exists()


def test_an_interruption_saves_no_weights_that_are_not_finite(networks, tmp_path):
    ours = training(networks, tmp_path, defense="none")
    during(ours, 3, interrupt)
    ours.classifier.network.forward = lambda x, forward=ours.classifier.network.forward: forward(x) * torch.nan
    with pytest.raises(UserError, match="the term clean became nan in epoch 1, step 1"):
        ours.run()
    assert not (tmp_path / FILE).exists()


def test_fewer_images_than_a_batch_are_refused(networks, tmp_path):
    with pytest.raises(UserError) as error:
        training(networks, tmp_path, images=noise(3, 0)).run()
    assert str(error.value) == "expected at least a batch of 4 training images, got 3; a smaller --batch-size may do"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "expected --epochs of at least 1, got 0"),
        ({"batch_size": -2}, "expected --batch-size of at least 1, got -2"),
        ({"steps": 0}, "expected --steps of at least 1, got 0"),
        ({"learning_rate": 0.0}, "expected --learning-rate above 0, got 0"),
        ({"learning_rate": float("inf")}, "expected --learning-rate above 0, got inf"),
        ({"ramp": -1.0}, "expected --ramp of at least 0 epochs, got -1"),
        ({"eps": 8.0}, "expected --eps in [0, 1], got 8; did you mean 8/255?"),
        ({"step_size": 2.0}, "expected --step-size in [0, 1], got 2; did you mean 2/255?"),
        ({"optimizer": "adamw"}, "expected optimizer to be one of adam, sgd, got 'adamw'; did you mean 'adam'?"),
        ({"schedule": "cosine"}, "expected schedule to be one of constant, one-cycle, decay, got 'cosine'"),
        ({"augment": "flip"}, "expected augmentation to be one of none, crop-flip, resized-crop-flip, got 'flip'"),
    ],
)
def test_a_plan_out_of_range_is_refused(values, message):
    with pytest.raises(UserError) as error:
        replace(PLAN, **values)
    assert str(error.value).startswith(message)


# ------------------------------------------------------------------ plans


def test_the_papers_plans_have_its_values():
    mnist, cifar, imagenet = (plan_for(name, "paper") for name in ("mnist", "cifar10", "imagenet"))
    assert (mnist.model, mnist.batch_size, mnist.learning_rate, mnist.epochs) == ("lenet", 100, 1e-3, 5)
    assert (mnist.eps, mnist.step_size, mnist.steps) == (0.3, 0.01, 40)
    assert (cifar.model, cifar.batch_size, cifar.learning_rate, cifar.epochs) == ("resnet9", 100, 1e-4, 200)
    assert (cifar.eps, cifar.step_size, cifar.steps) == (8 / 255, 2 / 255, 7)
    assert (imagenet.model, imagenet.batch_size, imagenet.learning_rate) == ("resnet50", 128, 0.045)
    assert (imagenet.schedule, imagenet.weights, imagenet.eps) == ("decay", "default", 16 / 255)


def test_unknown_plans_and_data_are_refused():
    assert plan_for("folder") == plan_for("imagenet")
    with pytest.raises(UserError, match="expected --plan for scenes to be one of short, got 'paper'"):
        plan_for("scenes", "paper")
    with pytest.raises(UserError, match=r"expected --data to be one of scenes, .*, got 'mnits'; did you mean 'mnist'"):
        plan_for("mnits")


@pytest.mark.parametrize("plan", [plan for plans in PLANS.values() for plan in plans.values()], ids=str)
def test_a_plan_is_its_own_provenance(plan):
    assert Plan(**json.loads(json.dumps(vars(plan)))) == plan
