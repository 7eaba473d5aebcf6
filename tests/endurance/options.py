"""Option lines made from the configuration dataclasses: odd values, alone and in pairs, names misspelt."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, get_args, get_type_hints
from unittest import mock

from endurance.cases import ACCEPTED, REFUSED, odd
from endurance.command import attnlab

from attnlab.config import AnalyzeConfig, AttackConfig, EvaluateConfig, SweepConfig, TrainConfig
from attnlab.config.names import known_names
from attnlab.config.option import Leaf, Options
from attnlab.config.sections import ModelOptions

CONFIGS: dict[str, type[Options]] = {
    "analyze": AnalyzeConfig,
    "evaluate": EvaluateConfig,
    "attack": AttackConfig,
    "train": TrainConfig,
    "sweep": SweepConfig,
    "models": ModelOptions,
}
#: where the heavy work of these commands starts
STARTS = (
    "attnlab.pipelines.job.Job.run",
    "attnlab.pipelines.on_ray.on_ray",
    "attnlab.training.trainer.Training.run",
)
#: likely values by the type of the field, and texts
PLAIN = {int: ("0", "1", "2", "7"), float: ("0", "0.1", "0.5", "8/255", "2"), tuple: ("0.5,0.5,0.5", "3,7", "0.01,0.1")}
TEXTS = ("none", "resnet8", "scenes", "cpu", "1/2", "here", "0.25")


class Reached(BaseException):
    """The heavy work would start."""


def options_case(draw: Random, folder: Path) -> str:
    """Call a command with odd options; where it gets as far as its work, hold its configuration to what was written."""
    command = draw.choice(list(CONFIGS))
    leaves = [leaf for leaf in CONFIGS[command].leaves() if command != "models" or leaf.field.name != "name"]
    chosen = draw.sample(leaves, draw.choice((1, 1, 1, 2, 2, 3)))
    given = {leaf: _value(draw, leaf) for leaf in chosen}
    flags = {leaf: _misspelt(draw, leaf.flag) if draw.random() < 0.03 else leaf.flag for leaf in chosen}
    words = [command, *(["resnet8"] if command == "models" else ["--limit", "60"])]
    words += ["--batch-size", "8"] if command in ("train", "sweep") else []
    for leaf, text in given.items():
        words += [flags[leaf]] if text is None else [f"{flags[leaf]}={text}"]
    if command in ("train", "sweep") and draw.random() < 0.5:
        words += ["--defense", draw.choice(known_names("defenses"))]
    if command in ("analyze", "evaluate") and draw.random() < 0.2:
        words += ["--smoke"]
    with _cut_off() as configs:
        try:
            printed = attnlab(folder, words)
        except Reached:
            _hold(configs[-1], {leaf: text for leaf, text in given.items() if flags[leaf] == leaf.flag}, words)
            return ACCEPTED
    if command == "models" and not printed.code:
        return ACCEPTED  # its work is small: it is done
    assert printed.code, f"{words} ended without its work: {printed.err[-300:]}"
    return REFUSED


@contextmanager
def _cut_off() -> Iterator[list[Options]]:
    """Stop commands where their work starts; gather the configurations made until then."""
    made: list[Options] = []

    def stop(*_: object, **__: object) -> None:
        raise Reached

    def noted(section: Options) -> None:
        original(section)
        made.append(section)

    original = Options.__post_init__
    with ExitStack() as stack:
        for start in STARTS:
            stack.enter_context(mock.patch(start, stop))
        stack.enter_context(mock.patch.object(Options, "__post_init__", noted))
        yield made


def _value(draw: Random, leaf: Leaf) -> str | None:
    """An odd value, a plain one, or one of the names that the option has; None of a flag."""
    if isinstance(leaf.field.default, bool):
        return None
    names = leaf.option.choices or (known_names(leaf.option.names) if leaf.option.names else ())
    kinds = [name for kind in leaf.option.kinds for name in known_names(kind)]
    chance = draw.random()
    if (names or kinds) and chance < 0.5:
        name = draw.choice([*names, *kinds])
        return _misspelt(draw, name) if draw.random() < 0.2 else name
    kinds = [kind for kind in PLAIN if kind in _types(leaf) or isinstance(leaf.field.default, kind)]
    text = draw.choice(PLAIN[kinds[0]] if kinds else TEXTS) if chance > 0.6 else odd(draw)
    if draw.random() < 0.05:
        text = f"{text},{odd(draw)}"
    return text.replace("\0", "0").replace("\ud800", "\udc80")  # neither can be in an argument


def _types(leaf: Leaf) -> tuple[Any, ...]:
    hint = get_type_hints(leaf.owner)[leaf.field.name]
    return get_args(hint) or (hint,)


def _misspelt(draw: Random, name: str) -> str:
    place = draw.randrange(len(name))
    return name[:place] + draw.choice(("", "x", name[place] * 2, "-")) + name[place + 1 :]


def _hold(config: Options, given: dict[Leaf, str | None], words: Sequence[str]) -> None:
    """Hold numbers to be finite, and each value to be what was written."""
    for value in _numbers(config.flat()):
        assert math.isfinite(value), f"{words}: {value} was accepted"
    flat = config.flat()
    for leaf, text in given.items():
        kinds = _types(leaf)
        if leaf.name not in flat or "--smoke" in words or text is None or leaf.option.parse or leaf.several:
            continue
        if f"{leaf.flag}=" in " ".join(words[words.index(f"{leaf.flag}={text}") + 1 :]):
            continue
        if int in kinds and str not in kinds:
            assert flat[leaf.name] == int(text), f"{words}: {flat[leaf.name]!r}"
        elif float in kinds and str not in kinds:
            assert flat[leaf.name] == float(text), f"{words}: {flat[leaf.name]!r}"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | tuple | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
