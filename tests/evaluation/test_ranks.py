"""Ranks against the singular value decomposition, and where the answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabolo.evaluation.geometry import (
    active_dimensions,
    centred_rank,
    deviations,
    effective_rank,
    sparsity,
    spread,
)

SHAPES = st.tuples(st.integers(2, 40), st.integers(1, 40))


def literal_rank(z: np.ndarray) -> float:
    sigma = np.linalg.svd(z.astype(np.float64), compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    return float(np.exp(-np.sum(p * np.log(p))))


def gaussian(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(SHAPES, st.integers(0, 99), st.floats(-5, 5))
def test_both_ranks_agree_with_the_svd(shape, seed, offset):
    z = gaussian(shape, seed) + np.float32(offset)
    assert effective_rank(z) == pytest.approx(literal_rank(z), rel=1e-4)
    exact = z.astype(np.float64)
    assert centred_rank(z) == pytest.approx(literal_rank(exact - exact.mean(axis=0)), rel=1e-4)


@given(SHAPES, st.integers(0, 99), st.floats(1e-4, 1e4))
def test_a_rank_is_bounded_and_has_no_scale(shape, seed, scale):
    z = gaussian(shape, seed)
    for rank in (effective_rank, centred_rank):
        assert 1 - 1e-6 <= rank(z) <= min(shape) * (1 + 1e-4)
        assert rank(z * scale) == pytest.approx(rank(z), rel=1e-3)


@given(st.integers(1, 32))
def test_an_isotropic_representation_uses_every_dimension(width):
    assert effective_rank(np.eye(width)) == pytest.approx(width, rel=1e-4)
    both_signs = np.concatenate([np.eye(width), -np.eye(width)])
    assert centred_rank(both_signs) == pytest.approx(width, rel=1e-4)
    assert active_dimensions(both_signs) == width


def test_known_collapses():
    constant = np.full((100, 16), 0.1, np.float32)
    assert effective_rank(constant) == pytest.approx(1, rel=1e-4)
    assert (centred_rank(constant), active_dimensions(constant)) == (0.0, 0)
    assert (effective_rank(0 * constant), centred_rank(0 * constant)) == (0.0, 0.0)
    line = gaussian((100, 1), 0) * gaussian((1, 16), 1)
    assert centred_rank(line) == pytest.approx(1, rel=1e-3)
    assert active_dimensions(line) == 16  # no axis is dead, so only the rank sees it
    four = gaussian((500, 16), 2) * np.float32([1] * 4 + [0.005] * 12)
    assert active_dimensions(four) == 4
    assert 4 < centred_rank(four) < 5


def test_an_offset_hides_what_centring_shows():
    z = gaussian((500, 16), 0) + np.float32(100)
    assert effective_rank(z) < 2
    assert centred_rank(z) > 15
    np.testing.assert_allclose(deviations(z), z.astype(np.float64).std(axis=0))


@given(SHAPES, st.integers(0, 99), st.floats(1e-3, 1e3))
def test_spread_is_0_for_one_point_and_at_most_1_for_directions(shape, seed, scale):
    z = gaussian(shape, seed)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    assert spread(unit, "length") ** 2 == pytest.approx(1 - np.square(unit.mean(axis=0)).sum(), abs=1e-5)
    assert spread(scale * z, "deviation") == pytest.approx(scale * spread(z, "deviation"), rel=1e-5)
    one_point = np.repeat(unit[:1], shape[0], axis=0)
    assert spread(one_point, "length") < 1e-6


def test_spread_is_1_for_directions_of_a_sphere_and_for_a_standard_normal():
    z = gaussian((20_000, 16), 0)
    assert spread(z, "deviation") == pytest.approx(1, abs=0.01)
    assert spread(z / np.linalg.norm(z, axis=1, keepdims=True), "length") == pytest.approx(1, abs=0.01)


@given(st.integers(2, 40), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_sparsity_is_hoyer_s_and_has_no_scale(width, seed, scale):
    z = gaussian((5, width), seed)
    each = []
    for row in z.astype(np.float64):
        ratio = sum(abs(x) for x in row) / sum(x * x for x in row) ** 0.5
        each.append((width**0.5 - ratio) / (width**0.5 - 1))
    assert sparsity(z) == pytest.approx(np.mean(each), rel=1e-6, abs=1e-9)
    assert sparsity(z * scale) == pytest.approx(sparsity(z), rel=1e-4, abs=1e-6)


@given(st.integers(2, 40))
def test_sparsity_goes_from_equal_sizes_to_a_single_number(width):
    signs = np.where(np.arange(width) % 2, 1.0, -1.0)
    assert sparsity(signs[None]) == pytest.approx(0, abs=1e-9)
    assert sparsity(np.eye(width)) == pytest.approx(1)
    with_dead = np.concatenate([np.eye(width), np.zeros((3, width))])
    assert sparsity(with_dead) == pytest.approx(1)  # rows that say nothing do not count
    assert sparsity(np.zeros((4, width))) == sparsity(np.ones((4, 1))) == 0
