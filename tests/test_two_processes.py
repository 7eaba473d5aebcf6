"""Trainings by several processes."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from processes import prepare
from shared_norms import share_norms_here
from torch import Tensor, nn
from trainings import A_STEP, PASSES, PLAN, during, interrupt, training, weights_of

from attnlab.errors import UserError
from attnlab.models.checkpoint import WEIGHTS
from attnlab.training import trainer
from attnlab.training.checkpointing import FILE
from attnlab.training.distributed import ProcessGroup, world
from attnlab.training.log import read_log
from attnlab.training.trainer import Training

#: defences that are tried with norms that the processes share: with passes of images that norms keep no statistics of
SHARED = ("madry", "aad", "alp+aad", "trades+awp")
#: a plan whose weights are averaged
AVERAGED = replace(PLAN, ema=0.7)


def refuse(rank: int) -> None:
    raise UserError(f"refused by process {rank}")


def one_of_two(rank: int, port: int, networks: Path, folder: Path) -> None:
    """What torchrun would start: a plain network, and one with batch norm and dropout.

    The latter is also interrupted, loses one process's own statistics, and has norms that the processes share.
    """
    torch.set_num_threads(1)
    write = trainer.save_state

    def write_slowly(*of: Any) -> None:
        sleep(0.3)  # as a disk may: the other process must wait until the state is there
        write(*of)

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with world(torch.device("cpu")) as processes:

        def run(
            name: str,
            build: str,
            *,
            exact: bool = False,
            during_second: bool = False,
            spoilt: bool = False,
            **options: Any,
        ) -> None:
            ours = training(networks, folder / name, build=build, world=processes, **options)
            if exact:
                as_exact(ours)
            if during_second and rank == 1:
                during(ours, PASSES + 2 * A_STEP + 1, interrupt)
            trainer.save_state = write_slowly if during_second else write
            try:
                ours.run(
                    on_step=lambda _done: ours.classifier.network.norm.running_var.fill_(torch.inf) if spoilt else None
                )
            except KeyboardInterrupt:
                (folder / f"interrupted-{rank}").touch()
            torch.save(weights_of(ours.classifier), folder / f"{name}-{rank}.pt")

        run("plain", "plain", exact=True)
        run("whole", "build")
        run("parts", "build", during_second=True)
        run("parts", "build")
        trainer.SAVE_EVERY = 0  # after every step
        run("own", "build", spoilt=rank == 1)
        with pytest.raises(UserError) as error:
            training(networks, folder / ("whole" if rank == 0 else "elsewhere"), world=processes).run()
        (folder / f"apart-{rank}.txt").write_text(str(error.value))
        with pytest.raises(UserError) as error:
            processes.on_rank_zero(lambda: refuse(rank))
        (folder / f"refused-{rank}.txt").write_text(str(error.value))
        processes.on_rank_zero(lambda: (folder / f"led-{rank}").touch())
        kernels = share_norms_here()  # from here on
        for defense in SHARED:
            run(f"shared {defense}", "build", exact=True, defense=defense)
            run(f"bf16 {defense}", "build", bf16=True, defense=defense)
        run("shared average", "build", exact=True, defense="madry", plan=AVERAGED)
        del kernels


def as_exact(ours: Training) -> None:
    """Let no draw be a process's own, and rounding not show."""
    ours.classifier.double()
    for module in ours.classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0


@pytest.fixture(scope="module")
def two(networks, tmp_path_factory) -> Path:
    """Trainings by two processes, each with half of every batch."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    prepare()
    mp.start_processes(one_of_two, (port, networks, folder), nprocs=2, start_method="forkserver")
    return folder


@pytest.mark.parametrize(
    ("folder", "build", "defense"),
    [
        ("plain", "plain", "aad"),
        *((f"shared {defense}", "build", defense) for defense in SHARED),
        ("shared average", "build", "madry"),
    ],
)
def test_two_processes_with_half_of_each_batch_equal_one_with_the_whole(
    networks, tmp_path, two, folder, build, defense
):
    alone = training(networks, tmp_path, build=build, defense=defense, plan=AVERAGED if "average" in folder else PLAN)
    as_exact(alone)
    alone.run()
    for rank in (0, 1):
        theirs = torch.load(two / f"{folder}-{rank}.pt")
        for name, value in weights_of(alone.classifier).items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-6, atol=1e-9)
    mine, log = read_log(tmp_path / "log.jsonl"), read_log(two / folder / "log.jsonl")
    assert len(mine) == len(log) == 6
    for ours, other in zip(mine, log, strict=True):
        assert other == pytest.approx(ours)


@pytest.mark.parametrize("defense", SHARED)
def test_norms_that_processes_share_take_bfloat16(two, defense):
    first, second = (torch.load(two / f"bf16 {defense}-{rank}.pt") for rank in (0, 1))
    assert {name for name in first if not torch.equal(first[name], second[name])} == set()
    assert len(read_log(two / f"bf16 {defense}" / "log.jsonl")) == 6


def test_two_processes_have_the_same_weights_and_running_statistics_of_the_first(two):
    first, second = (torch.load(two / f"whole-{rank}.pt") for rank in (0, 1))
    assert {name for name in first if not torch.equal(first[name], second[name])} == set()


def test_running_statistics_of_the_others_are_of_no_account(two):
    for rank in (0, 1):
        own, whole = (torch.load(two / f"{name}-{rank}.pt") for name in ("own", "whole"))
        assert {name for name in whole if not torch.equal(own[name], whole[name])} == set()


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


def test_what_the_first_process_refuses_all_refuse(two):
    assert [(two / f"refused-{rank}.txt").read_text() for rank in (0, 1)] == ["refused by process 0"] * 2
    assert [(two / f"led-{rank}").exists() for rank in (0, 1)] == [True, False]


# ------------------------------------------------------------------ batch norms


class Activated(nn.BatchNorm2d):
    """A batch norm with an activation inside, as timm has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(("size", "device", "shared"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)])
def test_several_gpus_share_the_statistics_of_plain_batch_norms_and_change_nothing_else(size, device, shared):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(Activated(4), nn.BatchNorm2d(4)))
    parameters, names, images = list(network.parameters()), list(network.state_dict()), torch.rand(5, 3, 6, 6)
    before = [network.train()(images), network.eval()(images)]
    ProcessGroup(0, size, torch.device(device)).share_norms(network)
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
    monkeypatch.setattr(ProcessGroup, "share_norms", lambda _, network: asked.append(network))
    monkeypatch.setattr(ProcessGroup, "agree", lambda *_: True)
    monkeypatch.setattr(ProcessGroup, "wrap", lambda _, step: step)
    ours = training(networks, tmp_path, defense=defense, world=ProcessGroup(1, 2))
    if not closed:
        ours.classifier.head = None
    trainer.Session(ours, lambda _: None, lambda: False)
    assert asked == ([ours.classifier.network] if shared else [])
