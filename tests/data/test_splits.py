"""Splits: disjoint, complete, and the same whatever else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.splits import load, of_digest, split, splits_from
from diabolo.errors import UserError
from diabolo.recipe import Data


def numbered(n):
    """n images that can be told apart."""
    pixels = torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 2)
    return Images(pixels, labels=torch.arange(n) % 3 - 1, classes=("a", "b"), names=tuple(map(str, range(n))))


class Listed(Dataset):
    """A data set of PyTorch of what is in a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


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


@given(st.integers(20, 200), st.floats(0.05, 0.9), st.integers(0, 5))
def test_of_those_with_labels_as_large_a_share_is_held_out(n, labelled, seed):
    count = max(3, round(labelled * n))
    labels = torch.where(torch.arange(n) < count, torch.arange(n) % 2, -1)
    made = split(Parts(replace(numbered(n), labels=labels)), Data(name="x", test=0.2, split_seed=seed))
    known = [int((part.labels >= 0).sum()) for part in (made.train, made.validation, made.test)]
    assert sum(known) == count
    assert known[2] == min(count - 1, max(1, round(0.2 * count)))
    assert known[0] >= 1
    assert known[1] >= (count > 2)
    rows = [members(part) for part in (made.train, made.validation, made.test)]
    assert sorted(row for part in rows for row in part) == list(range(n))
    assert all(part == sorted(part) for part in rows)


def test_a_run_s_data_are_those_of_its_digest(tmp_path, monkeypatch):
    """Not what happens to have their name here; without them, those that are here."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder, shift in ((home, 0), (elsewhere, 1)):
        folder.mkdir()
        pixels = (np.arange(20 * 16, dtype=np.uint8) + shift).reshape(20, 4, 4)
        np.save(folder / "a.npy", pixels)
    data = Data(name="a.npy")
    monkeypatch.chdir(home)
    own = load(data)
    monkeypatch.chdir(elsewhere)
    assert load(data).digest() != own.digest()
    found = of_digest(own.digest(), data, home / "runs" / "one")
    assert found.digest() == own.digest()
    assert found.test.names[0].startswith("train/")
    (elsewhere / "a.npy").write_bytes(b"none")
    assert of_digest(own.digest(), data, home / "runs" / "one").digest() == own.digest()
    (home / "a.npy").unlink()
    with pytest.raises(UserError, match="not a readable array file"):
        of_digest(own.digest(), data, home / "runs" / "one")
    (elsewhere / "a.npy").unlink()
    assert of_digest(own.digest(), data, home / "runs" / "one") is None


def test_parts_have_the_same_classes_in_one_order():
    def part(*classes: str) -> Images:
        return Images(torch.zeros(2, 5), torch.tensor([0, len(classes) - 1]), classes)

    Splits(part("a", "b", "c"), part("a"), part("a", "b"))
    for other in (part("b", "a"), part("a", "c"), part("d")):
        with pytest.raises(UserError, match="classes of other names or in another order: a, b, c and"):
            Splits(part("a", "b", "c"), part("a", "b", "c"), other)


def test_splits_go_without_labels_too():
    made = split(Parts(replace(numbered(20), labels=torch.arange(20) % 2)), Data(name="x"))
    same = splits_from(made, Data(name="x"))
    assert all(one is other for one, other in zip(same.present(), made.present(), strict=True))
    bare = splits_from(made, Data(name="x", labels=False))
    assert {part.labels for part in bare.present()} == {None}
    assert {part.classes for part in bare.present()} == {()}


def test_given_splits_are_limited_as_other_data_are():
    """And what was limited already stays as it is."""
    parts = Parts(numbered(60), numbered(20), numbered(20))
    data = Data(name="x", limit=12, without=("a",))
    expected = split(parts, data)
    for brought in (Splits(parts.train, parts.validation, parts.test), expected):
        made = splits_from(brought, data)
        assert made.digest() == expected.digest()
        assert [len(part) for part in made.present()] == [12, 13, 20]
    with pytest.raises(UserError, match=r"unknown class in data\.without 'c'"):
        splits_from(expected, Data(name="x", without=("c",)))


def test_what_is_at_hand_is_resized_and_recoloured_as_an_array_in_a_file(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 9, 6, 3), np.uint8)
    np.save(tmp_path / "a.npy", array)
    data = Data(name=str(tmp_path / "a.npy"), size=4, colour="grey")
    expected = load(data)
    tensors = TensorDataset(torch.from_numpy(array.transpose(0, 3, 1, 2).copy()))
    for brought in (array, (array, [0, 1] * 10), tensors, Listed([Image.fromarray(one) for one in array])):
        made = splits_from(brought, data)
        assert torch.equal(made.test.pixels, expected.test.pixels)
    several = Listed([array[0], array[1, :6], array[2, :5, :5]])
    assert splits_from(several, data).train.shape == (1, 4, 4)


@pytest.mark.parametrize("wrong", [{"size": 4}, {"colour": "grey"}])
def test_what_is_decoded_already_stays_as_it_is_or_is_refused(wrong):
    images = Images(torch.arange(20 * 3 * 36).view(20, 3, 6, 6).to(torch.uint8))
    for brought in (images, Splits(images, images, images)):
        assert splits_from(brought, Data(name="x", size=6, colour="rgb")).train.shape == (3, 6, 6)
        with pytest.raises(UserError, match=r"stay as they are, here \(3, 6, 6\)"):
            splits_from(brought, Data(name="x", **wrong))


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
