"""How commands import torch: without a search for garbage meanwhile, which comes back whatever happens."""

import gc
import sys

import pytest

from attnlab_cli.imports import uncollected


@pytest.fixture
def collecting():
    """Garbage is looked for, and what the block sets aside is looked at again."""
    assert gc.isenabled()
    yield
    gc.unfreeze()


def test_garbage_is_looked_for_again_behind_the_block(collecting, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_garbage_is_looked_for_again_behind_an_import_that_fails(collecting, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_nothing_is_set_aside_where_torch_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    before = gc.get_freeze_count()
    with uncollected():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
