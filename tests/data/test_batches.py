"""Batches and seeds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diabolo.data.batches import Batches
from diabolo.errors import UserError
from diabolo.seeds import generator, seed_for


@given(st.integers(1, 200), st.data(), st.integers(0, 2**31), st.integers(0, 1000))
def test_an_epoch_shows_no_example_twice(n, data, seed, epoch):
    size = data.draw(st.integers(1, n))
    batches = Batches(n, size, seed)
    seen = torch.cat([batches.indices(epoch, step) for step in range(batches.steps_per_epoch)])
    assert len(seen) == len(set(seen.tolist())) == n // size * size
    assert seen.min() >= 0
    assert seen.max() < n


def test_any_step_can_be_asked_for_first():
    in_order, resumed = Batches(100, 7, 3), Batches(100, 7, 3)
    steps = [(epoch, step) for epoch in range(3) for step in range(14)]
    expected = {key: in_order.indices(*key) for key in steps}
    for key in reversed(steps):
        assert torch.equal(resumed.indices(*key), expected[key])


def test_epochs_and_seeds_differ():
    first = Batches(1000, 1000, 0)
    assert not torch.equal(first.indices(0, 0), first.indices(1, 0))
    assert not torch.equal(first.indices(0, 0), Batches(1000, 1000, 1).indices(0, 0))


def test_limits():
    with pytest.raises(UserError, match=r"training\.batch_size is 11, but there are only 10"):
        Batches(10, 11, 0)
    with pytest.raises(IndexError):
        Batches(10, 5, 0).indices(0, 2)


def test_seeds_are_stable_and_tell_parts_apart():
    assert seed_for("views", 0, 1, 2) == 8943743347105081534
    parts = [("a", 1), ("a", 11), ("a", 1, 1), ("a1",), ("a", "1"), ()]
    assert len({seed_for(*part) for part in parts}) == len(parts)
    assert all(0 <= seed_for(i) < 2**63 for i in range(1000))
    assert torch.equal(torch.rand(3, generator=generator("x", 1)), torch.rand(3, generator=generator("x", 1)))
