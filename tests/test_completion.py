"""Completion by the shell: what is offered, and that a key press imports no torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from common import error_of

from attnlab.attacks.corruptions import ALL as ALL_CORRUPTIONS
from attnlab.attacks.corruptions import known_corruptions
from attnlab.attacks.parse import known_attacks, other_names, parse_attack
from attnlab.attention import METHODS
from attnlab.compat import torchvision
from attnlab.data import DATASETS, load_dataset
from attnlab.models import BUILT_IN, load_model
from attnlab.models.names import check_model_name, torchvision_names
from attnlab.training.parse import known_defenses, parse_defense
from attnlab_cli.app import app


def offered(*words: str) -> list[str]:
    """What Click offers where the last word is being typed."""
    complete = ShellComplete(app, {}, "attnlab", "_ATTNLAB_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_every_name_that_is_completed_is_known():
    for name in known_attacks():
        parse_attack(name)
    for name in known_defenses():
        parse_defense(name)
    for name in BUILT_IN:
        load_model(name, "none")


def test_a_split_that_a_data_set_does_not_have_is_refused_with_those_it_has(tmp_path):
    for data, spec in DATASETS.items():
        refused = f"--split to be one of {', '.join(spec.splits)}, got 'nowhere'" in error_of(
            load_dataset, data, tmp_path, "nowhere"
        )
        assert refused == bool(spec.splits), data
        assert not spec.splits or {spec.split, spec.accuracy_split} <= set(spec.splits), data


def test_names_of_torchvision_read_from_its_source_are_those_it_lists():
    assert sorted(torchvision_names()) == sorted(torchvision.models.list_models(module=torchvision.models))


def test_a_model_is_refused_before_torch_is_imported_in_the_words_of_loading():
    assert error_of(check_model_name, "resnet5") == error_of(load_model, "resnet5")


@pytest.mark.parametrize("name", ["timm:anything", "net.py:build", "runs/aad", "resnet8", "vit_b_16"])
def test_a_model_that_files_alone_cannot_tell_wrong_is_left_to_be_loaded(name):
    check_model_name(name)


def test_a_wrong_name_is_refused_before_torch_is_imported(tmp_path):
    wrong = {
        "analyze --data coko": "--data to be one of ",
        "analyze --attack PGD": "an attack of ",
        "analyze --method gradcam": "--method to be one of ",
        "analyze --resize Crop": "--resize to be one of ",
        "analyze --model resnet5": "--model to be a torchvision name, ",
        "evaluate --attacks clean,PGD20": "an attack of ",
        "evaluate --model resnet8 --model resnet9x": "--model to be a torchvision name, ",
        "attack --attack squares": "an attack of ",
        "train --defense AAD": "a defense of ",
        "sweep --data mnits": "--data to be one of ",
        "doctor --data mnits": "--data to be one of ",
        "analyze --split tset": "--split to be one of train, val, test, got 'tset'",
        "analyze --split val --data mnist": "--split to be one of train, test, got 'val'",
        "evaluate --data imagenet --split test": "--split to be one of val, train, got 'test'",
        "attack --split tset": "--split to be one of ",
        "figures runs/none --data cifar10 --split val": "--split to be one of train, test, got 'val'",
        "analyze --target tru": "--target to be one of true, predicted, got 'tru'",
        "analyze --eps 4/255,8": "eps in [0, 1], got 8; did you mean 8/255?",
        "analyze --eps 0,05": "eps with a decimal point, got '0,05'",
        "evaluate --eps 8": "eps in [0, 1], got 8; did you mean 8/255?",
        "attack --step-size 2": "--step-size in [0, 1], got 2",
        "figures runs/none --eps large": "eps as a number or a fraction such as 8/255, got 'large'",
        "train --eps 8": "--eps in [0, 1], got 8; did you mean 8/255?",
        "train --plan papper --data mnist": "--plan for mnist to be one of short, paper, got 'papper'",
        "train --plan paper": "--plan for scenes to be one of short, got 'paper'",
        "sweep --data folder --plan long": "--plan for folder to be one of short, paper, got 'long'",
        "train --optimizer Adam": "--optimizer to be one of adam, sgd, got 'Adam'; did you mean 'adam'?",
        "train --schedule cosine": "--schedule to be one of ",
        "train --augment flip": "--augment to be one of ",
    }
    lines = [
        "import sys",
        "from attnlab_cli import main",
        f"for words in {list(wrong)}:",
        "    sys.argv = ['attnlab', *words.split()]",
        "    try: main()",
        "    except SystemExit as end: print(end.code)",
        "print([name for name in ('torch', 'torchvision', 'pandas', 'sklearn') if name in sys.modules])",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["1"] * len(wrong) + ["[]"]
    for line, start in zip(done.stderr.splitlines(), wrong.values(), strict=True):
        assert line.startswith(f"Error: expected {start}")


def test_commands_options_and_their_values_are_offered():
    assert "analyze" in offered("an")
    assert "--precision" in offered("analyze", "--pre")
    assert offered("analyze", "--precision", "f") == ["fp64", "fp32"]
    assert offered("analyze", "--data", "") == list(DATASETS)
    assert offered("train", "--defense", "") == known_defenses()
    assert offered("analyze", "--attack", "pg") == [name for name in known_attacks() if name.startswith("pg")]
    plain = [*BUILT_IN, *torchvision_names()]
    assert offered("evaluate", "--model", "resnet") == [name for name in plain if name.startswith("resnet")]


def test_of_a_list_with_commas_the_last_name_is_completed_and_none_is_offered_twice():
    every = (*other_names(), *known_attacks(), ALL_CORRUPTIONS, *known_corruptions())
    of_p, of_f = ([name for name in every if name.startswith(letter)] for letter in "pf")
    assert "frost@3" in of_f
    assert offered("evaluate", "--attacks", "clean,p") == [f"clean,{name}" for name in of_p]
    assert offered("evaluate", "--attacks", "fgsm,f") == [f"fgsm,{name}" for name in of_f if name != "fgsm"]
    assert offered("analyze", "--method", "") == list(METHODS)


def test_a_model_that_is_no_name_is_completed_as_a_path():
    complete = ShellComplete(app, {}, "attnlab", "_ATTNLAB_COMPLETE")
    (item,) = complete.get_completions(["analyze", "--model"], "runs/mad")
    assert (item.type, item.value) == ("file", "runs/mad")


def test_completing_imports_no_torch():
    lines = [
        "import sys, atexit",
        "atexit.register(lambda: print('imported:', [n for n in ('torch', 'pandas') if n in sys.modules]))",
        "sys.argv = ['attnlab']",
        "from attnlab_cli import main",
        "main()",
    ]
    words = {"_ATTNLAB_COMPLETE": "bash_complete", "COMP_WORDS": "attnlab analyze --data ci", "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, **words}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["plain,cifar10", "plain,cifar100", "imported: []"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_line_of_the_docs_completes_in_bash(tmp_path):
    command = tmp_path / "attnlab"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.argv[0] = \"attnlab\"\n"
                       "from attnlab_cli import main; main()' \"$@\"\n")  # fmt: skip
    command.chmod(0o755)
    page = (Path(__file__).parents[1] / "docs/console.md").read_text()
    line = next(line.strip() for line in page.splitlines() if "bash_source" in line)
    typed = "COMP_WORDS=(attnlab train --defense mad); COMP_CWORD=3; _attnlab_completion attnlab; echo ${COMPREPLY[@]}"
    done = subprocess.run(
        ["bash", "-c", f"{line}\n{typed}"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wanted = [name for name in known_defenses() if name.startswith("mad")]
    assert (done.stdout.split(), done.stderr) == (wanted, "")
    assert {"madry", "madry+aad", "madry+aad+awp"} <= set(wanted)
