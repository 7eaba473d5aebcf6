"""A checkpoint's model.json names its weights by their SHA-256: what is loaded is what was saved."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from common import refused

from attnlab.models import checkpoint, load_model
from attnlab.models.checkpoint import DESCRIPTION, WEIGHTS, save_checkpoint
from attnlab.models.classifier import Classifier


def lenet(seed: int) -> Classifier:
    return load_model("lenet", "none", seed=seed)


@pytest.fixture
def saved(tmp_path) -> Path:
    save_checkpoint(lenet(1), tmp_path / "mine", "lenet", "madry")
    return tmp_path / "mine"


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_model_json_holds_what_sha256sum_prints_of_the_weights(saved):
    assert json.loads((saved / DESCRIPTION).read_text())["weights_sha256"] == hash_of(saved / WEIGHTS)


@pytest.mark.parametrize("how", ["folder", "weights"])
def test_other_weights_than_model_json_names_are_refused_unless_their_file_is_named(saved, how):
    before = hash_of(saved / WEIGHTS)
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-2] ^= 1  # the least digit of a weight
    (saved / WEIGHTS).write_bytes(content)
    start = f"checkpoint {saved}: " if how == "folder" else ""
    assert refused(*((str(saved),) if how == "folder" else ("lenet", saved))) == (
        f"{start}expected {saved / WEIGHTS} to have the SHA-256 {before}, as model.json beside it says, got "
        f"{hash_of(saved / WEIGHTS)}: it was damaged or replaced; copy the checkpoint again, or name the file itself, "
        f"which is not checked: --weights {saved / WEIGHTS}"
    )
    assert load_model("lenet", saved / WEIGHTS).sha256 != lenet(1).sha256


def test_an_older_checkpoint_which_names_no_hash_still_loads_and_is_replaced(saved):
    description = json.loads((saved / DESCRIPTION).read_text())
    del description["weights_sha256"]
    (saved / DESCRIPTION).write_text(json.dumps(description))
    assert load_model(str(saved)).sha256 == lenet(1).sha256
    save_checkpoint(lenet(2), saved, "lenet")
    assert load_model(str(saved)).sha256 == lenet(2).sha256


class Killed(BaseException):
    """The end of the process."""


def test_a_checkpoint_that_is_replaced_can_be_loaded_wherever_the_process_is_killed(saved, monkeypatch):
    real, known = checkpoint.write_whole, {lenet(seed).sha256: seed for seed in range(1, 6)}
    found = []
    for seed, writes in ((2, 0), (3, 1), (4, 2), (5, 3)):  # killed before the first write, the second, ...
        left = iter(range(writes))

        def write(*arguments, left=left):
            if next(left, None) is None:
                raise Killed
            real(*arguments)

        monkeypatch.setattr(checkpoint, "write_whole", write)
        if writes < 3:
            with pytest.raises(Killed):
                save_checkpoint(lenet(seed), saved, "lenet")
        else:
            save_checkpoint(lenet(seed), saved, "lenet")
        found.append(known[load_model(str(saved)).sha256])
    assert found == [1, 1, 4, 5]
    assert json.loads((saved / DESCRIPTION).read_text())["weights_sha256"] == hash_of(saved / WEIGHTS)


def test_weights_that_a_training_replaces_while_they_are_read_are_no_mismatch(saved, monkeypatch):
    real = checkpoint._hash_of

    def replacing(path):
        monkeypatch.setattr(checkpoint, "_hash_of", real)
        save_checkpoint(lenet(2), saved, "lenet")
        return real(path)

    monkeypatch.setattr(checkpoint, "_hash_of", replacing)
    network = load_model(str(saved)).network
    torch.testing.assert_close(network.state_dict(), lenet(2).network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("value", ["3", "[3]", '{"a": 1}', '["\\u001b[2J"]'])
def test_a_hash_of_another_kind_is_damage(saved, value):
    text = (saved / DESCRIPTION).read_text().replace(f'"{hash_of(saved / WEIGHTS)}"', value)
    (saved / DESCRIPTION).write_text(text)
    assert refused(str(saved)) == f"{saved / DESCRIPTION} is damaged: expected a SHA-256 under 'weights_sha256'"
