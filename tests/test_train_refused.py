"""What `attnlab train` says to each kind of bad input."""

import json
import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from PIL import Image
from trainings import own_images

from attnlab import files
from attnlab.config import TrainConfig
from attnlab.data import DATASETS
from attnlab.errors import UserError
from attnlab.files import alone_in
from attnlab.pipelines import train as training_pipeline
from attnlab.pipelines.train import prepare_training
from attnlab.training import DEFENSES, adversary

WEIGHTED = ", ".join(name for name, defense in DEFENSES.items() if defense.weight)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--defense", "madri"], "expected a defense of none, madry, mixed, fast, alp, "),
        (
            ["--defense", "ensemble"],
            "expected --sources CHECKPOINT for the ensemble defense, once for each static model, got none",
        ),
        (["--sources", "x"], "expected --sources with the ensemble defense alone, got aad"),
        (["--defense", "ensemble", "--sources", "x"], "--sources x: expected --model to be a torchvision name, timm:"),
        (["--plan", "long"], "expected --plan for mnist to be one of short, paper, got 'long'"),
        (
            ["--data", "mnits"],
            f"expected --data to be one of {', '.join(DATASETS)}, got 'mnits'; did ",
        ),
        (["--root", "nowhere"], "expected --root to be an existing folder, got 'nowhere'"),
        (["--root", "."], "no train-images-idx3-ubyte in .; expected it there or in MNIST/raw, plain or .gz"),
        (["--data", "imagenet", "--root", "."], "no training images below .; expected class folders in train"),
        (["--data", "folder", "--root", "."], "no boxes: expected boxes.csv or train/boxes.csv"),
        (["--eps", "8"], "expected --eps in [0, 1], got 8; did you mean 8/255?"),
        (["--eps", "much"], "expected --eps as a number or a fraction such as 8/255, got 'much'"),
        (["--step-size", "2"], "expected --step-size in [0, 1], got 2; did you mean 2/255?"),
        (["--step-size", "0"], "expected --step-size above 0, got 0: such an attack stays where it starts"),
        (["--epochs", "0"], "expected --epochs of at least 1, got 0"),
        (["--epochs", "-1"], "expected --epochs of at least 1, got -1"),
        (["--epochs", 10**400], "expected --epochs of at most 1000000, got 1000"),
        (["--steps", 10**30], "expected --steps of at most 1000000, got 1000"),
        (["--batch-size", 10**30], "expected --batch-size of at most 1000000, got 1000"),
        (["--held-out", 10**30], "expected --held-out from 1 to 59, there being 60 training images, got 1000"),
        (["--seed", 10**30], "expected --seed of at most 63 bits, got a larger number"),
        (["--seed", -(10**30)], "expected --seed of at most 63 bits, got a larger number"),
        (["--learning-rate", "nan"], "expected --learning-rate above 0, got nan"),
        (["--learning-rate", "0"], "expected --learning-rate above 0, got 0"),
        (["--learning-rate", "1" * 400], "expected --learning-rate above 0, got inf"),
        (["--weight-decay", "nan"], "expected --weight-decay of at least 0, got nan"),
        (["--beta", "nan"], "expected beta of at least 0, got nan"),
        (["--batch-size", "0"], "expected --batch-size of at least 1, got 0"),
        (["--learning-rate", "-1"], "expected --learning-rate above 0, got -1"),
        (["--ramp", "nan"], "expected --ramp of at least 0 epochs, got nan"),
        (["--alpha", "-0.1"], "expected alpha of at least 0, got -0.1"),
        (["--fill", "gray"], "expected fill to be one of black, grey, got 'gray'; did you mean 'grey'?"),
        (["--optimizer", "adams"], "expected --optimizer to be one of adam, sgd, got 'adams'; did you mean 'adam'?"),
        (["--weight-decay", "-1"], "expected --weight-decay of at least 0, got -1"),
        (
            ["--loss-weight", "1"],
            f"expected --loss-weight with {WEIGHTED} alone, whose losses have a second part, got ",
        ),
        (["--held-out", "60"], "expected --held-out from 1 to 59, there being 60 training images, got 60"),
        (
            ["--batch-size", "51"],
            "expected at least a batch of 51 training images, got 50; a smaller --batch-size may ",
        ),
        (["--limit", "5"], "expected at least a batch of 10 training images, got 5; a smaller --batch-size may do"),
        (["--model", "resnet8"], "expected a model of 1 channel for mnist, got one of 3; name another with --"),
        (["--weights", "nope.pth"], "expected --weights to be default, none or an existing file, got 'nope.pth'"),
        (["--layer", "nope"], "expected a layer of the model, got 'nope'; layers at the top level: 0, 1, 2, 3"),
        (["--device", "cuda:99"], "expected --device to be auto, cpu or an accelerator of this machine, got 'cuda:99'"),
    ],
)
def test_bad_input_is_one_line(train, words, message):
    assert train(*words).error.startswith(message)


def test_cuda_asked_for_and_absent_is_one_line(train):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    error = train("--device", "cuda").error
    assert error.startswith("expected --device to be auto, cpu or an accelerator of this machine, got 'cuda' (")
    assert error.endswith("; try --device cpu")


def test_compiling_maps_that_cannot_be_compiled_is_one_line(train, place):
    error = train("--compile", "--model", f"{place}/net.py:hidden").error
    assert error.startswith("expected --compile without +aad, or a network with a linear layer behind a global ")


@pytest.mark.parametrize(
    ("words", "message"), [(["--device", "cpu:0"], "--device cuda"), (["--compile"], "one process")]
)
def test_what_several_processes_cannot_share_is_one_line(train, monkeypatch, words, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert message in train(*words).error


def test_a_training_whose_first_step_took_too_much_memory_may_begin_again_with_a_smaller_batch(train, monkeypatch):
    def fill(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(adversary, "perturb", fill)
        assert (
            "too little memory (CUDA out of memory); what is finished is kept: try a smaller --batch-size"
            in train().error
        )
    assert train("--batch-size", 5).code == 0


def test_classes_that_do_not_fit_are_one_line(train, place):
    assert train("--model", f"{place}/net.py:few").error.startswith("expected a model of 10 classes for mnist, got one")


def test_a_label_of_a_folder_that_the_model_does_not_know_is_one_line(train, place):
    Path("train").mkdir()
    for name in "ab":
        Image.new("RGB", (28, 28)).save(f"train/{name}.png")
    Path("train/boxes.csv").write_text("image,label,x0,y0,x1,y1\na.png,2,,,,\nb.png,3,,,,\n")
    words = ["--data", "folder", "--root", ".", "--model", f"{place}/net.py:colour", "--held-out", 1]
    words += ["--batch-size", 1]
    assert train(*words).error == (
        "expected labels from 0 to 2, which the model knows, got 3 for image b.png; name another with --model"
    )


def test_images_of_which_none_are_kept_for_a_test_are_told(train, place):
    own_images(Path("flat"), 20)
    own_images(Path("split/train"), 20)
    words = ["--data", "folder", "--model", f"{place}/net.py:colour", "--epochs", 1]
    words += ["--batch-size", 6, "--held-out", 2, "--workers", 0]
    message = "Warning: this training uses all images of flat: evaluate and analyze it on others, or keep these in "
    assert message in train(*words, "--root", "flat", "--out", "one").err
    assert "this training uses all images" not in train(*words, "--root", "split", "--out", "two").err


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--learning-rate", "0.5"], "learning_rate was 0.001, is 0.5"),
        (["--defense", "alp", "--seed", "0"], "defense was 'madry+aad', is 'alp'"),
        (["--alpha", "0.3"], "defense's alpha was 0.01, is 0.3"),
        (["--epochs", "1"], "epochs was 2, is 1"),
        (["--seed", "1"], "seed was 0, is 1"),
        (["--held-out", "9"], "held_out was 10, is 9"),
        (["--augment", "crop-flip"], "augment was 'none', is 'crop-flip'"),
        (["--limit", "20"], "limit was None, is 20"),
    ],
)
def test_going_on_with_other_options_tells_which(train, words, difference):
    train()
    error = train(*words).error
    assert error.startswith("out holds a run with other options (")
    assert difference in error
    assert error.endswith("; choose another --out")


def test_a_perturbation_that_never_begins_is_told(train):
    words = "--defense", "madry+awp", "--epochs", 1
    message = "no weight is ever perturbed: --awp-warmup 1 is not below --epochs 1"
    assert message in train(*words, "--awp-warmup", 1).err
    assert message not in train(*words, "--awp-warmup", 0.5, "--out", "other").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ema", "1"], "expected --ema in [0, 1), such as 0.999, got 1"),
        (["--awp-gamma", "0.01"], "expected --awp-gamma with +awp alone, got aad; did you mean aad+awp?"),
        (["--defense", "madry+awp", "--awp-gamma", "2"], "expected gamma between 0 and 1 where weights are perturbed"),
        (["--defense", "madry+awp", "--awp-warmup", "-1"], "expected warmup of at least 0, got -1"),
    ],
)
def test_an_average_or_a_perturbation_that_makes_no_sense_is_refused(train, words, message):
    assert train(*words).error.startswith(message)


def test_a_ramp_that_does_not_end_is_told(train):
    message = train("--ramp", 10, "--epochs", 1).err.splitlines()
    assert "Warning: the attack never has its full eps: --ramp 10 is longer than --epochs 1" in message
    for words in (["--ramp", 1], ["--ramp", 10, "--defense", "none"]):
        assert "Warning" not in train(*words, "--epochs", 1, "--out", f"other-{words[1]}").err


def test_a_training_that_failed_before_its_first_step_leaves_the_folder_to_another(train, monkeypatch):
    def fail(*_: object) -> None:
        raise UserError("no images today")

    assert train("--batch-size", 51).code == 1
    assert not Path("out").exists()
    with monkeypatch.context() as patch:
        patch.setattr(training_pipeline, "open_images", fail)
        assert train("--seed", 1).error == "no images today"
    assert train("--seed", 2).code == 0
    assert json.loads(Path("out/training.json").read_text())["options"]["seed"] == 2


def test_a_folder_that_is_no_training_is_left_alone(train):
    Path("out").mkdir()
    Path("out/thesis.tex").touch()
    assert train().error == "out exists and is no training; choose another --out"
    assert [path.name for path in Path("out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "3", '{"kind": "train", "options": 3}', "[" * 99_999])
def test_a_damaged_manifest_is_one_line(train, content):
    Path("out").mkdir()
    Path("out/training.json").write_text(content)
    assert "training.json is damaged" in train().error


@pytest.mark.parametrize(
    "line",
    [
        "3\n",
        "null\n",
        '{"step": 3}\n',
        '{"epoch": "1"}\n',
        "[" * 9999 + "\n",
        "\0\0\0\n",
        '{"epoch": 1, "st\n',
        "\udce9\n",
    ],
)
def test_a_damaged_log_is_one_line(train, line):
    train("--epochs", 1)
    log = Path("out/log.jsonl")
    log.write_bytes(line.encode(errors="surrogateescape") + log.read_bytes())
    expected = "out/log.jsonl is damaged: line 1 is none of a log; remove it, or choose another --out"
    assert train("--epochs", 1).error == expected


def test_a_folder_that_another_process_trains_in_is_one_line_and_stays_as_it_is(train, monkeypatch):
    monkeypatch.setattr(files, "LOCK_PATIENCE", 0.0)
    assert train("--epochs", 1).code == 0
    for path in ("log.jsonl", "state.safetensors"):
        Path("out", path).unlink()  # as before the other one's first line
    before = Path("out/training.json").read_bytes()
    with alone_in(Path("out")):
        refused = train("--epochs", 1, "--seed", 1).error
    assert refused == "another process works in out; wait for its end, or choose another --out"
    assert Path("out/training.json").read_bytes() == before
    assert train("--epochs", 1).code == 0


def test_a_folder_that_is_given_back_meanwhile_is_waited_for(tmp_path):
    with ThreadPoolExecutor() as pool, ExitStack() as first:
        first.enter_context(alone_in(tmp_path))
        second = ExitStack()
        waiting = pool.submit(second.enter_context, alone_in(tmp_path))
        assert not wait([waiting], timeout=0.3).done
        first.close()
        waiting.result()
        second.close()


def test_a_state_file_cut_short_is_one_line(train):
    train("--epochs", 1)
    state = Path("out/state.safetensors")
    state.write_bytes(state.read_bytes()[:1000])
    assert train("--epochs", 1).error.startswith("out/state.safetensors is damaged (")


def test_a_loss_that_is_not_a_number_is_one_line(train):
    error = train("--learning-rate", "1e30", "--ramp", 0).error
    assert re.match(r"the term \w+ became (nan|inf) in epoch 1, step \d; there is no checkpoint yet; ", error)


def test_errors_of_prepare_training_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="expected --plan for scenes"):
        prepare_training(TrainConfig.of(plan="paper", out=tmp_path)).__enter__()
