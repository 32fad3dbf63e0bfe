"""Features: a representation as matrices, extracted once, in three parts.

Probes are fitted on train, choose on validation, and read test once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.representation import extract
from diabolo.seeds import seed_for

HELD_OUT = 0.1  # share taken for validation, and for test, where the data does not bring the part
# Of the dimensions' typical deviation, where one unit that is all but dead on train must not decide: a single
# test image may excite it by thousands of its own deviations.
FLOOR = 0.1
Target = Literal["labels", "attributes", "quantities"]  # what a probe predicts


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


def probe_images(splits: Splits, *, seed: int = 0) -> tuple[Images, Images, Images]:
    """The (train, validation, test) images that probes use.

    Where the labels are in a part of their own (STL-10), a share of that part is held out for validation.
    Examples without a label (−1) are left out; where none has one, all stay and `labels` is None.
    """
    train, validation = splits.train, splits.validation
    if splits.labelled is not None:
        labelled = _with_label(splits.labelled)
        first, second = hold_out(len(labelled), (HELD_OUT,), seed, "the labelled part")
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


def hold_out(n: int, shares: tuple[float, ...], seed: int, where: str) -> list[np.ndarray]:
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
