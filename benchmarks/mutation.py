"""What the tests are worth: change one thing in the code at a time, and see whether a test fails.

    python -m benchmarks.mutation [FILE ...] [--per-file 40] [--seed 0] [--out runs/mutation.jsonl]

A mutant is a file of `SUITES` with one comparison, operator, number, condition, call or return value changed. The test
files of that line run against it until the first failure, in a fork of a process that has imported them: there the code
of one function is swapped. What stands outside functions, strings and annotations stay as they are.
"""

import argparse
import ast
import copy
import gc
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import _lru_cache_wrapper, partial
from pathlib import Path
from types import CodeType, FunctionType

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEASURES, TABLES = "attnlab/measures", "attnlab/report/tables"
#: files under test, and the names of the test files that are to notice, the quickest first
SUITES = {
    "attnlab/boxes.py": "boxes regions objects map_metrics masks formats",
    "attnlab/attention/map_metrics.py": "map_metrics measures interactive",
    f"{MEASURES}/between_maps.py": "measures",
    f"{MEASURES}/localisation.py": "localisation box_measures",
    f"{MEASURES}/with_object.py": "measures",
    f"{MEASURES}/one_map.py": "measures",
    f"{TABLES}/iou.py": "report tables targeted_runs",
    f"{TABLES}/accuracy.py": "accuracy evaluation_tables corruptions_as_threats targeted_runs gaze_under_attack",
    f"{TABLES}/controls.py": "controls",
    f"{TABLES}/escape.py": "escape",
    f"{TABLES}/lime.py": "lime_tables masks lime_stage",
    f"{TABLES}/measures.py": "measured_runs",
    f"{TABLES}/layout.py": "formats latex tables",
    "attnlab/report/statistics.py": "statistics study_effects localisation",
    "attnlab/study/effects.py": "study_effects",
    "attnlab/training/losses.py": "losses attention_terms terms",
    "attnlab/pipelines/pending_parts.py": "analyze_resume run_folder shards",
    "attnlab/record_files.py": "record_files damage run_folder analyze_resume",
    "attnlab/runs.py": "run_records run_folder safe_cells damage analyze_resume shards",
    "attnlab/training/checkpointing.py": "resume restart",
}
COMPARED = {"Lt": ("LtE", "GtE"), "LtE": ("Lt", "Gt"), "Gt": ("GtE", "LtE"), "GtE": ("Gt", "Lt"), "Eq": ("NotEq",)}
COMPARED |= {"NotEq": ("Eq",), "Is": ("IsNot",), "IsNot": ("Is",), "In": ("NotIn",), "NotIn": ("In",)}
COMPUTED = {"Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Mod": "Mult", "Pow": "Mult"}
COMPUTED |= {"BitAnd": "BitOr", "BitOr": "BitAnd", "LShift": "RShift", "RShift": "LShift"}
NAMED = {"min": "max", "any": "all", "minimum": "maximum", "amin": "amax", "ceil": "floor"}
NAMED |= {new: old for old, new in NAMED.items()}
CONDITIONS = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Constant)

Change = Callable[[ast.AST], None]
Where = tuple[ast.AST, str | None]  # a node, and the function that it stands in


def nodes_of(tree: ast.AST, inside: str | None = None, path: str = "") -> Iterator[Where]:
    """All nodes but annotations, in order, each with the outermost function whose body holds it."""
    yield tree, inside
    for field, value in ast.iter_fields(tree):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and field not in ("annotation", "returns"):
                defined = isinstance(tree, ast.FunctionDef | ast.ClassDef) and field == "body"
                below = f"{path}.{tree.name}".lstrip(".") if defined else path
                function = inside or (below if defined and isinstance(tree, ast.FunctionDef) else None)
                yield from nodes_of(child, function, below)


def changes_of(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Each change of one node, in words and as what makes it in a copy of the node."""
    match node:
        case ast.Compare():
            for number, old in enumerate(node.ops):
                for new in COMPARED[type(old).__name__]:
                    yield new, lambda to, number=number, new=new: to.ops.__setitem__(number, getattr(ast, new)())
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if new := COMPUTED.get(type(op).__name__):
            yield new, lambda to: setattr(to, "op", getattr(ast, new)())
        case ast.BoolOp(op=op):
            yield "and <-> or", lambda to: setattr(to, "op", ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.Constant(value=bool() | int() | float() as value):
            new = not value if isinstance(value, bool) else value + 1
            yield f"{value} -> {new}", lambda to: setattr(to, "value", new)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMED:
            yield NAMED[name], lambda to: setattr(to, "id" if isinstance(to, ast.Name) else "attr", NAMED[name])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "without sign", lambda to: setattr(to, "op", ast.UAdd() if isinstance(to.op, ast.USub) else _Same())
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "return None", lambda to: setattr(to, "value", ast.Constant(None))
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, CONDITIONS):
            yield "if not", lambda to: setattr(to, "test", ast.UnaryOp(ast.Not(), to.test))
        case ast.Expr(value=ast.Call() | ast.Yield()):
            yield "left out", lambda to: setattr(to, "value", ast.Constant(None))


class _Same(ast.unaryop):
    """Marks an operator to take away."""


class _Bare(ast.NodeTransformer):
    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if isinstance(node.op, _Same) else node


def mutants_of(path: Path) -> list[tuple[dict[str, object], str | None, CodeType]]:
    """Every mutant of a file: what is changed where, the function or None, and the file's code."""
    tree, mutants = ast.parse(path.read_text()), []
    for number, (node, function) in enumerate(nodes_of(tree)):
        for words, change in changes_of(node):
            mutated = copy.deepcopy(tree)
            change(next(found for at, (found, _) in enumerate(nodes_of(mutated)) if at == number))
            code = compile(ast.fix_missing_locations(_Bare().visit(mutated)), str(path), "exec")
            about = {"file": path.relative_to(ROOT).as_posix(), "line": node.lineno, "change": words}
            mutants.append(({**about, "code": ast.unparse(node).partition("\n")[0]}, function, code))
    return mutants


def swap(path: Path, function: str, code: CodeType) -> None:
    """Give the function of that name in this process the code that it has in a mutated file."""
    inner, codes = [code], {}
    for some in inner:
        inner += [constant for constant in some.co_consts if isinstance(constant, CodeType)]
        codes.setdefault(some.co_qualname, some)
    gc.unfreeze()
    swapped = 0
    for found in gc.get_objects():
        if type(found) is _lru_cache_wrapper:
            found.cache_clear()
        elif type(found) is FunctionType and (
            (found.__code__.co_qualname, found.__code__.co_filename) == (function, str(path))
        ):
            found.__code__, swapped = codes[function], swapped + 1
    assert swapped, f"{function} of {path} is not in memory"


def run_tests(names: list[str]) -> int:
    """Exit code of the test files of those names, in this process, until the first failure; their output is lost."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    with tempfile.TemporaryDirectory(prefix="attnlab-mutant-") as folder:
        files = [f"tests/test_{name}.py" for name in names]
        options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/t"]
        return int(pytest.main([*files, *options]))


def in_fork(work: Callable[[], int], seconds: float) -> str:
    """What becomes of the tests in a process of their own: passed, failed, timeout, or broken where none ran."""
    child = os.fork()
    if not child:
        os.setsid()
        code = 3
        try:
            code = work()
        finally:
            os._exit(code)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return {0: "passed", 1: "failed"}.get(os.waitstatus_to_exitcode(status), "broken")
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def judge(file: str, per_file: int, seed: int) -> Iterator[dict[str, object]]:
    """What becomes of a sample of a file's mutants; ends where the tests fail with unchanged code swapped in."""
    names, path = SUITES[file].split(), ROOT / file
    mutants = [mutant for mutant in mutants_of(path) if mutant[1]]
    sample = random.Random(seed).sample(mutants, min(per_file, len(mutants)))
    same = compile(path.read_text(), str(path), "exec")

    def work(functions: set[str], code: CodeType) -> int:
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for function in functions:
            swap(path, function, code)
        return run_tests(names)

    started = time.monotonic()
    if (before := in_fork(lambda: work({str(function) for _, function, _ in sample}, same), 600)) != "passed":
        raise SystemExit(f"expected the tests of {file} to pass without a change, got: {before}")
    limit = 10 + 5 * (time.monotonic() - started)
    for about, function, code in sample:
        result = in_fork(partial(work, {str(function)}, code), limit)
        yield {**about, "function": function, "of": len(mutants), "seed": seed, "result": result}


def main() -> None:
    """Print killed and survived by file, write every mutant as a line of JSON, and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", default=list(SUITES), choices=list(SUITES), metavar="FILE")
    parser.add_argument("--per-file", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mutation.jsonl"))
    asked = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    import shared_fixtures  # noqa: F401 - torch and the package, once for all forks

    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with asked.out.open("a") as out:
        for file in asked.files:
            results = []
            for result in judge(file, asked.per_file, asked.seed):
                results.append(result)
                print(json.dumps(result), file=out, flush=True)
            counts = Counter(result["result"] for result in results)
            survived = [result for result in results if result["result"] == "passed"]
            of = results[0]["of"] if results else 0
            killed = counts["failed"] + counts["timeout"]
            print(
                f"{file}: {len(results)} of {of}, {killed} killed ({counts['timeout']} by time), "
                f"{len(survived)} survived, {counts['broken']} broken",
                flush=True,
            )
            for result in survived:
                print(f"  {result['line']} in {result['function']}: {result['code']}: {result['change']}", flush=True)


if __name__ == "__main__":
    main()
