"""Names of models: a wrong one is refused before torch loads."""

import re
from difflib import get_close_matches
from pathlib import Path

from attnlab.errors import UserError, nearest
from attnlab.models import BUILT_IN
from attnlab.models.zoos import PLAIN, ZOOS
from attnlab.models.zoos.listed import torchvision_names

WRITTEN = ", ".join(zoo.written for name, zoo in ZOOS.items() if name != PLAIN)  # how names of zoos are written
MODEL_HELP = f"a torchvision name, {WRITTEN}, FILE.py:FUNCTION, a checkpoint folder, or one of attnlab's own"


def plain_names() -> list[str]:
    """Names of models without a colon: attnlab's own and torchvision's."""
    return [*BUILT_IN, *torchvision_names()]


def model_names(begun: str = "") -> list[str]:
    """Names that are completed: plain ones, or those of the zoo whose prefix is written already."""
    prefix, colon, _ = begun.partition(":")
    if not colon:
        return plain_names()
    zoo = ZOOS.get(prefix)
    return zoo.names() if zoo and zoo.names and prefix != PLAIN else []


def check_model_name(name: str) -> None:
    """Check a model's name as far as files alone allow: nothing is imported, built or downloaded."""
    if re.fullmatch(r"[\w-]+", name) and torchvision_names() and name not in plain_names() and not Path(name).exists():
        raise unknown_model(name)


def unknown_model(name: str) -> UserError:
    """The error of a model that is none of a zoo, a file or attnlab's own."""
    prefix, colon, rest = name.partition(":")
    if name.endswith(".py"):
        hint = f"; did you mean '{name}:FUNCTION', a function there that returns the network?"
    elif Path(name).is_file():
        hint = "; a file of weights is given with --weights, and the network it belongs to with --model"
    elif colon and (near := get_close_matches(prefix, [zoo for zoo in ZOOS if zoo != PLAIN], n=1)):
        hint = f"; did you mean '{near[0]}:{rest}'?"
    else:
        hint = nearest(name, plain_names()) or "; `attnlab list models` names them"
    return UserError(f"expected --model to be {MODEL_HELP} ({', '.join(BUILT_IN)}), got {name!r}{hint}")
