"""Names of models: a wrong one is refused before torch loads."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from attnlab.errors import UserError, nearest
from attnlab.models import BUILT_IN

MODEL_HELP = "a torchvision name, timm:NAME, FILE.py:FUNCTION, a checkpoint folder, or one of attnlab's own"


def check_model_name(name: str) -> None:
    """Check a model's name as far as files alone allow: nothing is imported, built or downloaded."""
    theirs = torchvision_names()
    known = [*BUILT_IN, *theirs]
    if re.fullmatch(r"[\w-]+", name) and theirs and name not in known and not Path(name).exists():
        raise unknown_model(name, known)


def unknown_model(name: str, known: Sequence[str]) -> UserError:
    """The error of a model that is none of those."""
    if name.endswith(".py"):
        hint = f"; did you mean '{name}:FUNCTION', a function there that returns the network?"
    elif Path(name).is_file():
        hint = "; a file of weights is given with --weights, and the network it belongs to with --model"
    else:
        hint = nearest(name, known) or "; `attnlab list models` names them"
    return UserError(f"expected --model to be {MODEL_HELP} ({', '.join(BUILT_IN)}), got {name!r}{hint}")


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models, read from its source: importing it takes seconds."""
    spec = find_spec("torchvision")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in Path(folder, "models").glob("*.py")]
    return sorted(name for text in texts for name in re.findall(r"@register_model\(\)\n(?:@.*\n)*def (\w+)\(", text))
