"""Networks that the hubconf.py of a GitHub repository, or of a local folder, builds: code that the user trusts."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn

from attnlab.errors import UserError
from attnlab.failures import one_line
from attnlab.models.zoos import ZOOS, Wanted

UNKNOWN = "unexpected keyword argument 'pretrained'"  # what Python says of an entry that does not take it


def build(wanted: Wanted) -> nn.Module:
    """The network that ENTRY of OWNER/REPO[:BRANCH] or of a folder returns, called with `pretrained`."""
    name = f"torchhub:{wanted.name}"
    repo, _, entry = wanted.name.rpartition(":")
    if not repo or not entry:
        raise UserError(f"expected --model {ZOOS['torchhub'].written}, or torchhub:FOLDER:ENTRY, got {name!r}")
    if not wanted.trust_code:
        raise UserError(
            f"{name} is built by code of that repository, which runs with your rights: look into its hubconf.py, then "
            "add --trust-code to run it"
        )
    try:
        with redirect_stdout(sys.stderr):
            network = _load(repo, entry, wanted.pretrained)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the repository's code raises
        hint = "; it takes no `pretrained`: say --weights none or --weights FILE" if UNKNOWN in str(error) else ""
        raise UserError(f"cannot build {name}: {one_line(error)}{hint}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"expected {name} to return an nn.Module, got {type(network).__name__}")
    return network


def _load(repo: str, entry: str, pretrained: bool) -> object:
    """What the entry returns; of one that takes no `pretrained` only where no weights are asked for."""
    source = "local" if Path(repo).is_dir() else "github"
    try:
        return torch.hub.load(repo, entry, source=source, trust_repo=True, verbose=False, pretrained=pretrained)  # type: ignore[no-untyped-call]
    except TypeError as error:
        if pretrained or UNKNOWN not in str(error):
            raise
    return torch.hub.load(repo, entry, source=source, trust_repo=True, verbose=False)  # type: ignore[no-untyped-call]
