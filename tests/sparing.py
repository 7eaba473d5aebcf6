"""What tests do without, as it costs each of them and shows in none."""

import os
from collections.abc import Iterator
from functools import cache

import pytest

from attnlab.pipelines import provenance
from attnlab.report.figures import style


@pytest.fixture(autouse=True, scope="session")
def spared() -> Iterator[None]:
    """Do without what a power failure, a commit meanwhile, or a printed page would ask for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(provenance, "git_state", cache(provenance.git_state))
        patch.setattr(style, "DPI", 30)
        patch.setitem(style.STYLE, "pdf.fonttype", 3)  # whose letters are drawn, not a part of a font
        yield
