"""Features: a representation as matrices, extracted once or read from a file, in three parts.

Probes are fitted on train, choose on validation, and read test once.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diabolo.data.ahead import in_order
from diabolo.data.arrays import BESIDE
from diabolo.data.images import Images, Splits, as_float
from diabolo.errors import UserError
from diabolo.seeds import seed_for

HELD_OUT = 0.1  # share taken for validation, and for test, where the data does not bring the part
# Of the dimensions' typical deviation, where one unit that is all but dead on train must not decide: a single
# test image may excite it by thousands of its own deviations.
FLOOR = 0.1
PARTS = ("train", "validation", "test")
LABELLED = "labelled"  # of a data set whose train has no labels
Target = Literal["labels", "attributes", "quantities"]  # what a probe predicts
FORMAT = (
    "expected train_features, train_labels, test_features, test_labels (and validation_features, "
    "validation_labels, classes if there are any), or features and labels; labels may be left out "
    "everywhere, and so may attributes and quantities"
)


@dataclass(frozen=True)
class Part:
    """values: float32 [N, D]. labels: int64 [N], positions in the classes, or None where there are none.

    attributes: int8 [N, A] of 0 and 1, or None. quantities: float64 [N, Q], or None.
    """

    values: np.ndarray
    labels: np.ndarray | None = None
    attributes: np.ndarray | None = None
    quantities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: np.ndarray) -> "Part":
        """The examples at these positions, or where a mask is true."""
        return Part(
            self.values[index],
            None if self.labels is None else self.labels[index],
            None if self.attributes is None else self.attributes[index],
            None if self.quantities is None else self.quantities[index],
        )


def targets_of(*parts: Part | Images) -> set[Target]:
    """What there is to predict: what every part has, and of labels two classes or more."""
    every: tuple[Target, ...] = ("labels", "attributes", "quantities")
    found = {one for one in every if all(getattr(part, one) is not None for part in parts)}
    return (
        found - {"labels"} if "labels" in found and len(np.unique(np.asarray(parts[0].labels))) < 2 else found
    )


def lacking(wanted: Target) -> str:
    """Why it is not among `targets_of`, as the end of a sentence."""
    classes = ", of two classes or more" if wanted == "labels" else ""
    return f"needs {wanted} in train, validation and test{classes}"


@dataclass(frozen=True)
class Features:
    """One representation of a data set. note: what a reader of its scores should know of it.

    Where some examples have labels, those without one are left out. beside: the same with all of them, if
    there are attributes or quantities, which do not ask for a label.
    """

    train: Part
    validation: Part
    test: Part
    classes: tuple[str, ...] = ()
    note: str = ""
    attribute_names: tuple[str, ...] = ()
    quantity_names: tuple[str, ...] = ()
    beside: "Features | None" = None

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Features":
        """The features with `change` applied to the values of each part."""
        train, validation, test = (
            replace(part, values=change(part.values)) for part in (self.train, self.validation, self.test)
        )
        beside = self.beside and self.beside.map(change)
        return replace(self, train=train, validation=validation, test=test, beside=beside)

    @property
    def width(self) -> int:
        return int(self.train.values.shape[1])

    @property
    def targets(self) -> set[Target]:
        return targets_of(self.train, self.validation, self.test)


def sample(n: int, limit: int) -> np.ndarray:
    """At most `limit` of n positions, in order: always the same, whatever order the classes come in."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed_for("sample", n)).permutation(n)[:limit])


def standards(values: np.ndarray, floor: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The mean and deviation [D] of rows [N, D], float32: (values − mean) / deviation has 0 and 1.

    The deviation of a constant dimension is given as 1. floor: that of a varying one is at least so much of
    their root mean square.
    """
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = values.std(axis=0, dtype=np.float64)
    constant = deviation <= np.finfo(np.float32).eps * np.abs(mean)
    deviation = np.maximum(deviation, floor * np.sqrt(np.square(deviation).mean()))
    deviation[constant] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


@torch.inference_mode()
def extract(
    represent: Callable[[Tensor], Tensor],
    images: Images,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Represent every example: float32 [N, D]. A network is to be in evaluation mode already.

    Batches are small on a CPU, where activations that fit its caches are several times faster.
    Raises `UserError` where a representation is not one vector per example, or not finite.
    """
    if not len(images):
        raise UserError("features: there are no images to represent")
    batch_size = 128 if torch.device(device).type == "cpu" else 1024
    values, start = torch.empty(0), 0
    for pixels in in_order(images.pixels, batch_size, device):
        x = as_float(pixels)
        z = represent(x)
        if z.ndim != 2 or len(z) != len(x):
            raise UserError(
                f"features: a representation must be [n, D], got {list(z.shape)} for {len(x)} examples: "
                "flatten or pool it"
            )
        if start == 0:
            values = torch.empty(len(images), z.shape[1])
        values[start : start + len(z)] = z  # as float32 on the CPU
        start += len(z)
    return _finite(values.numpy(), "features")


def probe_images(splits: Splits, *, seed: int = 0) -> tuple[Images, Images, Images]:
    """The (train, validation, test) images that probes use.

    Where the labels are in a part of their own (STL-10), a share of that part is held out for validation.
    Examples without a label (−1) are left out; where none has one, all stay and `labels` is None.
    """
    train, validation = splits.train, splits.validation
    if splits.labelled is not None:
        labelled = _with_label(splits.labelled)
        first, second = _cut(len(labelled), (HELD_OUT,), seed, "the labelled part")
        train, validation = labelled.take(torch.from_numpy(first)), labelled.take(torch.from_numpy(second))
    return _with_label(train), _with_label(validation), _with_label(splits.test)


def features_of(
    represent: Callable[[Tensor], Tensor], splits: Splits, device: torch.device | str = "cpu"
) -> Features:
    """The features of the parts that probes use (see `probe_images`), and `beside` them of all examples."""

    def part(images: Images) -> Part:
        labels = None if images.labels is None else images.labels.cpu().numpy().astype(np.int64)
        attributes = None if images.attributes is None else images.attributes.cpu().numpy()
        quantities = None if images.quantities is None else images.quantities.cpu().numpy()
        return Part(extract(represent, images, device=device), labels, attributes, quantities)

    probed, whole = probe_images(splits), (splits.train, splits.validation, splits.test)
    names: Any = {"attribute_names": probed[0].attribute_names, "quantity_names": probed[0].quantity_names}
    train, validation, test = map(part, probed)
    features = Features(train, validation, test, probed[0].classes, **names)
    if splits.labelled is None and any(names.values()) and sum(map(len, whole)) > sum(map(len, probed)):
        train, validation, test = (replace(part(images), labels=None) for images in whole)
        return replace(features, beside=Features(train, validation, test, **names))
    return features


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
    held = _hold_out(parts, seed, path)
    names: Any = {key: _names(parts, kind, arrays.get(key), path) for kind, (_, key) in BESIDE.items()}
    features = Features(held["train"], held["validation"], held["test"], classes, **names)
    if any(names.values()) and sum(map(len, whole.values())) > sum(map(len, parts.values())):
        held = _hold_out(whole, seed, path)
        beside = Features(held["train"], held["validation"], held["test"], **names)
        return replace(features, beside=beside)
    return features


def _hold_out(parts: dict[str, Part], seed: int, path: Path) -> dict[str, Part]:
    """Train, validation and test, held out where they are missing."""
    if "all" in parts:
        cut = _cut(len(parts["all"]), (HELD_OUT, HELD_OUT), seed, str(path))
        return {name: parts["all"].take(index) for name, index in zip(PARTS, cut, strict=True)}
    if "validation" not in parts:
        train, validation = _cut(len(parts["train"]), (HELD_OUT,), seed, str(path))
        return parts | {"train": parts["train"].take(train), "validation": parts["train"].take(validation)}
    return parts


def _cut(n: int, shares: tuple[float, ...], seed: int, where: str) -> list[np.ndarray]:
    """A seeded cut of n positions into what is left, then one part per share, of at least one example."""
    sizes = [math.ceil(share * n) for share in shares]
    if n <= sum(sizes):
        raise UserError(
            f"{where}: {n} examples are too few to hold some out; give at least {len(shares) + 1}"
        )
    order = np.random.default_rng(seed_for("held out", seed)).permutation(n)
    cut = np.split(order, np.cumsum([n - sum(sizes), *sizes[:-1]]))
    return [np.sort(part) for part in cut]


def _with_label(images: Images) -> Images:
    if images.labels is None or bool((images.labels >= 0).all()):
        return images
    known = torch.nonzero(images.labels >= 0).flatten()
    return images.take(known) if len(known) else replace(images, labels=None, classes=())


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
    return Part(_finite(values.astype(np.float32), where), labels, **beside)


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


def _finite(values: np.ndarray, where: str) -> np.ndarray:
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise UserError(
            f"{where}: {bad} of {len(values)} rows are not finite (diverged training, division by zero?)"
        )
    return values
