"""Nested mappings: what they share and what is each one's own make the whole again."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from diabolo.components import merge
from diabolo.differences import first_difference, in_common, without

nested = st.recursive(
    st.integers(0, 2) | st.lists(st.integers(0, 1), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(st.lists(mappings, min_size=1, max_size=3))
def test_what_is_common_and_the_rest_are_the_whole(many: list[dict[str, Any]]) -> None:
    common = in_common(many)
    for one in many:
        assert merge(common, without(one, common)) == one
    assert not in_common([without(one, common) for one in many])


@given(mappings, mappings)
def test_a_difference_is_found_where_there_is_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (first_difference(one, other) is None) == (one == other)


def test_a_difference_is_said_with_its_place() -> None:
    assert first_difference({"a": {"b": 5}}, {"a": {"b": 6}}) == "a.b = 5, not 6"
    assert first_difference({"a": {"b": [5] * 50}}, {"a": {"b": 6}}) == "another a.b"
