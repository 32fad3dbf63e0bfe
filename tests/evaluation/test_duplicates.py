"""Near-duplicates against literal definitions, and planted among real digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diabolo
from diabolo.data.decode import Reading
from diabolo.data.images import Images, Splits
from diabolo.data.readers import read
from diabolo.data.rows import Rows
from diabolo.errors import UserError
from diabolo.evaluation.duplicates import LINKS, identical, near_duplicates

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(300, 6)).astype(np.float32)
COPIES = CLOUD[:40] * np.float32(1.7) + 0.02 * RNG.normal(size=(40, 6)).astype(np.float32)
PLANTED = np.concatenate([CLOUD, COPIES])


def cosines(values: np.ndarray) -> np.ndarray:
    """All of them, in float64."""
    values = values.astype(np.float64)
    length = np.sqrt((values**2).sum(axis=1))
    return values @ values.T / length[:, None] / length


def components(n: int, pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    """The connected components of two or more, by merging sets."""
    groups = {i: {i} for i in range(n)}
    for one, other in pairs:
        merged = groups[one] | groups[other]
        for i in merged:
            groups[i] = merged
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def test_pairs_and_groups_are_the_literal_ones():
    of = cosines(PLANTED)
    expected = {(i, j) for i in range(340) for j in range(i + 1, 340) if of[i, j] >= 0.999}
    found = near_duplicates(PLANTED, above=0.999)
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected
    np.testing.assert_allclose(found.cosines, of[tuple(found.pairs.T)], atol=1e-6)
    assert (np.diff(found.cosines) <= 0).all()
    assert {frozenset(members.tolist()) for members in found.members()} == components(340, list(expected))
    assert len(found.members()) >= 35
    for number, members in enumerate(found.members()):
        assert (found.groups[members] == number).all()
    first = found.groups[found.pairs[:, 0]]
    assert list(dict.fromkeys(first.tolist())) == list(range(len(found.members())))  # most alike first


def test_the_threshold_follows_the_tenth_neighbour():
    of = np.sort(cosines(PLANTED), axis=1)[:, ::-1]
    expected = 1 - (1 - np.median(of[:, 10])) / 25
    found = near_duplicates(PLANTED)
    assert found.above == pytest.approx(expected, abs=1e-6)
    planted = found.groups[300:]
    assert (planted >= 0).mean() > 0.9
    assert (planted == found.groups[:40])[planted >= 0].all()
    assert (found.groups[40:300] >= 0).mean() < 0.1
    # In a crowded corner of the same space, nothing but the threshold changes.
    crowded = near_duplicates(PLANTED + np.float32(30))
    assert crowded.above > 0.999 > found.above


def test_every_row_twice_is_found():
    twice = np.concatenate([CLOUD, CLOUD])
    groups = near_duplicates(twice).groups
    assert (groups[:300] == groups[300:]).all()
    assert groups.min() == 0
    assert groups.max() > 250


@given(st.integers(2, 60))
def test_a_group_may_be_larger_than_the_links_of_one_row(n):
    rows = np.concatenate([CLOUD[:100], np.repeat(CLOUD[:1], n, axis=0)])
    found = near_duplicates(rows, above=0.9999)
    assert [0, *range(100, 100 + n)] in [members.tolist() for members in found.members()]
    assert len(found.pairs) <= LINKS * len(rows)


def test_without_any_the_most_alike_are_still_listed():
    found = near_duplicates(CLOUD, above=1.0, least=5)
    assert found.members() == []
    assert (found.groups == -1).all()
    of = np.triu(cosines(CLOUD), 1)
    assert found.cosines.tolist() == pytest.approx(np.sort(of.ravel())[::-1][:5].tolist(), abs=1e-6)
    assert len(near_duplicates(CLOUD[:3], least=12).pairs) == 3


def test_what_cannot_be_compared_is_one_line():
    with pytest.raises(UserError, match=r"^duplicates: one image has nothing to be compared with"):
        near_duplicates(CLOUD[:1])
    with pytest.raises(UserError, match=r"^duplicates: above is a cosine, from −1 to 1, got 2"):
        near_duplicates(CLOUD, above=2)
    with pytest.raises(UserError, match=r"^duplicates: most images cannot be told from ten others"):
        near_duplicates(np.ones((20, 3), np.float32))


def test_planted_among_digits_across_train_and_test(tmp_path, digits, capsys):
    """Copies, brighter copies and copies shifted by a pixel of train images, hidden in test."""
    large = torch.nn.functional.interpolate
    whole = Splits(
        *(
            replace(part, pixels=large(part.pixels, scale_factor=8, mode="bilinear"))
            for part in (digits.train, digits.validation, digits.test)
        )
    )
    run = diabolo.fit(
        whole,
        "simclr",
        epochs=10,
        out=tmp_path / "run",
        settings={
            "encoder": {"name": "mlp", "widths": [64]},
            "views.transforms": [
                {"name": "translation", "share": 0.04},
                {"name": "colour-jitter", "brightness": 0.3, "contrast": 0, "saturation": 0, "hue": 0},
            ],
            "evaluation.live": 0,
        },
        evaluate=False,
        quiet=True,
    )
    source = whole.train.pixels[:30]
    brighter = (source[10:20].float() * 1.08).clamp(max=255).to(torch.uint8)
    hidden = torch.cat([source[:10], brighter, source[20:].roll(1, dims=3)])
    test = Images(torch.cat([whole.test.pixels, hidden]))
    given = replace(whole, test=test)

    arrays = diabolo.duplicates(run, given, out=tmp_path / "made")
    names, groups = arrays["names"].tolist(), arrays["groups"]
    assert len(names) == 1000 + 300 + 497 + 30
    assert names[0] == "train/0"
    assert names[-1] == "test/526"
    assert arrays["parts"].tolist() == [name.partition("/")[0] for name in names]
    same = groups[-30:] == groups[:30]
    together = same & (groups[:30] >= 0)
    assert together[:10].all()
    assert together[10:20].sum() >= 7
    assert together[20:].sum() >= 7
    assert (groups >= 0).sum() < 80  # few of the other 1,767
    exact = {tuple(pair) for pair in arrays["pairs"][:10].tolist()}
    assert exact == {(i, 1797 + i) for i in range(10)}
    shown = capsys.readouterr().err
    assert "across test and train: " in shown
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "duplicates.csv",
        "duplicates.npz",
        "duplicates.png",
    ]

    alone = diabolo.duplicates(run, test, out=tmp_path / "made", quiet=True)
    assert set(alone["parts"].tolist()) == {"train"}
    assert (alone["groups"][-10:] == -1).all()  # their sources are not among these


def test_identical_images_are_found_in_memory_and_on_disk(tmp_path):
    pixels = torch.from_numpy(RNG.integers(0, 3, (400, 1, 2, 2), np.uint8))  # 81 that there can be
    few = torch.from_numpy(RNG.integers(0, 3, (50, 1, 2, 2), np.uint8))
    expected = [any(torch.equal(one, other) for other in few) for one in pixels]
    assert 0 < sum(expected) < len(expected)
    np.save(tmp_path / "few.npy", few.numpy())
    for among in (Images(few), read(tmp_path / "few.npy", Reading(resident=False)).train):
        assert identical(Images(pixels), among).tolist() == expected
    assert isinstance(read(tmp_path / "few.npy", Reading(resident=False)).train.pixels, Rows)
