"""Files of weights that are damaged, hostile or something else: refused, and nothing in them runs."""

import importlib
import io
import os
import pickle
import struct
import subprocess
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused
from safetensors.torch import save_file
from torch import nn

from attnlab.models import load_model
from attnlab.models.weights_file import Unread, read_content


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>404</html>"]
)
def test_a_damaged_weights_file_is_refused_by_name(tmp_path, state, net, name, damage):
    path = tmp_path / name
    (torch.save if name.endswith("pth") else save_file)(state, path)
    path.write_bytes(damage(path.read_bytes()))
    assert refused(f"{net}:build", path).startswith(f"cannot read weights from {path}: damaged, or no weights file (")


def test_damage_anywhere_in_a_weights_file_raises_nothing_but_user_errors(tmp_path, net, state):
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 17):
        path.write_bytes(whole[:cut])
        refused(f"{net}:build", path)


@pytest.mark.parametrize("summed", [True, False])
def test_a_flipped_bit_of_a_tensor_is_told_where_the_file_has_checksums(tmp_path, net, state, summed):
    path = tmp_path / "weights.pth"
    torch.serialization.set_crc32_options(summed)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_model(f"{net}:build", path).network.state_dict().keys() == state.keys()
    content = bytearray(path.read_bytes())
    content[content.index(state["head.weight"].numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    if summed:
        line = refused(f"{net}:build", path)
        assert line.startswith(f"cannot read weights from {path}: damaged, or no weights file (Bad CRC-32 for file")
    else:
        loaded = load_model(f"{net}:build", path).network.state_dict()["head.weight"]
        assert not torch.equal(loaded, state["head.weight"])  # nothing in the file says so


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def as_tar(content: object, path: Path) -> None:
    """A file of torch's oldest format, whose pickle holds the content."""
    data = pickle.dumps(content, 2)
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))


TOUCH = "open(PATH, 'w').close()"


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        partial(torch.save, _use_new_zipfile_serialization=False),
        as_tar,
        *(
            lambda trap, path, protocol=protocol: path.write_bytes(pickle.dumps(trap, protocol))
            for protocol in range(5)
        ),
    ],
    ids=["zip", "legacy", "tar", *(f"protocol {number}" for number in range(5))],
)
@pytest.mark.parametrize(
    ("trap", "name"),
    [
        (lambda path: Trap(os.system, f"touch {path}"), "posix.system"),
        (lambda path: Trap(eval, TOUCH.replace("PATH", repr(str(path)))), "builtins.eval"),
        (lambda path: Trap(subprocess.Popen, ["touch", str(path)]), "subprocess.Popen"),
        (lambda path: Trap(open, str(path), "w"), "io.open"),
        (lambda path: Trap(OrderedDict, [("a", Trap(os.system, f"touch {path}"))]), "posix.system"),
    ],
    ids=["system", "eval", "Popen", "open", "nested"],
)
def test_a_pickled_object_is_refused_by_its_name_and_never_executed(tmp_path, save, trap, name):
    path = tmp_path / "model.pth"
    save({"state_dict": {"weight": torch.zeros(2, 2)}, "extra": trap(tmp_path / "executed")}, path)
    message = refused("resnet8", path)
    assert message == (
        f"{path} holds a pickled {name}, which could run any code and is not loaded; save the weights alone: "
        "torch.save(model.state_dict(), FILE)"
    )
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("save", [torch.save, partial(torch.save, _use_new_zipfile_serialization=False)])
@pytest.mark.parametrize(
    "value", [np.float64(93.1), np.float32(3), np.int64(7), np.arange(6.0).reshape(2, 3), np.array(["a"]), np.bool_(1)]
)
def test_numpy_values_beside_the_weights_are_passed_over(tmp_path, net, state, save, value):
    path = tmp_path / "weights.pth"
    save({"state_dict": state, "best_acc": value, "history": [value, {"loss": value}]}, path)
    assert torch.equal(load_model(f"{net}:build", path).network.state_dict()["head.bias"], state["head.bias"])


class AsNumpy:
    """Pickled as a call of one of numpy's functions, with arguments that numpy itself would make something of."""

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        self.name, self.arguments = name, arguments

    def __reduce__(self):
        module, _, name = self.name.rpartition(".")
        return getattr(importlib.import_module(module), name), self.arguments


@pytest.mark.parametrize("name", ["numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct"])
def test_nothing_of_numpy_runs_for_a_file(tmp_path, net, state, name):
    path = tmp_path / "weights.pth"
    inner = AsNumpy("numpy.dtype", ("f8", False, True))
    torch.save({"state_dict": state, "extra": AsNumpy(name, (inner, b"12345678"))}, path)
    assert type(read_content(path)["extra"]) is Unread
    for other in ("numpy.load", "numpy.fromfile"):
        torch.save({"state_dict": state, "extra": AsNumpy(other, ("x",))}, path)
        assert refused(f"{net}:build", path).startswith(f"{path} holds a pickled numpy.")


def test_a_whole_pickled_model_is_refused_with_what_to_save_instead(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    message = refused("resnet8", path)
    assert message.startswith(f"{path} holds a pickled torch.nn.modules.linear.Linear")
    assert message.endswith("save the weights alone: torch.save(model.state_dict(), FILE)")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (torch.zeros(3), "Tensor"),
        ([torch.zeros(3)], "list"),
        ({"epoch": 3, "optimizer": {}}, "a dict with 'epoch', 'optimizer'"),
        ({3: torch.zeros(3)}, "a dict with 3"),
        ({}, "no tensors"),
        ({"state_dict": {}}, "a dict with 'state_dict'"),
    ],
)
def test_a_file_without_a_state_dict_is_refused_with_what_it_holds(tmp_path, content, held):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert refused("resnet8", path) == f"expected {path} to hold a state dict (names to tensors), got {held}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("head.bias", torch.full((5,), torch.nan), "got 5 of 5 values of head.bias NaN or infinite"),
        ("head.bias", torch.tensor([0.0, 1, torch.inf, 0, 0]), "got 1 of 5 values of head.bias NaN or infinite"),
        (
            "head.bias",
            torch.ones(5, dtype=torch.int8),
            "to hold head.bias as plain torch.float32 numbers, got torch.int8",
        ),
        ("head.bias", torch.ones(5, dtype=torch.complex64), "plain torch.float32 numbers, got torch.complex64"),
        ("head.bias", torch.ones(5).to_sparse(), "plain torch.float32 numbers, got sparse_coo torch.float32"),
    ],
)
def test_weights_that_are_no_plain_finite_numbers_are_refused(tmp_path, net, state, name, value, message):
    path = tmp_path / "weights.pth"
    torch.save(state | {name: value}, path)
    assert message in refused(f"{net}:build", path)


def test_a_safetensors_header_that_claims_more_than_there_is_is_refused(tmp_path, net):
    path = tmp_path / "bomb.safetensors"
    for header in (
        b"{}",
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b"[" * 5000,
    ):
        for length in (len(header), 2**63, 2**64 - 1, 10**8):
            path.write_bytes(struct.pack("<Q", length) + header)
            assert refused(f"{net}:build", path).startswith(
                (f"cannot read weights from {path}: ", f"expected {path} to")
            )
