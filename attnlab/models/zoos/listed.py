"""Names of the networks of installed zoos, read from their source: importing them takes seconds."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

Benchmark = tuple[str, str]  # data set and threat model
DEFAULT: Benchmark = ("cifar10", "Linf")  # of RobustBench, as its own `load_model` has it


@cache
def torchvision_names() -> list[str]:
    """Names of torchvision's classification models; none where it is not installed."""
    return _registered("torchvision", r"@register_model\(\)\n(?:@.*\n)*def (\w+)\(")


@cache
def timm_names() -> list[str]:
    """Names of timm's models with their prefix; none where it is not installed."""
    return [f"timm:{name}" for name in _registered("timm", r"(?m)^@register_model\n(?:@.*\n)*def (\w+)\(")]


def _registered(package: str, pattern: str) -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in _sources(package, "models")]
    return sorted(name for text in texts for name in re.findall(pattern, text))


def _sources(package: str, folder: str) -> Iterator[Path]:
    """Python files in a folder of a package."""
    try:
        spec = find_spec(package)
    except ValueError:  # something else stands in its place
        spec = None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(place, folder).glob("*.py"))


@cache
def robustbench_table() -> dict[Benchmark, list[str]]:
    """RobustBench's models by benchmark; empty where it is not installed.

    Its files, one a data set, hold `linf = OrderedDict([('NAME', {...}), ...])` and the like, and in the end
    `cifar_10_models = OrderedDict([(ThreatModel.Linf, linf), ...])`.
    """
    table = {}
    for path in _sources("robustbench", "model_zoo"):
        lists = dict(_ordered_dicts(ast.parse(path.read_text(encoding="utf-8"))))
        for keys in lists.values():
            for threat, models in keys:
                if isinstance(threat, ast.Attribute) and isinstance(models, ast.Name):
                    names = [key.value for key, _ in lists[models.id] if isinstance(key, ast.Constant)]
                    table[path.stem, threat.attr] = [str(name) for name in names]
    return table


def _ordered_dicts(module: ast.Module) -> Iterator[tuple[str, list[tuple[ast.expr, ast.expr]]]]:
    """Each variable that is set to an OrderedDict of pairs, and the pairs."""
    for node in module.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="OrderedDict"), args=[ast.List(elts=elements)]),
            ):
                yield name, [(pair.elts[0], pair.elts[1]) for pair in elements if isinstance(pair, ast.Tuple)]


def robustbench_names() -> list[str]:
    """Names of RobustBench's models with their prefix, and with the benchmark where it is not the default."""
    table = robustbench_table()
    return [f"robustbench:{in_full(name, benchmark)}" for benchmark, names in table.items() for name in names]


def in_full(name: str, benchmark: Benchmark) -> str:
    """A model's name with the benchmark behind it, where that is not the default."""
    return name if benchmark == DEFAULT else f"{name}@{'/'.join(benchmark)}"
