"""A user's own file, whose types `make lint` checks: it runs, and its entries are of the package's."""

import runpy
from pathlib import Path

import pytest

from attnlab.attacks import ATTACKS, OBJECTIVES
from attnlab.attention import METHODS
from attnlab.data import DATASETS
from attnlab.measures import MEASURES
from attnlab.report.figures import FIGURES
from attnlab.report.tables import TABLES
from attnlab.training import DEFENSES, LOSSES

FILE = Path(__file__).parent / "typing" / "user.py"
REGISTRIES = (METHODS, OBJECTIVES, ATTACKS, DATASETS, MEASURES, TABLES, FIGURES, LOSSES, DEFENSES)


@pytest.fixture
def own_entries():
    """Registries that may be added to."""
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.usefixtures("own_entries")
def test_a_method_an_attack_a_data_set_a_measure_a_table_and_a_figure_of_ones_own_need_no_edit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = runpy.run_path(str(FILE))
    records, tables = seen["records"], seen["tables"]
    assert sorted(records["image_id"]) == ["cat_12.png", "cat_7.png", "dog_1.png"]
    correct = records[records["label"] == records["prediction"]]  # measures are taken of these
    assert correct["highest"].tolist() == [max(cells) for cells in correct["map"]] != []
    assert list(tables["confidences"].columns) == ["group", "confidence"]
    assert seen["run"].manifest["options"]["attack"]["objective"] == "least-likely-logit"
    assert list(seen["drawn"].captions) == ["confidence"]
