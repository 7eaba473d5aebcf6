"""Weights in shards, by the index that Hugging Face's libraries write."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from checkpoints import expected, trained
from common import logits, refused
from safetensors.torch import save_file
from torch import Tensor

from attnlab.models import load_model


def in_shards(state: Mapping[str, Tensor], folder: Path, suffix: str = "safetensors") -> Path:
    """Write a state dict as Hugging Face's libraries write large ones, in two files and an index."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    files = {name: f"{stem}-{1 + number % 2:05d}-of-00002.{suffix}" for number, name in enumerate(state)}
    for file in set(files.values()):
        part = {name: state[name].clone() for name in state if files[name] == file}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_index_of_shards_gives_the_weights_of_all(tmp_path, plain_net, suffix):
    network = trained()
    classifier = load_model(plain_net, in_shards(network.state_dict(), tmp_path, suffix))
    assert torch.equal(logits(classifier), expected(classifier, network))


@pytest.mark.parametrize(
    "file", ["../other.safetensors", "/etc/passwd", "gone.safetensors", "model.safetensors.index.json"]
)
def test_a_shard_that_is_not_beside_its_index_is_refused(tmp_path, plain_net, file):
    (tmp_path / "shards").mkdir()
    save_file(trained().state_dict(), tmp_path / "other.safetensors")
    index = in_shards(trained().state_dict(), tmp_path / "shards")
    content = json.loads(index.read_text())
    content["weight_map"]["fc.bias"] = file
    index.write_text(json.dumps(content))
    message = refused(plain_net, index)
    assert message == f"expected the shards of {index} to be files beside it, got {file!r}"


def test_shards_that_hold_other_tensors_than_their_index_says_are_refused(tmp_path, plain_net):
    index = in_shards(trained().state_dict(), tmp_path)
    content = json.loads(index.read_text())
    del content["weight_map"]["fc.bias"]
    index.write_text(json.dumps(content))
    assert refused(plain_net, index).endswith("got 1 that one of both lacks, such as fc.bias")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 10_000])
def test_an_index_that_is_none_is_refused(tmp_path, plain_net, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    assert refused(plain_net, index) == (
        f"expected {index} to be an index of shards: JSON with files by tensor under 'weight_map'"
    )
