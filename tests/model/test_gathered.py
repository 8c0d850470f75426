"""Pooled states come into the rows of their sentences, on the device or, where it is full, on the CPU."""

import pytest
import torch

from xalign import Reading, Site
from xalign.model.batches import Batch
from xalign.model.gathered import Gathered

FIRST, SECOND = Reading(Site("hidden", 0)), Reading(Site("hidden", 1))
WIDTHS = {FIRST: 2, SECOND: 3}


def batch(rows):
    """A batch whose lines stand for these rows; only the rows are looked at."""
    found = object.__new__(Batch)
    object.__setattr__(found, "rows", rows)
    return found


def pooled(lines, start=0.0):
    return {one: start + torch.arange(lines * width).view(lines, width) for one, width in WIDTHS.items()}


def expected():
    """Sentence 2 has a line of its own; 0 and 3 share one, and 1 is alone in the second batch."""
    found = {one: torch.zeros(4, width) for one, width in WIDTHS.items()}
    for one in WIDTHS:
        first, second = pooled(2)[one], pooled(1, 50.0)[one]
        found[one][2], found[one][0], found[one][3], found[one][1] = first[0], first[1], first[1], second[0]
    return found


def gather(on_device):
    gathered = Gathered(4, WIDTHS, on_device=on_device)
    gathered.add(batch([[2], [0, 3]]), pooled(2))
    gathered.add(batch([[1]]), pooled(1, 50.0))
    return gathered.states()


@pytest.mark.parametrize("on_device", [True, False])
def test_each_line_comes_into_the_rows_of_its_sentences(on_device):
    found = gather(on_device)
    assert list(found) == [FIRST, SECOND]
    for one, values in expected().items():
        assert torch.equal(found[one], values)
        assert found[one].dtype == torch.float32


def test_a_device_without_room_gives_what_it_had_to_the_cpu(monkeypatch):
    plain, asked = torch.zeros, []

    def full(*size, **options):
        asked.append(size)
        if len(asked) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*size, **options)

    monkeypatch.setattr(torch, "zeros", full)
    found = gather(on_device=True)
    monkeypatch.undo()
    assert len(asked) == 3
    for one, values in expected().items():
        assert torch.equal(found[one], values)


def test_what_was_never_added_is_zero():
    found = Gathered(2, WIDTHS, on_device=True).states()
    assert {one: values.tolist() for one, values in found.items()} == {
        FIRST: [[0, 0]] * 2,
        SECOND: [[0, 0, 0]] * 2,
    }
