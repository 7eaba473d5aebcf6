"""A user's own model file, and checkpoints: what a function must give, what is refused, and what comes back."""

import json
import sys
from pathlib import Path

import torch
from common import logits, refused
from safetensors.torch import save_file

from attnlab.models import load_model
from attnlab.models.checkpoint import save_checkpoint

# ------------------------------------------------------------------ a user's own file


def test_a_users_own_model_needs_no_more_than_a_function(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(
        "from torch import nn\n"
        "def f():\n"
        "    return nn.Sequential(nn.Conv2d(1, 3, 3, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))\n"
    )
    classifier = load_model(f"{path}:f")
    assert (classifier.channels, classifier.input_size, classifier.classes) == (1, (224, 224), 2)
    assert (classifier.attention_layer, classifier.head) == ("0", "3")


def test_a_users_file_may_import_its_neighbours_and_leaves_the_search_path_alone(tmp_path, net):
    (tmp_path / "model_of_mine.py").write_text("from net import build as start\ndef build():\n    return start()\n")
    before = list(sys.path)
    assert load_model(f"{tmp_path / 'model_of_mine.py'}:build").classes == 5
    assert sys.path == before
    del sys.modules["net"]


def test_a_users_file_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "nope.py"
    assert refused(f"{path}:build") == f"expected --model FILE.py:FUNCTION with an existing file, got '{path}'"


def test_a_function_that_does_not_exist_is_refused_with_those_that_do(net):
    message = refused(f"{net}:biuld")
    assert message == (
        "expected a function of net.py (Options, Net, build, wide, none, broken, fixed), got 'biuld'; "
        "did you mean 'build'?"
    )


def test_a_function_that_returns_no_module_is_refused(net):
    assert refused(f"{net}:none") == f"expected {net}:none to return an nn.Module, got NoneType"


def test_an_error_in_a_users_file_is_one_line_with_its_place(tmp_path, net):
    line = next(number for number, text in enumerate(net.read_text().splitlines(), 1) if "build() + 1" in text)
    message = refused(f"{net}:broken")
    assert message.startswith(f"cannot build {net}:broken: TypeError: unsupported operand")
    assert message.endswith(f"(net.py, line {line})")
    (tmp_path / "bad.py").write_text("import torch\nimport missing_module\n")
    assert "ModuleNotFoundError: No module named 'missing_module' (bad.py, line 2)" in refused(
        f"{tmp_path / 'bad.py'}:f"
    )
    (tmp_path / "bad.py").write_text("import torch\n\ndef f(:\n")
    assert refused(f"{tmp_path / 'bad.py'}:f").endswith("(bad.py, line 3)")


def test_a_network_that_does_not_take_the_default_size_is_refused_with_how_to_name_another(net):
    message = refused(f"{net}:fixed")
    assert message.startswith(
        f"expected {net}:fixed to take images (N, C, 224, 224) and return logits (N, K), got Runtime"
    )
    assert "input_size = (height, width)" in message


def test_a_users_real_model_finds_its_layer_and_head(shared):
    classifier = load_model(f"{shared / 'weights' / 'mobilenet_v2_tf.py'}:build")
    assert classifier.head is not None
    assert (classifier.map_shape, classifier.classes) == ((7, 7), 1000)


# ------------------------------------------------------------------ checkpoints


def test_a_checkpoint_gives_back_the_classifier_it_was_made_from(tmp_path, net):
    first = load_model(f"{net}:build", layer="body")
    with torch.no_grad():
        first.network.head.bias += 1
    save_checkpoint(first, tmp_path / "runs" / "mine", f"{net}:build")
    second = load_model(str(tmp_path / "runs" / "mine"), trust_code=True)
    assert second.describe() == first.describe()
    assert torch.equal(logits(second), logits(first))
    assert load_model(str(tmp_path / "runs" / "mine"), layer="last", trust_code=True).attention_layer == "last"


def test_a_checkpoint_of_a_network_with_shared_weights_is_written_and_read(tmp_path, net):
    with net.open("a") as file:
        file.write("\ndef tied():\n    net = build()\n    net.again = net.head\n    return net\n")
    first = load_model(f"{net}:tied")
    save_checkpoint(first, tmp_path / "tied", f"{net}:tied")
    assert load_model(str(tmp_path / "tied"), trust_code=True).fingerprint() == first.fingerprint()


def test_weights_of_a_checkpoint_may_be_replaced(tmp_path, net, state):
    save_checkpoint(load_model(f"{net}:build"), tmp_path / "mine", f"{net}:build")
    save_file(state, tmp_path / "other.safetensors")
    loaded = load_model(str(tmp_path / "mine"), tmp_path / "other.safetensors", trust_code=True).network.state_dict()
    assert torch.equal(loaded["head.bias"], state["head.bias"])


def test_a_folder_with_the_name_of_a_model_does_not_hide_the_model(tmp_path, monkeypatch, net):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(load_model(f"{net}:build"), Path("resnet8"), f"{net}:build")
    assert load_model("resnet8").classes == 10
    assert load_model("./resnet8", trust_code=True).classes == 5


def test_a_folder_that_is_no_whole_checkpoint_is_refused_with_what_is_wrong(tmp_path, net):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert refused(str(folder)) == f"expected {folder} to be a checkpoint, but it has no model.json"
    save_checkpoint(load_model(f"{net}:build"), folder, f"{net}:build")
    (folder / "model.json").write_text(json.dumps({"model": "resnet8"}))
    assert "another network" in refused(str(folder))
    (folder / "weights.safetensors").unlink()
    assert refused(str(folder)) == f"expected {folder} to be a checkpoint, but it has no weights.safetensors"
