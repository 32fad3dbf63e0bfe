"""Splits: disjoint, complete, and the same whatever else changes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diabolo.data.images import Images
from diabolo.data.readers import Parts
from diabolo.data.splits import load, split
from diabolo.errors import UserError
from diabolo.recipe import Data


def numbered(n):
    """n images that can be told apart."""
    pixels = torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 2)
    return Images(pixels, labels=torch.arange(n) % 3 - 1, classes=("a", "b"), names=tuple(map(str, range(n))))


def members(images):
    return images.pixels[:, 0].int().tolist()


shares = st.floats(0.01, 0.4)


@given(st.integers(3, 300), shares, shares, st.integers(0, 5))
def test_parts_are_disjoint_and_complete(n, validation, test, seed):
    data = Data(name="x", validation=validation, test=test, split_seed=seed)
    made = split(Parts(numbered(n)), data)
    parts = [members(part) for part in (made.train, made.validation, made.test)]
    assert sorted(i for part in parts for i in part) == list(range(n))
    assert all(parts)
    assert len(parts[2]) == max(1, round(test * n))
    assert len(parts[1]) == max(1, round(validation * (n - len(parts[2]))))
    for part in (made.train, made.validation, made.test):
        assert part.names == tuple(map(str, members(part)))
        assert part.labels.tolist() == [i % 3 - 1 for i in members(part)]


@given(st.integers(10, 200), st.integers(1, 250), st.integers(1, 250), st.integers(0, 3))
def test_the_limit_changes_neither_validation_nor_test_and_is_nested(n, limit, other, seed):
    small, large = sorted((limit, other))
    one = split(Parts(numbered(n)), Data(name="x", limit=small, split_seed=seed))
    two = split(Parts(numbered(n)), Data(name="x", limit=large, split_seed=seed))
    whole = split(Parts(numbered(n)), Data(name="x", split_seed=seed))
    assert members(one.validation) == members(two.validation) == members(whole.validation)
    assert members(one.test) == members(two.test) == members(whole.test)
    assert set(members(one.train)) <= set(members(two.train)) <= set(members(whole.train))
    assert len(one.train) == min(small, len(whole.train))
    assert bool(one.notes) == (small > len(whole.train))


def test_split_seeds_differ():
    one, two = (split(Parts(numbered(100)), Data(name="x", split_seed=seed)) for seed in (0, 1))
    assert members(one.validation) != members(two.validation)


def test_parts_of_the_data_set_are_kept():
    parts = Parts(numbered(20), validation=numbered(5), test=numbered(7))
    made = split(parts, Data(name="x"))
    assert (len(made.train), len(made.validation), len(made.test)) == (20, 5, 7)


@pytest.mark.parametrize("n", [1, 2])
def test_an_empty_part_is_refused(n):
    with pytest.raises(UserError, match="no image is left for train"):
        split(Parts(numbered(n)), Data(name="x"))


def test_parts_of_different_shape_are_refused():
    with pytest.raises(UserError, match=r"data\.size"):
        split(Parts(numbered(20), test=Images(torch.zeros(3, 5))), Data(name="x"))


def test_unknown_names():
    with pytest.raises(UserError, match=r"did you mean 'mnist'\? \(there is no such path"):
        load(Data(name="mnits"))


def test_a_path_is_read_and_split(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 6, 6), np.uint8), labels=np.arange(20) % 2)
    splits = load(Data(name=str(tmp_path / "a.npz"), size=4, colour="rgb", limit=5))
    assert splits.train.pixels.shape == (5, 3, 4, 4)
    assert (len(splits.validation), len(splits.test)) == (2, 2)
    assert splits.train.classes == ("0", "1")


@pytest.mark.data("mnist")
def test_mnist_validation_is_held_out_of_train():
    splits = load(Data(name="mnist", limit=1000))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1000, 6000, 10000]
    again = load(Data(name="mnist", limit=1000))
    assert torch.equal(splits.train.pixels, again.train.pixels)
    assert torch.equal(splits.validation.labels, again.validation.labels)


def test_classes_can_be_held_out_of_training():
    whole = load(Data(name="digits"))
    without = load(Data(name="digits", without=("3", "8")))
    assert not {3, 8} & set(without.train.labels.tolist() + without.validation.labels.tolist())
    assert torch.equal(without.test.labels, whole.test.labels)
    assert len(without.train) == int((~torch.isin(whole.train.labels, torch.tensor([3, 8]))).sum())
    assert len(load(Data(name="digits", without=("3",), limit=100)).train) == 100
    with pytest.raises(UserError, match=r"unknown class in data\.without '12'"):
        load(Data(name="digits", without=("12",)))
