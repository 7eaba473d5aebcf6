"""RobustBench's models: which there are, what they are built from, that they normalise their images themselves."""

import re
import warnings
from types import SimpleNamespace

import pytest
import torch
from common import pixels, refused
from torch import nn

from attnlab.class_names import CIFAR10
from attnlab.models import load_model
from attnlab.models.zoos.listed import robustbench_names, robustbench_table

if not robustbench_table():
    pytest.skip("needs the package robustbench", allow_module_level=True)
from attnlab.models.zoos import robustbench
from attnlab.pipelines.pairs import pair_up

SMALLEST = "robustbench:Hendrycks2020AugMix_WRN@cifar10/corruptions"


@pytest.fixture(scope="module")
def smallest():
    """The smallest architecture, with random weights."""
    return load_model(SMALLEST, "none")


def test_names_read_from_its_source_are_those_in_its_table():
    zoo = robustbench._import("model_zoo")
    table = {(data.value, threat.value): list(models) for data, threats in zoo.model_dicts.items()
             for threat, models in threats.items()}  # fmt: skip
    assert robustbench_table() == table
    assert len(robustbench_names()) == len(set(robustbench_names())) == sum(map(len, table.values()))
    for name in robustbench_names():
        assert robustbench.model_of(name.removeprefix("robustbench:"))[0] == name[12:].partition("@")[0]


def test_a_network_takes_pixels_and_says_so_without_a_warning(smallest):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_model(SMALLEST, "none")
    assert again.fingerprint() == smallest.fingerprint()
    assert (smallest.as_it_is, smallest.input_size, smallest.classes) == (True, (32, 32), 10)
    assert (smallest.head, smallest.map_shape) == ("fc", (8, 8))
    assert smallest.network.labels == CIFAR10
    images = pixels(smallest)
    with torch.no_grad():
        assert torch.equal(smallest(images), smallest.network(images))


def test_the_benchmark_is_cifar10_under_linf_unless_the_name_says_another():
    assert robustbench.model_of("Engstrom2019Robustness") == ("Engstrom2019Robustness", ("cifar10", "Linf"))
    assert robustbench.model_of("Engstrom2019Robustness@imagenet")[1] == ("imagenet", "Linf")
    assert robustbench.model_of("Engstrom2019Robustness@cifar10/L2")[1] == ("cifar10", "L2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Wong2020Fasst",
            "expected a model of RobustBench for cifar10 under Linf, got 'Wong2020Fasst'; did you mean 'Wong2020Fast'?",
        ),
        ("Salman2020Do_R50", "got 'Salman2020Do_R50'; did you mean robustbench:Salman2020Do_R50@imagenet/Linf?"),
        ("Salman2020Do_R50@cifar10", "did you mean robustbench:Salman2020Do_R50@imagenet/Linf?"),
        ("Wong2020Fast@cifar11", "to be one of cifar10, cifar100, imagenet, got 'cifar11'; did you mean 'cifar10'?"),
        ("Wong2020Fast@imagenet/L2", "to be one of Linf, corruptions, got 'L2'"),
        ("Standard_R50@imagenet", "RobustBench builds Standard_R50 with trained weights alone; expected --weights def"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_what_there_is(name, message):
    assert message in refused(f"robustbench:{name}", "none")


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(robustbench, "find_spec", lambda name: None)
    assert refused("robustbench:Wong2020Fast", "none") == (
        "--model robustbench:NAME[@DATASET[/THREAT]] needs robustbench: pip install 'attnlab[robustbench]'"
    )


@pytest.mark.parametrize(("preprocessing", "size"), [("Res256Crop224", 224), ("Crop288", 288), ("Res224", 224)])
def test_the_size_of_imagenet_s_images_is_what_their_preprocessing_ends_in(preprocessing, size):
    assert robustbench._size("imagenet", preprocessing) == size
    assert robustbench._size("imagenet", None) == 224
    assert robustbench._size("cifar100", None) == 32


def test_weights_are_loaded_by_robustbench_and_where_that_fails_one_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked = []
    network = load_model(SMALLEST, "none").network

    def load_weights(*arguments: object) -> nn.Module:
        asked.append(arguments)
        print("Download started")  # standard output may be a pipe
        if len(asked) > 1:
            raise ConnectionError("no\nway")
        return network

    zoo = robustbench._import
    monkeypatch.setattr(
        robustbench, "_import", lambda name: SimpleNamespace(load_model=load_weights) if name == "utils" else zoo(name)
    )
    assert load_model(SMALLEST).network is network
    assert asked == [("Hendrycks2020AugMix_WRN", tmp_path / "robustbench", "cifar10", "corruptions")]
    assert re.fullmatch(
        r"the weights of Hendrycks2020AugMix_WRN could not be had from RobustBench \(ConnectionError: no way\); fetch "
        rf"https://drive.google.com/uc\?id=\w+ elsewhere and save it as {tmp_path}/robustbench/cifar10/corruptions/"
        r"Hendrycks2020AugMix_WRN.pt",
        refused(SMALLEST),
    )


def test_a_file_decides_the_number_of_classes(tmp_path, smallest):
    state = smallest.network.state_dict()
    state |= {name: value[:3] for name, value in state.items() if name.startswith("fc.")}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "mine.pth")
    few = load_model(SMALLEST, tmp_path / "mine.pth")
    assert (few.classes, few.as_it_is, hasattr(few.network, "labels")) == (3, True, False)
    assert torch.equal(few.network.fc.weight, smallest.network.fc.weight[:3])


def test_two_models_of_other_benchmarks_have_other_names_in_tables_and_folders():
    names = ["robustbench:Rice2020Overfitting@cifar10/L2", "robustbench:Engstrom2019Robustness@cifar10/L2"]
    assert [pair.label for pair in pair_up(names, ["none"])] == [name.replace("/", "-") for name in names]
