"""Configurations: what users may say, what of it is recorded, and what a manifest without an option means."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from common import error_of

from attnlab import config
from attnlab.attacks import ATTACKS
from attnlab.config import AnalyzeConfig
from attnlab.config.option import Options, option, variant
from attnlab.errors import UserError
from attnlab.manifests import check_same

CONFIGS = [getattr(config, name) for name in config.__all__]


@dataclass(frozen=True)
class Small(Options):
    """A small section.

    Attributes:
        size: How large it is,
            in whole numbers; by default {eps}.
        colours: Which.
    """

    PREFIX: ClassVar[str] = "small_"

    size: int = option(3, least=1, decides=True)
    colours: tuple[str, ...] = option((), name="colour")
    rule: str = option("sign", choices=("sign", "momentum"), decides=True, sparse=True)


@dataclass(frozen=True)
class Smaller(Small):
    """A smaller one.

    Attributes:
        rule: How.
    """

    size: int = variant(Small, "size", default=1)


@dataclass(frozen=True)
class Other(Options):
    mine: int = variant(Small, "size", default=2)


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_of_options_are_told_apart_and_make_the_configuration_again(kind):
    names = [leaf.name for leaf in kind.leaves()]
    assert len(set(names)) == len(names)
    made = kind()
    assert kind.of(**made.flat()) == made
    assert list(made.flat()) != []
    for leaf in kind.leaves():
        assert leaf.help.endswith(".")


def test_a_variant_is_the_same_but_for_what_it_says():
    (mine, *_), (theirs, *_) = Smaller.own(), Small.own()
    assert (mine.field.default, theirs.field.default) == (1, 3)
    assert mine.name == "small_size"
    assert replace(mine.option, name="", like=None) == theirs.option
    assert [leaf.name for leaf in Other.own()] == ["small_size"]


def test_help_is_what_the_nearest_docstring_says():
    size, colours, rule = (leaf.help for leaf in Smaller.own())
    budgets = "0.3 for mnist, 8/255 for cifar10, cifar100 and svhn, 16/255 for others"
    assert size == f"How large it is, in whole numbers; by default {budgets}."
    assert (colours, rule) == ("Which.", "How.")
    assert [leaf.help for leaf in Other.own()] == [size]


def test_values_are_parsed_checked_and_kept_as_tuples():
    assert Small(colours=["red"]).colours == ("red",)
    assert Small(colours="red").colours == ("red",)
    assert error_of(lambda: Small(size=0)) == "expected --small-size of at least 1, got 0"
    assert error_of(lambda: Small(rule="momentun")).endswith("did you mean 'momentum'?")
    assert AnalyzeConfig.of(eps="4/255,8/255", method="grad-cam, lime").attack.eps == (4 / 255, 8 / 255)
    message = "--features: expected whole numbers with commas between them, got '8,many'"
    assert error_of(lambda: AnalyzeConfig.of(features="8,many")) == message
    with pytest.raises(TypeError, match=r"lime_sample$"):
        AnalyzeConfig.of(lime_sample=3)


def test_what_decides_is_recorded_and_what_is_rarely_said_where_it_is():
    assert Small(size=2).recorded() == {"small_size": 2}
    assert Small(rule="momentum").recorded() == {"small_size": 3, "small_rule": "momentum"}
    assert Small.defaults() == {"small_size": 3, "small_rule": "sign"}
    assert AnalyzeConfig.of(device="cpu", workers=3).recorded() == AnalyzeConfig().recorded()


def test_an_option_that_a_manifest_lacks_has_its_default(tmp_path):
    options = {"data": "scenes", "attack": {"steps": 3}, "attacks": {"a": {"steps": 1}}}
    manifest = {"kind": "analyze", "data": {}, "model": {}}
    defaults = {"rule": "sign", "attack": {"rule": "sign"}, "attacks": {"a": {"rule": "sign"}, "b": {"rule": "sign"}}}

    def compare(new: dict, old: dict = options) -> None:
        check_same(tmp_path, manifest | {"options": old}, manifest | {"options": new}, defaults)

    compare(options | {"rule": "sign"})
    compare(options, options | {"rule": "sign"})
    compare(options | {"attack": {"steps": 3, "rule": "sign"}, "attacks": {"a": {"steps": 1, "rule": "sign"}}})
    assert "(rule was 'sign', is 'momentum')" in error_of(lambda: compare(options | {"rule": "momentum"}))
    new = options | {"attack": {"steps": 3, "rule": "momentum"}}
    assert "(attack rule was 'sign', is 'momentum')" in error_of(lambda: compare(new))
    assert "(unknown is new: 'x')" in error_of(lambda: compare(options | {"unknown": "x"}))
    new = options | {"attacks": {"a": {"steps": 1}, "b": {"steps": 1, "rule": "sign"}}}
    assert "(attacks b is new)" in error_of(lambda: compare(new)), "an attack is no default of another"


def test_an_attack_that_is_ready_takes_no_options_of_a_name(tmp_path):
    from attnlab.pipelines.opening import ready_attack

    mine = replace(ATTACKS["pgd"], steps=2)
    assert ready_attack(AnalyzeConfig.of(attack=mine, eps="0.1").attack, "scenes") is mine
    with pytest.raises(UserError, match="expected steps with the name of an attack, got an attack that is ready"):
        ready_attack(AnalyzeConfig.of(attack=mine, steps=3).attack, "scenes")


def test_configurations_are_made_without_torch_and_without_the_command_line():
    code = "import sys, attnlab.config; print([n for n in ('torch', 'click', 'pandas') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
