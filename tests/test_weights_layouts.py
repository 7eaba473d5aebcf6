"""Checkpoints as the field's projects write them: the network's tensors, mean and std are found in each.

The wrappers here hold modules and buffers under the names that those projects give them.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from common import logits, pixels, refused
from nets import Small
from safetensors.torch import save_file
from torch import Tensor, nn

from attnlab.compat import torchvision
from attnlab.models import Classifier, load_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)  # CIFAR-10's


def trained(change: float = 0.0) -> Small:
    """A network with weights and statistics other than those it starts with."""
    network = Small()
    generator = torch.Generator().manual_seed(5)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1 + change)
    return network.eval()


class Normalize(nn.Module):
    """Two buffers of any names: mean and std of RobustBench and others, new_mean and new_std of robustness."""

    def __init__(self, names: tuple[str, str] = ("mean", "std"), shape: tuple[int, ...] = (1, 3, 1, 1)) -> None:
        super().__init__()
        for name, values in zip(names, (MEAN, STD), strict=True):
            self.register_buffer(name, torch.tensor(values).view(shape))


class Attacker(nn.Module):
    """robustness.attacker.Attacker: a normaliser of its own, and the same network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(("new_mean", "new_std"), (3, 1, 1))
        self.model = network


class AttackerModel(nn.Module):
    """robustness.attacker.AttackerModel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalizer = Normalize(("new_mean", "new_std"), (3, 1, 1))
        self.model = network
        self.attacker = Attacker(network)


class Holding(nn.Module):
    """A module that holds others under given names."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Wrapped(Normalize):
    """A wrapper that holds mean and std itself, beside the network."""

    def __init__(self, network: nn.Module, *options: Any) -> None:
        super().__init__(*options)
        self.model = network


def robustness(network: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    state = nn.DataParallel(AttackerModel(network)).state_dict()
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "epoch": 90,
        "amp": None,
    }


def robustbench(network: nn.Module) -> dict[str, Tensor]:
    return nn.Sequential(OrderedDict([("normalize", Normalize()), ("model", network)])).state_dict()


def within(network: nn.Module) -> dict[str, Tensor]:
    network.normalize = Normalize(shape=(3,))
    state = network.state_dict()
    del network.normalize
    return state


NORMALISED: dict[str, Callable[[nn.Module], Mapping[str, Any]]] = {
    "robustness": robustness,
    "RobustBench": robustbench,
    "RobustBench in a state_dict": lambda network: {"state_dict": robustbench(network)},
    "Sequential": lambda network: nn.Sequential(Normalize(shape=(3,)), network).state_dict(),
    "Sequential, net": lambda network: {"net": nn.Sequential(Normalize(), network).state_dict(), "acc": 50.1},
    "Sequential of DataParallel": lambda network: nn.Sequential(Normalize(), nn.DataParallel(network)).state_dict(),
    "DataParallel of Sequential": lambda network: nn.DataParallel(nn.Sequential(Normalize(), network)).state_dict(),
    "mean and std of a wrapper": lambda network: Wrapped(network).state_dict(),
    "mu and sigma of a wrapper": lambda network: Wrapped(network, ("mu", "sigma")).state_dict(),
    "Lightning": lambda network: {"state_dict": Holding(norm=Normalize(), net=network).state_dict(), "epoch": 1},
    "normaliser within": within,
    "best": lambda network: {"best": nn.Sequential(Normalize(), network).state_dict(), "epoch": 7},
}

PLAIN: dict[str, Callable[[nn.Module], Mapping[str, Any]]] = {
    "net": lambda network: {"net": network.state_dict(), "acc": 93.2, "epoch": 4},
    "net, DataParallel": lambda network: {"net": nn.DataParallel(network).state_dict(), "acc": 93.2},
    "best": lambda network: {"best": {"net": network.state_dict()}, "epoch": 4},
    "ema": lambda network: {"ema": network.state_dict(), "step": 4},
    "ema, module": lambda network: {"ema": {"module": network.state_dict(), "decay": 0.99}},
    "AveragedModel": lambda network: torch.optim.swa_utils.AveragedModel(network).state_dict(),
    "compiled": lambda network: torch.compile(network, backend="eager").state_dict(),
    "compiled DataParallel": lambda network: torch.compile(nn.DataParallel(network), backend="eager").state_dict(),
    "Lightning": lambda network: {"state_dict": Holding(network=network).state_dict(), "hyper_parameters": {}},
    "timm": lambda network: {"epoch": 3, "arch": "x", "state_dict": network.state_dict(), "metric": 70.1},
    "torchvision": lambda network: {"model": network.state_dict(), "optimizer": {}, "lr_scheduler": {}, "epoch": 3},
    "self-supervised": lambda network: Holding(encoder=Holding(backbone=network), head=nn.Linear(6, 2)).state_dict(),
    "distributed, weights_only": lambda network: {"module": network.state_dict(), "ds_version": "0.14"},
}


@pytest.fixture
def small(tmp_path) -> str:
    """A user's file whose network says nothing of its images."""
    path = tmp_path / "plain.py"
    path.write_text(
        "from nets import Small\n\nclass Said(Small):\n    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)\n"
    )
    return f"{path}:Small"


def taken(model: str, content: object, path: Path, **options: Any) -> Classifier:
    torch.save(content, path)
    return load_model(model, path, **options)


def expected(classifier: Classifier, network: nn.Module, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    """Logits of the bare network, its images normalised by hand."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    with torch.no_grad():
        return network((pixels(classifier) - mean) / std)


@pytest.mark.parametrize("layout", NORMALISED.values(), ids=NORMALISED)
def test_a_normaliser_in_the_file_normalises_the_images(tmp_path, small, layout):
    network, path = trained(), tmp_path / "robust.pth"
    with pytest.warns(
        UserWarning, match=f"images are normalised as {path} says: .*mean 0.4914, 0.4822, 0.4465 and std"
    ):
        classifier = taken(small, layout(network), path)
    torch.testing.assert_close(logits(classifier), expected(classifier, network, MEAN, STD), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(logits(classifier), expected(classifier, network))
    assert set(classifier.stated) == {"mean", "std"}  # what run.json and checkpoints then say


@pytest.mark.parametrize("layout", PLAIN.values(), ids=PLAIN)
def test_the_networks_tensors_are_found_below_every_prefix(tmp_path, small, layout):
    network = trained()
    classifier = taken(small, layout(network), tmp_path / "weights.pth")
    assert torch.equal(logits(classifier), expected(classifier, network))
    assert not classifier.stated


@pytest.mark.parametrize("cloned", [False, True])
def test_robustness_copy_of_the_network_is_no_second_network_unless_it_differs(tmp_path, small, cloned):
    network, path = trained(), tmp_path / "imagenet_linf_4.pt"
    content = robustness(network)
    if cloned:
        content["model"] = {name: value.clone() for name, value in content["model"].items()}
    with pytest.warns(UserWarning, match=f"no place for module.attacker of {path}: left out"):
        taken(small, content, path)
    content["model"] = {name: value.clone() for name, value in content["model"].items()}
    content["model"]["module.attacker.model.fc.bias"] += 1
    torch.save(content, path)
    assert refused(small, path) == (
        f"{path} holds model.module.model, model.module.attacker.model, which fit the network equally well; "
        "name one with --weights-key"
    )
    chosen = load_model(small, path, weights_key="model.module.attacker.model")
    assert torch.equal(chosen.network.fc.bias, network.fc.bias + 1)
    torch.testing.assert_close(chosen.mean.flatten(), torch.tensor(MEAN))  # of the attacker's own normaliser


def test_a_torchvision_network_takes_robustness_file_with_its_classes_and_normalisation(tmp_path, recwarn):
    network = torchvision.models.resnet18(num_classes=10).eval()
    path = tmp_path / "cifar_linf_8.pt"
    classifier = taken("resnet18", robustness(network), path)
    assert classifier.classes == 10
    torch.testing.assert_close(logits(classifier), expected(classifier, network, MEAN, STD), rtol=1e-5, atol=1e-5)
    (said,) = [str(warning.message) for warning in recwarn if "normalised" in str(warning.message)]
    assert said == (
        f"images are normalised as {path} says: module.normalizer (mean 0.4914, 0.4822, 0.4465 and std 0.2471, 0.2435, "
        "0.2616), where the network itself says mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225"
    )


def test_a_normaliser_that_says_what_the_network_says_changes_nothing(tmp_path, recwarn):
    network = torchvision.models.resnet18(num_classes=3).eval()
    state = robustbench(network)
    for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        state[f"normalize.{name}"] = torch.tensor(values).view(1, 3, 1, 1)
    classifier = taken("resnet18", state, tmp_path / "salman.pt")
    assert not classifier.stated
    assert not [warning for warning in recwarn if "normalis" in str(warning.message)]


def test_a_normaliser_against_what_a_users_network_says_is_refused_with_both(tmp_path, small):
    path, model = tmp_path / "robust.pth", small.replace(":Small", ":Said")
    torch.save(robustbench(trained()), path)
    assert refused(model, path) == (
        f"expected one normalisation in {path} and the network, got normalize (mean 0.4914, 0.4822, 0.4465 and std "
        "0.2471, 0.2435, 0.2616); the network itself says mean 0.5, 0.5, 0.5 and std 0.25, 0.25, 0.25: say with --mean "
        "and --std what images are normalised with"
    )
    with pytest.warns(
        UserWarning, match=r"with the mean 0.5 and std 0.25 stated, while .* holds normalize \(mean 0.49"
    ):
        classifier = load_model(model, path, mean=0.5, std=0.25)
    assert torch.equal(logits(classifier), expected(classifier, trained(), 0.5, 0.25))


def test_stated_values_that_the_file_holds_too_are_taken_without_a_word(tmp_path, small, recwarn):
    taken(small, robustbench(trained()), tmp_path / "robust.pth", mean=MEAN, std=STD)
    assert not recwarn.list


def test_two_normalisers_of_other_values_are_refused_with_both(tmp_path, small):
    path = tmp_path / "twice.pth"
    network = Holding(normalize=Normalize(), model=trained(), preprocess=Normalize())
    network.preprocess.mean += 0.1
    torch.save(network.state_dict(), path)
    message = refused(small, path)
    assert "normalize (mean 0.4914, 0.4822, 0.4465 and" in message
    assert "; preprocess (mean 0.5914, 0.5822, 0.5465 and" in message


def test_a_network_that_normalises_itself_is_not_normalised_before_unless_it_is_stated(tmp_path, small):
    path, inner = tmp_path / "robust.pth", tmp_path / "inner.py"
    inner.write_text(
        "import torch\nfrom nets import Small\n\nclass Inner(Small):\n    def __init__(self):\n"
        "        super().__init__()\n        self.register_buffer('mean', torch.zeros(3, 1, 1))\n"
    )
    state = robustbench(trained()) | {"model.mean": torch.zeros(3, 1, 1)}
    torch.save(state, path)
    assert "; the network holds mean as tensors, to normalise its images itself: say" in refused(f"{inner}:Inner", path)
    own = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    with pytest.warns(UserWarning, match="taken to normalise its images itself"):
        assert not taken(f"{inner}:Inner", own, path).stated


def test_a_normaliser_for_pixels_up_to_255_is_refused_by_its_name(tmp_path, small):
    path, state = tmp_path / "grey.pth", robustbench(trained())
    state["normalize.mean"], state["normalize.std"] = state["normalize.mean"] * 255, state["normalize.std"] * 255
    torch.save(state, path)
    message = refused(small, path)
    assert message.startswith(
        f"expected mean of normalize in {path} for pixels in [0, 1], got 125.307, 122.961, 113.857"
    )


def test_a_users_sequential_with_its_normaliser_is_loaded_whole(tmp_path, recwarn):
    path, model = tmp_path / "whole.pth", tmp_path / "whole.py"
    model.write_text(
        "from nets import Small, nn\nfrom test_weights_layouts import Normalize\n\ndef build():\n"
        "    network = nn.Sequential(Normalize(), Small())\n    network[0].forward = lambda x: x\n"
        "    network.input_size = (16, 16)\n    return network\n"
    )
    classifier = taken(f"{model}:build", nn.Sequential(Normalize(), trained()).state_dict(), path)
    assert torch.equal(logits(classifier), expected(classifier, trained()))
    assert not recwarn.list


def test_a_normaliser_without_tensors_in_the_file_is_asked_for(tmp_path, small, recwarn):
    path, network = tmp_path / "smoothing.pth.tar", trained()
    state = nn.Sequential(nn.Identity(), nn.DataParallel(network)).state_dict()  # as randomised smoothing saves it
    classifier = taken(small, {"arch": "x", "state_dict": state}, path)
    assert [str(warning.message) for warning in recwarn] == [
        f"{path} holds the network as 1, behind a module without tensors in the file, which often normalises: images "
        "are not normalised; --mean and --std say otherwise"
    ]
    assert torch.equal(logits(classifier), expected(classifier, network))
    recwarn.clear()
    stated = load_model(small, path, mean=MEAN, std=STD)
    torch.testing.assert_close(logits(stated), expected(stated, network, MEAN, STD))
    assert not recwarn.list


def test_a_part_of_a_sequential_with_other_weights_is_refused_and_taken_when_named(tmp_path, small):
    path, network = tmp_path / "denoised.pth", trained()
    torch.save(nn.Sequential(nn.Conv2d(3, 3, 1), network, nn.Linear(5, 2)).state_dict(), path)
    assert refused(small, path) == (
        f"{path} holds 1, which fits the network, and 0, 2 beside it, as an nn.Sequential does that runs all of them; "
        "build that in a FILE.py, or take the one alone with --weights-key 1"
    )
    alone = load_model(small, path, weights_key="1")
    assert torch.equal(logits(alone), expected(alone, network))


def test_the_set_that_fits_is_taken_of_several_and_the_others_are_named(tmp_path, small):
    path, network = tmp_path / "distilled.pth", trained()
    with pytest.warns(UserWarning, match=f"no place for teacher of {path}: left out"):
        classifier = taken(small, Holding(student=network, teacher=nn.Conv2d(3, 4, 3)).state_dict(), path)
    assert torch.equal(logits(classifier), expected(classifier, network))
    other = Small(7).state_dict()
    with pytest.warns(UserWarning, match="holds the state dicts model, net; this takes net, --weights-key another"):
        classifier = taken(small, {"model": other, "net": network.state_dict()}, path)
    assert torch.equal(logits(classifier), expected(classifier, network))


def test_sets_that_differ_in_the_number_of_classes_alone_are_refused_where_the_network_takes_either(tmp_path):
    build, path = torchvision.models.resnet18, tmp_path / "pair.pth"
    torch.save(Holding(student=build(num_classes=10), teacher=build()).state_dict(), path)
    assert "holds student, teacher, which fit the network equally well" in refused("resnet18", path)
    assert load_model("resnet18", path, weights_key="student").classes == 10


def test_net_and_ema_are_refused_and_a_name_of_most_scripts_counts_before_ema(tmp_path, small):
    path, online, average = tmp_path / "pair.pth", trained(), trained(0.5)
    torch.save({"net": online.state_dict(), "ema": average.state_dict()}, path)
    assert f"{path} holds net, ema, which fit the network equally well" in refused(small, path)
    average_of = torch.optim.swa_utils.AveragedModel(average).state_dict()  # torchvision's references
    content = {"model": online.state_dict(), "model_ema": average_of, "args": None}
    with pytest.warns(UserWarning, match="state dicts model, model_ema; this takes model, --weights-key another"):
        assert torch.equal(taken(small, content, path).network.fc.bias, online.fc.bias)
    assert torch.equal(load_model(small, path, weights_key="model_ema").network.fc.bias, average.fc.bias)


def test_a_part_of_the_network_is_refused_as_other_weights(tmp_path, small):
    path = tmp_path / "part.pth"
    torch.save(Holding(model=Holding(features=trained().features), normalize=Normalize()).state_dict(), path)
    message = refused(small, path)
    assert message.startswith(f"{path} holds the weights of another network than --model names: ")
    assert "missing, such as fc.weight" in message


# ------------------------------------------------------------------ files in shards


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
def test_an_index_of_shards_gives_the_weights_of_all(tmp_path, small, suffix):
    network = trained()
    classifier = load_model(small, in_shards(network.state_dict(), tmp_path, suffix))
    assert torch.equal(logits(classifier), expected(classifier, network))


@pytest.mark.parametrize(
    "file", ["../other.safetensors", "/etc/passwd", "gone.safetensors", "model.safetensors.index.json"]
)
def test_a_shard_that_is_not_beside_its_index_is_refused(tmp_path, small, file):
    (tmp_path / "shards").mkdir()
    save_file(trained().state_dict(), tmp_path / "other.safetensors")
    index = in_shards(trained().state_dict(), tmp_path / "shards")
    content = json.loads(index.read_text())
    content["weight_map"]["fc.bias"] = file
    index.write_text(json.dumps(content))
    message = refused(small, index)
    assert message == f"expected the shards of {index} to be files beside it, got {file!r}"


def test_shards_that_hold_other_tensors_than_their_index_says_are_refused(tmp_path, small):
    index = in_shards(trained().state_dict(), tmp_path)
    content = json.loads(index.read_text())
    del content["weight_map"]["fc.bias"]
    index.write_text(json.dumps(content))
    assert refused(small, index).endswith("got 1 that one of both lacks, such as fc.bias")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 10_000])
def test_an_index_that_is_none_is_refused(tmp_path, small, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    assert refused(small, index) == (
        f"expected {index} to be an index of shards: JSON with files by tensor under 'weight_map'"
    )
