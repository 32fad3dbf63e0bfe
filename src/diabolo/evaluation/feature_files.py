"""Features from a file: an `.npz` with a representation made anywhere, as `diabolo embed` writes it too."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.arrays import BESIDE
from diabolo.errors import UserError
from diabolo.evaluation.features import HELD_OUT, Features, Part, hold_out
from diabolo.representation import finite

PARTS = ("train", "validation", "test")
LABELLED = "labelled"  # of a data set whose train has no labels
FORMAT = (
    "expected train_features, train_labels, test_features, test_labels (and validation_features, "
    "validation_labels, classes if there are any), or features and labels; labels may be left out "
    "everywhere, and so may attributes and quantities"
)


def load_features(path: str | Path, *, seed: int = 0) -> Features:
    """Features from an `.npz` made anywhere.

    It holds `train_features` [N, D], `train_labels` [N], `test_features`, `test_labels`, and may hold
    `validation_features`, `validation_labels` (else a tenth of train is held out) and `classes`; or it holds
    only `features` and `labels`, and is split 80/10/10, or as its `parts` [N] say, where these name train and
    test, and maybe validation: so writes `diabolo embed`. Where they name labelled as well, this stands for
    train. With `classes`, labels are positions in it; without, they are any integers or strings. −1 means no
    label: such rows are left out, but not where attributes or quantities are read. `train_attributes` [N, A]
    of 0 and 1, …, or `attributes`, may stand beside the labels, with `attribute_names` [A]; and so may
    `train_quantities` [N, Q], …, finite real numbers, with `quantity_names` [Q]. Raises `UserError` for
    anything else.
    """
    path = Path(path)
    arrays = _apart(_read(path), path)
    if "features" in arrays:
        parts = {"all": _part(arrays, "", path)}
    elif {"train_features", "test_features"} <= arrays.keys():
        parts = {name: _part(arrays, f"{name}_", path) for name in PARTS if f"{name}_features" in arrays}
    else:
        raise UserError(f"{path}: it holds {', '.join(sorted(arrays)) or 'nothing'}; {FORMAT}")
    if len({part.labels is None for part in parts.values()}) > 1:
        raise UserError(f"{path}: labels are there for some parts only; {FORMAT}")
    if len({part.values.shape[1] for part in parts.values()}) > 1:
        widths = ", ".join(f"{name} {part.values.shape[1]}" for name, part in parts.items())
        raise UserError(
            f"{path}: the parts differ in width ({widths}); they must come from one representation"
        )
    whole = {name: replace(part, labels=None) for name, part in parts.items()}
    parts, classes = _positions(parts, arrays.get("classes"), path)
    held = _completed(parts, seed, path)
    names: Any = {key: _names(parts, kind, arrays.get(key), path) for kind, (_, key) in BESIDE.items()}
    features = Features(held["train"], held["validation"], held["test"], classes, **names)
    if any(names.values()) and sum(map(len, whole.values())) > sum(map(len, parts.values())):
        held = _completed(whole, seed, path)
        beside = Features(held["train"], held["validation"], held["test"], **names)
        return replace(features, beside=beside)
    return features


def _completed(parts: dict[str, Part], seed: int, path: Path) -> dict[str, Part]:
    """Train, validation and test, held out where they are missing."""
    if "all" in parts:
        cut = hold_out(len(parts["all"]), (HELD_OUT, HELD_OUT), seed, str(path))
        return {name: parts["all"].take(index) for name, index in zip(PARTS, cut, strict=True)}
    if "validation" not in parts:
        train, validation = hold_out(len(parts["train"]), (HELD_OUT,), seed, str(path))
        return parts | {"train": parts["train"].take(train), "validation": parts["train"].take(validation)}
    return parts


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path}: not an .npz file of plain arrays; {FORMAT}") from None


def _apart(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Cut the arrays of all examples into those of each part, where `parts` names train and test."""
    parts = arrays.get("parts")
    if parts is None or "features" not in arrays:
        return arrays
    if parts.shape != arrays["features"].shape[:1] or not {*parts.tolist()} <= {*PARTS, LABELLED}:
        raise UserError(f"{path}: parts must name train, validation or test for each row of features")
    found = {name: parts == name for name in (*PARTS, LABELLED)}
    if found[LABELLED].any():
        found["train"] = found[LABELLED]
    columns = [key for key in ("features", "labels", *BESIDE) if key in arrays]
    whole = all(arrays[key].shape[:1] == parts.shape for key in columns)  # else it is refused as it is
    if not (whole and found["train"].any() and found["test"].any()):
        return arrays
    cut = {f"{n}_{key}": arrays[key][found[n]] for n in PARTS if found[n].any() for key in columns}
    return cut | {key: of for key, of in arrays.items() if key not in columns}


def _part(arrays: Mapping[str, np.ndarray], prefix: str, path: Path) -> Part:
    values, labels = arrays[f"{prefix}features"], arrays.get(f"{prefix}labels")
    where = f"{path}: {prefix}features"
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(f"{where} is {values.dtype} {list(values.shape)}; expected real numbers [N, D]")
    if labels is not None and (labels.shape != values.shape[:1] or labels.dtype.kind not in "iuU"):
        raise UserError(
            f"{path}: {prefix}labels is {labels.dtype} {list(labels.shape)}; "
            f"expected {len(values)} integers or strings, one per row of {prefix}features"
        )
    beside = {}
    for kind, (read, _) in BESIDE.items():
        if (key := f"{prefix}{kind}") in arrays:
            beside[kind] = read(arrays[key], f"{path}: {key}").numpy()
            if len(beside[kind]) != len(values):
                raise UserError(f"{where} has {len(values)} rows, {key} {len(beside[kind])}")
    return Part(finite(values.astype(np.float32), where), labels, **beside)


def _names(parts: dict[str, Part], kind: str, names: np.ndarray | None, path: Path) -> tuple[str, ...]:
    """The names of the attributes or quantities, or their numbers; none where there are none."""
    columns = [getattr(part, kind) for part in parts.values()]
    widths = {None if one is None else one.shape[1] for one in columns}
    if len(widths) > 1:
        raise UserError(f"{path}: the parts differ in their {kind}; they must all have the same")
    count = widths.pop()
    if count is None:
        return ()
    if names is not None and names.shape != (count,):
        raise UserError(f"{path}: {count} {kind} but {names.size} names for them")
    return tuple(str(name) for name in (range(count) if names is None else names))


def _positions(
    parts: dict[str, Part], names: np.ndarray | None, path: Path
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Drop the rows without a label, and turn the labels into positions in the classes."""
    labels = {name: part.labels for name, part in parts.items() if part.labels is not None}
    if not labels or all(np.all(column == -1) for column in labels.values()):
        return {name: replace(part, labels=None) for name, part in parts.items()}, ()
    rows = {name: np.flatnonzero(of != -1) for name, of in labels.items()}
    if empty := [name for name, index in rows.items() if not len(index)]:
        raise UserError(f"{path}: every label of {empty[0]} is −1, no label; leave the labels out everywhere")
    found = np.unique(np.concatenate([labels[name][rows[name]] for name in labels]))
    if names is None:
        classes = tuple(str(value) for value in found)
        positions = {name: np.searchsorted(found, of) for name, of in labels.items()}
    elif found.dtype.kind == "U" or found[0] < 0 or found[-1] >= names.size:
        raise UserError(f"{path}: labels must be positions in its {names.size} classes")
    else:
        classes, positions = tuple(str(name) for name in names.ravel()), labels
    kept = {
        name: replace(parts[name], labels=positions[name].astype(np.int64)).take(rows[name])
        for name in labels
    }
    return kept, classes
