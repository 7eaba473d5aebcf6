"""Model zoos: their names without importing them, code of a torch.hub repository, what trust it needs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import error_of, pixels, refused
from test_completion import offered

from attnlab.compat import torchvision
from attnlab.models import load_model
from attnlab.models.checkpoint import save_checkpoint
from attnlab.models.load import runs_code
from attnlab.models.names import MODEL_HELP
from attnlab.models.own_code import check_trusted
from attnlab.models.zoos import ZOOS, find_zoo, from_anywhere
from attnlab.models.zoos.listed import robustbench_names, timm_names

# ------------------------------------------------------------------ names


def test_every_zoo_is_named_in_the_help_and_found_by_its_prefix():
    for name, zoo in ZOOS.items():
        if name != "torchvision":
            assert zoo.written in MODEL_HELP
            assert find_zoo(f"{name}:x") == (zoo, "x")
    assert find_zoo("resnet50") == (ZOOS["torchvision"], "resnet50")
    assert find_zoo("torchvision:resnet50") is find_zoo("net.py:build") is find_zoo("resnet8") is None


def test_names_of_timm_read_from_its_source_are_those_it_lists():
    timm = pytest.importorskip("timm", reason="needs the package timm")
    own = [name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("timm.")]
    assert timm_names() == sorted(f"timm:{name}" for name in own)  # RobustBench adds names of its own


def test_names_of_a_zoo_are_listed_a_line_each_and_completed(attnlab):
    pytest.importorskip("timm", reason="needs the package timm")
    assert attnlab("list", "models", "timm").out.splitlines() == timm_names()
    assert offered("analyze", "--model", "timm:resnet1") == [n for n in timm_names() if n.startswith("timm:resnet1")]
    assert offered("analyze", "--model", "robustbench:Wong") == [
        name for name in robustbench_names() if name.startswith("robustbench:Wong")
    ]
    assert attnlab("list", "models", "hf").error == "nobody can list the models of hf; they are written hf:NAME"
    assert attnlab("list", "data", "timm").code == 2


def test_a_zoo_that_is_not_installed_has_no_names(attnlab, monkeypatch):
    monkeypatch.setattr("attnlab.models.zoos.listed.find_spec", lambda package: None)
    timm_names.cache_clear()
    try:
        assert attnlab("list", "models", "timm").error == "timm is not installed: pip install 'attnlab[timm]'"
    finally:
        timm_names.cache_clear()


def test_listing_and_completing_import_neither_torch_nor_a_zoo():
    code = (
        "import sys; from attnlab.models.names import model_names; from attnlab.models.zoos import ZOOS; "
        "[zoo.names() for zoo in ZOOS.values() if zoo.names]; model_names('timm:'); "
        "print([name for name in ('torch', 'timm', 'transformers', 'robustbench') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pretrained_networks_of_torchvision_name_their_classes_and_random_ones_do_not(monkeypatch):
    assert not hasattr(load_model("squeezenet1_1", "none").network, "labels")
    network = torchvision.models.squeezenet1_1(weights=None)
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: network)
    labels = load_model("squeezenet1_1").network.labels
    assert (len(labels), labels[:3]) == (1000, ("tench", "goldfish", "great white shark"))


# ------------------------------------------------------------------ torch.hub

HUBCONF = """
from pathlib import Path
import torch
from torch import nn

Path(__file__).with_name("ran").touch()

def tiny(pretrained=False, **options):
    torch.manual_seed(7)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    network.input_size = (16, 16)
    if pretrained:
        network[0].weight.data.fill_(0.5)
    return network

def plain():
    return tiny()

def broken(pretrained=False):
    raise OSError("no way")

def number(pretrained=False):
    return 7
"""


@pytest.fixture
def hub(tmp_path) -> Path:
    """A local folder with a hubconf.py."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/hubconf.py").write_text(HUBCONF)
    return tmp_path / "hub"


@pytest.mark.filterwarnings("ignore:torchhub")
def test_an_entry_of_a_repository_is_built_with_its_weights_or_without(hub):
    trained = load_model(f"torchhub:{hub}:tiny", trust_code=True)
    assert (trained.classes, trained.head, trained.input_size) == (10, "4", (16, 16))
    assert (trained.network[0].weight == 0.5).all()
    random = load_model(f"torchhub:{hub}:tiny", "none", trust_code=True)
    assert not (random.network[0].weight == 0.5).any()
    assert load_model(f"torchhub:{hub}:plain", "none", trust_code=True).fingerprint() == random.fingerprint()


@pytest.mark.filterwarnings("ignore:torchhub")
def test_a_checkpoint_of_a_repository_s_network_gives_it_back_where_it_is_trusted(hub, tmp_path):
    name = f"torchhub:{hub}:tiny"
    first = load_model(name, trust_code=True)
    save_checkpoint(first, tmp_path / "mine", name)
    folder = str(tmp_path / "mine")
    assert (runs_code(folder), runs_code(name)) == (name, name)
    assert refused(folder) == (
        f"{tmp_path}/mine/model.json names code that the command does not: {name}; look into it, then add --trust-code "
        "to run it"
    )
    with pytest.warns(UserWarning, match=f"--trust-code runs the code of {name}, which .*model.json names"):
        second = load_model(folder, trust_code=True)
    with torch.no_grad():
        assert torch.equal(second(pixels(second)), first(pixels(first)))
    assert "names code" in error_of(check_trusted, name, Path("run.json"), False)


def test_a_repository_s_code_does_not_run_unless_it_is_trusted(hub):
    assert refused(f"torchhub:{hub}:tiny", "none") == (
        f"torchhub:{hub}:tiny is built by code of that repository, which runs with your rights: look into its "
        "hubconf.py, then add --trust-code to run it"
    )
    assert not (hub / "ran").exists()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (":tinny", "RuntimeError: Cannot find callable tinny in hubconf"),
        (":broken", "OSError: no way"),
        (":plain", "it takes no `pretrained`: say --weights none or --weights FILE"),
        (":number", "to return an nn.Module, got int"),
        ("", "expected --model torchhub:OWNER/REPO:ENTRY, or torchhub:FOLDER:ENTRY, got 'torchhub:"),
    ],
)
def test_what_a_repository_cannot_build_is_one_line(hub, entry, reason):
    with pytest.raises(ValueError, match="hub") as error:
        load_model(f"torchhub:{hub}{entry}", trust_code=True)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_names_with_a_folder_mean_the_same_in_any_folder(hub, monkeypatch):
    monkeypatch.chdir(hub.parent)
    assert from_anywhere("torchhub:hub:tiny") == f"torchhub:{hub}:tiny"
    assert from_anywhere("hf:hub") == f"hf:{hub}"
    for name in ("torchhub:owner/repo:tiny", "hf:owner/model", "timm:resnet18", "resnet50", "robustbench:hub"):
        assert from_anywhere(name) == name
