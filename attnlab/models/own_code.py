"""Networks that a user's own file builds: when its code may run, and every way it can fail as one line."""

import hashlib
import importlib.util
import sys
import tokenize
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

from torch import nn

from attnlab.errors import UserError, nearest
from attnlab.failures import one_line
from attnlab.models.zoos import runs_code


def is_own_code(name: str) -> bool:
    """Whether a model's name is FILE.py:FUNCTION."""
    return name.rpartition(":")[0].endswith(".py")


def is_code(name: str) -> bool:
    """Whether a model's name makes attnlab run code that is none of an installed package."""
    return is_own_code(name) or runs_code(name)


def check_trusted(name: str, named_by: Path, trust_code: bool, instead: str = "") -> None:
    """Refuse code that a file, and not the user, names (see `is_code`); where it is trusted, warn of what runs.

    `instead` is what else the user can write, to name the code outright.
    """
    if not is_code(name):
        return
    path = Path(name.rpartition(":")[0])
    if not trust_code:
        raise UserError(
            f"{named_by} names code that the command does not: {name}; look into it, then add --trust-code to run it"
            f"{f', or name it outright: {instead}' if instead and is_own_code(name) else ''}"
        )
    if not is_own_code(name):
        warnings.warn(f"--trust-code runs the code of {name}, which {named_by} names", stacklevel=2)
        return
    with suppress(OSError):  # a missing file is reported when it is to run
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        warnings.warn(f"--trust-code runs {path.resolve()} (SHA-256 {digest}), which {named_by} names", stacklevel=2)


def code_hash(name: str) -> str:
    """SHA-256 of a user's own file, comments and empty lines aside; empty for other models."""
    if not is_own_code(name):
        return ""
    path = Path(name.rpartition(":")[0])
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING):
                    digest.update(f"{token.string}\n".encode())
    except (OSError, SyntaxError, ValueError, tokenize.TokenError) as error:
        raise UserError(f"cannot read {path} as Python: {one_line(error)}") from None
    return digest.hexdigest()


def build_from_file(name: str) -> nn.Module:
    """The network that FILE.py:FUNCTION returns; an error where its code fails in whatever way, or ends the process."""
    path_text, _, function = name.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise UserError(f"expected --model FILE.py:FUNCTION with an existing file, got {path_text!r}")
    sys.path.insert(0, str(path.parent))  # the file may import its neighbours, as a script may
    try:
        network = _call(path, function)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the user's own code raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise UserError(f"cannot build {name}: {one_line(error)} ({path.name}, line {line})") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(str(path.parent))
    if not isinstance(network, nn.Module):
        raise UserError(f"expected {name} to return an nn.Module, got {type(network).__name__}")
    return network


def _call(path: Path, function: str) -> object:
    """Call the function of that file."""
    spec = importlib.util.spec_from_file_location(f"attnlab_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    build = getattr(module, function, None)
    if not callable(build):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == spec.name]
        listed = ", ".join(own) or "none"
        raise UserError(f"expected a function of {path.name} ({listed}), got {function!r}{nearest(function, own)}")
    return build()
