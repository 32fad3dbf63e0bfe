"""Nested mappings of plain values: in what they differ, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEGIBLE = 80  # characters of a difference; a longer one is only named
_NOWHERE = object()


def first_difference(old: Any, new: Any, where: str = "") -> str | None:
    """The first key in which two differ, in words: "training.epochs = 5, not 6"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        found = (first_difference(old.get(k), new.get(k), f"{where}.{k}" if where else k) for k in keys)
        return next((text for text in found if text), None)
    if old == new:
        return None
    text = f"{where} = {old!r}, not {new!r}"
    return text if len(text) <= LEGIBLE else f"another {where}"


def in_common(many: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys, at any depth, that have the same value in all."""
    first, *others = many
    common: dict[str, Any] = {}
    for key, value in first.items():
        beside = [other.get(key, _NOWHERE) for other in others]
        if all(value == one for one in beside):
            common[key] = value
        elif all(isinstance(one, Mapping) for one in (value, *beside)) and (
            within := in_common([value, *beside])
        ):
            common[key] = within
    return common


def without(values: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """What of `values` is not in `common`."""
    rest: dict[str, Any] = {}
    for key, value in values.items():
        if key not in common:
            rest[key] = value
        elif value != common[key]:
            rest[key] = without(value, common[key])
    return rest
