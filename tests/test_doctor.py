"""`attnlab doctor`: what it says of a sound machine, and of everything that can be broken."""

import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from common import states
from packaging.requirements import Requirement
from PIL import Image

from attnlab.data.base import UNLABELLED, Entry, FileSet
from attnlab.data.masks import BoxMask
from attnlab.doctor import Finding, machine, places, software
from attnlab.doctor.drawing import draw_truth
from attnlab.doctor.finding import from_error
from attnlab.errors import Unusable, UserError
from attnlab.pipelines import hardware, provenance
from attnlab_cli.app import app

RESNET50 = "resnet50-11ad3fa6.pth"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """torch's folder of downloaded weights, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def quick(monkeypatch) -> None:
    """Precisions that are not measured."""
    monkeypatch.setattr(machine, "seconds_of", lambda name, device: {"fp64": 4.0, "bf16": 0.5}.get(name, 1.0))


# ------------------------------------------------------------------ the command


def test_a_sound_machine_exits_with_0_and_tells_every_topic(attnlab, cache, quick):
    done = attnlab("doctor")
    assert (done.code, done.err) == (0, "")
    for topic in ("software", "machine", "data", "weights", "output"):
        assert f"\n{topic}\n" in f"\n{done.out}"
    for part in ("python", "torchvision", "bf16", "2.0 times fp32's speed", "scenes val", "resnet8", "[timm]"):
        assert part in done.out
    assert done.out.splitlines()[-1].startswith("no problems, ")
    assert not Path("runs").exists()


def test_a_problem_exits_with_1_and_its_advice_stands_below_it(attnlab, cache, quick):
    done = attnlab("doctor", "--root", "nowhere")
    assert done.code == 1
    lines = done.out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip().startswith("nowhere"))
    assert "problem: cannot be read: No such file or directory" in lines[place]
    assert lines[place + 1].strip().startswith("-> check --root")
    assert lines[-1].startswith("1 problem, ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_data_set_that_is_named_is_drawn_with_its_boxes(attnlab, cache, quick):
    done = attnlab("doctor", "--data", "scenes", "--split", "test")
    assert done.code == 0
    assert re.search(r"summary +1000 images of 10 classes; 1\.0 boxes an image, which cover \d+ %", done.out)
    assert "runs/doctor/scenes-test.png shows the first images" in done.out
    with Image.open("runs/doctor/scenes-test.png") as picture:
        assert picture.format == "PNG"
    refusal = attnlab("doctor", "--split", "test").error
    assert refusal == "expected --data with --split and --label, got none"


def test_the_drawing_leaves_out_what_cannot_be_used_and_shows_masks(tmp_path):
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "a.png")
    box, none = torch.tensor([[10, 5, 20, 25]], dtype=torch.float64), torch.empty(0, 4, dtype=torch.float64)
    entries = [
        Unusable("gone"),
        Entry(tmp_path / "a.png", 0, box),
        Entry(tmp_path / "a.png", 1, none, mask=BoxMask((0, 0, 40, 15))),
    ]
    figure = draw_truth(FileSet("mine", ["cat", "dog"], ["gone", "a long name of a file", "b"], entries))
    first, second = (axes for axes in figure.axes if axes.images)
    assert [text.get_text() for text in first.texts] == ["…me of a file", "cat"]
    assert [patch.get_bbox().extents.tolist() for patch in first.patches] == [[10, 5, 20, 25]]
    shown = np.asarray(second.images[0].get_array())
    scale = shown.shape[0] // 30
    assert (shown[14 * scale, 20 * scale] == [0, 0, 255]).all()  # inside the mask
    assert (shown[15 * scale - 1, 20 * scale] == 255).all()  # its lower border
    assert not second.patches
    assert draw_truth(FileSet("mine", [], ["gone"], [Unusable("gone")])) is None


@pytest.mark.parametrize("classes", [[], ["cat", "dog"]])
def test_the_drawing_says_that_an_image_has_no_label(classes, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    entry = Entry(tmp_path / "a.png", UNLABELLED, torch.empty(0, 4, dtype=torch.float64))
    figure = draw_truth(FileSet("mine", classes, ["a.png"], [entry]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["a.png", "no label"]


def test_cuda_asked_for_where_there_is_none_is_a_problem(attnlab, cache, quick):
    done = attnlab("doctor", "--device", "cuda")
    assert done.code == 1
    assert re.search(r"device +problem: expected --device to be auto, cpu or an accelerator", done.out)
    assert "-> try --device cpu" in done.out


def test_a_data_set_that_is_none_is_one_line(attnlab, cache, quick):
    done = attnlab("doctor", "--data", "mnits")
    assert done.error.endswith("got 'mnits'; did you mean 'mnist'?")


def test_the_command_is_among_the_others():
    assert "doctor" in app.commands


# ------------------------------------------------------------------ software


@pytest.mark.parametrize(
    ("requirement", "state", "message"),
    [
        ("torch>=2.0", "ok", version("torch")),
        ("torch<2.0", "problem", f"{version('torch')}, expected <2.0"),
        ("no-such-library-as-this>=1", "problem", "not installed"),
    ],
)
def test_a_library_is_held_against_the_versions_attnlab_was_made_for(requirement, state, message):
    finding = software.library(Requirement(requirement))
    assert (finding.state, finding.text) == (state, message)
    assert finding.advice == (f"pip install '{Requirement(requirement)}'" if state == "problem" else "")


def test_an_extra_that_is_not_installed_is_told_with_the_command_for_it(monkeypatch):
    both = "attnlab[pip,timm]; extra == 'all'"
    needed = ["numpy>=2", "timm>=1; extra == 'timm'", "pip; extra == 'pip'", both]
    monkeypatch.setattr(software, "requires", lambda _: needed)
    monkeypatch.setattr(software, "metadata", lambda _: type("M", (), {"get_all": lambda *_: ["timm", "pip", "all"]})())
    monkeypatch.setattr(software, "_version", lambda name: None if name == "timm" else "9")
    found = {finding.name: finding for finding in software.software()}
    assert found["[timm]"].text == "not installed: timm"
    assert "attnlab[timm]" in found["[timm]"].advice
    assert (found["[pip]"].text, found["[pip]"].advice) == ("installed", "")
    assert found["[all]"].text == "not installed: timm"
    assert found["numpy"].text == "9"
    assert "timm" not in found


# ------------------------------------------------------------------ machine


def test_a_container_that_may_use_one_core_is_told_to_use_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    finding = machine.threads()
    assert (finding.state, finding.text) == ("note", "4 of torch on 1 usable core")
    assert finding.advice.startswith("set OMP_NUM_THREADS=1")
    assert hardware.reading_processes() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert hardware.usable_cores() == len(os.sched_getaffinity(0))


def test_a_driver_beside_a_torch_that_sees_no_gpu_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    (finding,) = machine.gpus()
    assert finding.state == "note"
    assert "there is an NVIDIA driver, but this torch" in finding.text
    monkeypatch.setattr(machine, "DRIVER", tmp_path / "none")
    assert states(machine.gpus()) == {"cuda": "ok"}


SAVES = "--precision bf16 would save time where the last digits may move"


@pytest.mark.parametrize(
    ("name", "speed", "native", "state", "message", "advice"),
    [
        ("bf16", 2.0, True, "ok", "2.0 times fp32's speed", SAVES),
        ("bf16", 0.3, False, "note", "0.3 times fp32's speed, emulated", "use --precision fp32"),
        ("tf32", 1.0, False, "ok", "the same as fp32 here", ""),
        ("fp64", 0.5, True, "ok", "0.5 times fp32's speed", ""),
        ("fp32", 1.0, True, "ok", "the default", ""),
    ],
)
def test_a_precision_is_told_by_its_speed_and_whether_it_is_emulated(name, speed, native, state, message, advice):
    finding = machine.precision(name, speed, native)
    assert (finding.state, finding.advice) == (state, advice)
    assert finding.text.startswith(message)


def test_bf16_is_native_where_the_processor_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
    for flags, native in (("fpu avx2 avx512_bf16", True), ("fpu avx2", False)):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        assert machine.native("bf16", torch.device("cpu")) is native
    (tmp_path / "cpuinfo").unlink()
    assert not machine.native("bf16", torch.device("cpu"))
    assert not machine.native("tf32", torch.device("cpu"))


def test_measuring_a_precision_leaves_the_settings_as_they_were():
    before = torch.backends.cudnn.allow_tf32
    assert machine.seconds_of("tf32", torch.device("cpu")) > 0
    assert torch.backends.cudnn.allow_tf32 == before


# ------------------------------------------------------------------ weights and output


def test_missing_weights_of_the_built_in_model_are_a_problem(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "weights_file", lambda name: tmp_path / f"{name}.safetensors")
    found = {finding.name: finding for finding in places.weights()}
    assert found["resnet8"].state == "problem"
    assert "pip install" in found["resnet8"].advice


def test_a_torchvision_model_asked_for_is_not_downloaded_but_told_to_be_missing(cache):
    finding = places.model("resnet50")
    assert (finding.state, finding.text) == ("note", f"not in {cache}")
    assert RESNET50 in finding.advice
    assert list(cache.iterdir()) == []


def test_downloaded_weights_are_named_and_damaged_ones_found_by_the_digits_in_their_name(cache):
    assert states(places.downloaded()) == {"torchvision": "ok"}
    (cache / RESNET50).write_bytes(b"cut short")
    first, second = places.downloaded()
    assert first.text.startswith(f"resnet50, in {cache}")
    assert (second.name, second.state) == (RESNET50, "problem")
    whole = cache / "mine-b5bb9d80.pth"
    whole.write_bytes(b"foo\n")  # whose SHA-256 begins so
    assert whole.name not in states(places.downloaded())


def test_a_model_that_cannot_be_loaded_is_a_problem_in_its_own_words(cache, tmp_path):
    (tmp_path / "net.py").write_text("def build():\n    return 3\n")
    finding = places.model(f"{tmp_path}/net.py:build")
    assert finding.state == "problem"
    assert finding.text.endswith("to return an nn.Module, got int")
    assert places.model("resnet8").text == "loads: 10 classes, 64x64 pixels"


def test_output_that_cannot_be_written_is_a_problem_and_one_that_can_is_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("")
    assert places.output(tmp_path / "file/runs").state == "problem"
    finding = places.output(tmp_path / "new/runs")
    assert (finding.state, finding.text[:11]) == ("ok", "can be made")
    assert places.output(tmp_path).text.startswith("can be written to")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_nearly_full_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20})())
    assert places.output(tmp_path).state == "note"


def test_an_error_of_the_system_is_told_with_its_kind():
    assert from_error("data", "x", PermissionError("no")) == Finding(
        "data", "x", "PermissionError: no", state="problem"
    )
    assert from_error("data", "x", UserError("a; b; c")) == Finding("data", "x", "a", "b; c", "problem")


def test_a_torchvision_that_does_not_fit_is_told_with_what_to_write_in_scripts(monkeypatch):
    monkeypatch.setattr("attnlab.doctor.software.mended", True)
    (found,) = [finding for finding in software.software() if finding.name == "torchvision" and finding.state == "note"]
    assert "`import torchvision` alone fails" in found.text
    assert "`from attnlab.compat import torchvision`" in found.advice
