"""Batches in memory that worker processes share with their parent: each is what was put there, however it is read."""

import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from attnlab.data.shared_batches import SLOTS, SharedBatches

SHAPES = [((3, 2), torch.uint8), ((2,), torch.bool)]


class Numbers(Dataset):
    """Items whose every value is their own number, as bits in the second array."""

    def __getitem__(self, index):
        return torch.full((3, 2), index, dtype=torch.uint8), torch.tensor([index % 2 == 0, index % 3 == 0])


def put(shared, items):
    return shared.put(list(zip(*items, strict=True)))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("pause", [0, 0.02])
def test_batches_are_what_was_put_there_also_of_a_slow_reader(workers, pause):
    batches = [list(range(start, min(start + 4, 150))) for start in range(0, 150, 4)]  # more than there are slots
    shared = SharedBatches(workers, 4, SHAPES)
    where = DataLoader(
        Numbers(), batch_sampler=batches, num_workers=workers, collate_fn=lambda items: put(shared, items)
    )
    taken = []
    for place in where:
        time.sleep(pause)
        taken.append(shared.take(place))
    assert [values[:, 0, 0].tolist() for values, _ in taken] == batches
    assert all((values == values[:, :1, :1]).all() for values, _ in taken)
    assert [bits.tolist() for _, bits in taken] == [[[n % 2 == 0, n % 3 == 0] for n in batch] for batch in batches]


def test_a_worker_waits_for_a_slot_that_was_not_taken(monkeypatch):
    shared = SharedBatches(1, 1, SHAPES[1:])
    monkeypatch.setattr("attnlab.data.shared_batches.get_worker_info", lambda: type("Worker", (), {"id": 0}))
    places = [shared.put([[torch.tensor([True, False])]]) for _ in range(SLOTS)]
    waited = []

    def sleep(_seconds):
        waited.append(shared.take(places[0])[0].tolist())

    monkeypatch.setattr("attnlab.data.shared_batches.time.sleep", sleep)
    shared.put([[torch.tensor([False, True])]])
    assert waited == [[[True, False]]]  # the first batch was still there


def test_what_was_taken_is_a_copy(monkeypatch):
    shared = SharedBatches(1, 1, SHAPES[1:])
    monkeypatch.setattr("attnlab.data.shared_batches.get_worker_info", lambda: type("Worker", (), {"id": 0}))
    (first,) = shared.take(shared.put([[torch.tensor([True, False])]]))
    for _ in range(SLOTS):
        shared.take(shared.put([[torch.tensor([False, True])]]))
    assert first.tolist() == [[True, False]]


def test_an_array_of_another_shape_is_refused(monkeypatch):
    shared = SharedBatches(1, 1, SHAPES[1:])
    monkeypatch.setattr("attnlab.data.shared_batches.get_worker_info", lambda: type("Worker", (), {"id": 0}))
    with pytest.raises(ValueError, match=r"expected an array of shape \(2,\), got \(1,\)"):
        shared.put([[torch.tensor([True])]])
