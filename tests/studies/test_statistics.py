"""Paired differences against scipy's test, and the three words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from diabolo.studies.statistics import Difference, mean_and_deviation, paired, together

FIGURES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 10), min_size=6, max_size=6)


@given(FIGURES)
def test_the_interval_is_that_of_the_paired_t_test(figures: list[float]) -> None:
    one, other = dict(enumerate(figures[:3])), dict(enumerate(figures[3:]))
    found = paired(one, other)
    expected = ttest_rel(figures[:3], figures[3:]).confidence_interval(0.95)
    if not math.isnan(expected.low):
        assert found.mean - found.half == pytest.approx(expected.low, abs=1e-6)
        assert found.mean + found.half == pytest.approx(expected.high, abs=1e-6)


def test_only_seeds_that_both_have_are_paired() -> None:
    found = paired({0: 1.0, 1: 5.0, 2: 3.0}, {1: 4.0, 2: 2.0, 7: 100.0})
    assert (found.mean, found.half, found.seeds) == (1.0, 0.0, 2)


def test_seeds_that_agree_to_a_step_know_nothing_finer() -> None:
    one, other = {0: 91.4, 1: 92.2}, {0: 91.1, 1: 91.9}
    assert paired(one, other).at_least(0) == "held"
    assert paired(one, other, step=0.5).at_least(0) == "undecided"
    assert paired(one, one).at_least(0) == "undecided"  # equal rows are not ahead of each other
    assert paired(one, one).at_least(-1) == "held"
    assert paired(one, other, step=0.1).half >= 0.1


def test_a_single_seed_decides_nothing() -> None:
    assert paired({0: 99.0}, {0: 1.0}).at_least(0) == "undecided"
    assert paired({0: 99.0}, {1: 1.0}).seeds == 0


@pytest.mark.parametrize(
    ("mean", "half", "by", "word"),
    [
        (2.0, 1.0, 0.0, "held"),
        (2.0, 1.0, 1.0, "held"),
        (2.0, 1.0, 1.5, "undecided"),
        (2.0, 1.0, 3.5, "not held"),
        (-2.0, 1.0, 0.0, "not held"),
        (0.5, 1.0, 0.0, "undecided"),
    ],
)
def test_the_word_depends_on_where_the_interval_lies(mean: float, half: float, by: float, word: str) -> None:
    assert Difference(mean, half, 3).at_least(by) == word


def test_a_claim_over_several_rows_needs_all_of_them() -> None:
    assert together(["held", "held"]) == "held"
    assert together(["held", "undecided"]) == "undecided"
    assert together(["held", "undecided", "not held"]) == "not held"
    assert together([]) == "undecided"


def test_a_single_value_has_no_deviation() -> None:
    assert mean_and_deviation([3.0]) == (3.0, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
