"""Run folders and checkpoints with damaged, emptied, deleted and swapped files, and every command that reads them."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from shlex import split

import torch
from common import Printed
from endurance.annotations import mutate
from endurance.cases import ACCEPTED, REFUSED, check_message, damage, noted
from endurance.command import attnlab, notes

from attnlab.errors import UserError
from attnlab.models import load_model

FEW = "--device cpu --workers 0 --batch-size 4"
#: how each folder is made, in the folder above it; the same command resumes it
MAKERS = {
    "analysis": split(f"analyze {FEW} --limit 10 --part-size 4 --split val --out analysis"),
    "evaluation": split(f"evaluate {FEW} --limit 10 --part-size 4 --attacks clean,fgsm --out evaluation"),
    "training": split(f"train {FEW} --limit 40 --held-out 8 --epochs 1 --steps 1 --out training"),
}
RUNS = ("tables {} --format json", "report {} --no-images", "leaderboard {} --out board", "export csv {} --out there")
#: commands that read a folder, apart from the one that made it
READERS = {
    "analysis": (*RUNS, "measure {} --format json", "study {} --out study", "figures {} --only figure1,distributions"),
    "evaluation": (*RUNS, "figures {}"),
    "training": ("models {} --format json", "evaluate --limit 4 --workers 0 --attacks clean --out on --model {}"),
}


@cache
def _made() -> Path:
    """The undamaged folders, and of each command what it prints of them."""
    above = Path(tempfile.mkdtemp(prefix="fuzz-made-"))
    for words in MAKERS.values():
        printed = attnlab(above, words)
        assert not printed.code, printed.err
    return above


@cache
def _whole(name: str, reader: str) -> Printed:
    """What a command prints of an undamaged folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-whole-") as above:
        shutil.copytree(_made() / name, Path(above) / name)
        return attnlab(Path(above), _words(name, reader))


def _words(name: str, reader: str) -> list[str]:
    return MAKERS[name] if reader == "again" else reader.format(name).split()


def folder_case(draw: Random, folder: Path) -> str:
    """Damage files of a folder, call a command, and hold what it prints to what it prints of the whole folder."""
    name = draw.choice(list(MAKERS))
    reader = draw.choice((*READERS[name], READERS[name][0], "again"))
    whole = _whole(name, reader)
    shutil.copytree(_made() / name, folder / name)
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and not path.name.startswith("."))
    damaged = [_damage(draw, path, files) for path in draw.sample(files, draw.choice((1, 1, 1, 2)))]
    printed = attnlab(folder, _words(name, reader))
    if printed.code:
        return REFUSED
    what = f"{' '.join(_words(name, reader))} of {', '.join(damaged)}"
    said = {*notes(printed)} - {*notes(whole)}
    if reader == "again" and name != "training":
        again = attnlab(folder, _words(name, READERS[name][0]))
        assert again.out == _whole(name, READERS[name][0]).out, f"resumed with other numbers: {what}"
    elif not said and reader != "again":
        assert printed.out == whole.out, f"other numbers in silence: {what}"
    return ACCEPTED


def _damage(draw: Random, path: Path, files: list[Path]) -> str:
    """Damage one file in some way; returns how."""
    content, how = path.read_bytes(), draw.randrange(7)
    name = f"{path.parent.name}/{path.name}"
    if how == 0:
        path.unlink()
        return f"{name} deleted"
    if how == 1:
        other = draw.choice([file for file in files if file.is_file()])
        path.write_bytes(other.read_bytes())
        return f"{name} replaced by {other.name}"
    if how == 2 and path.suffix == ".json":
        held = json.loads(content)
        mutate(draw, held)
        path.write_text(json.dumps(held))
        return f"{name} with another value"
    if how == 3 and draw.random() < 0.3:
        path.unlink()
        path.mkdir()
        return f"{name} a folder"
    path.write_bytes(damage(draw, content))
    return f"{name} damaged"


def checkpoint_case(draw: Random, folder: Path) -> str:
    """Damage a checkpoint's weights or words; what loads has the very weights, or says what it misses."""
    shutil.copytree(_made() / "training", folder / "training")
    (folder / "plain.pth").write_bytes(_pth())
    place = draw.choice(("training", "plain.pth"))
    files = [path for path in (folder / "training").iterdir() if path.suffix in (".json", ".safetensors")]
    path = folder / "plain.pth" if place == "plain.pth" else draw.choice(files)
    how = _damage(draw, path, files)
    try:
        with noted() as texts:
            loaded = (
                load_model("resnet8", str(folder / place)) if place == "plain.pth" else load_model(str(folder / place))
            )
    except UserError as error:
        check_message(error)
        return REFUSED
    expected = _weights()
    found = loaded.network.state_dict()
    assert texts or all(torch.equal(found[key], value) for key, value in expected.items()), f"other weights of {how}"
    return ACCEPTED


@cache
def _weights() -> dict[str, torch.Tensor]:
    return dict(load_model(str(_made() / "training")).network.state_dict())


@cache
def _pth() -> bytes:
    path = _made() / "plain.pth"
    torch.save(_weights(), path)
    return path.read_bytes()
