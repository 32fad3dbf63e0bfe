"""Images: what is learned from, as one array with its optional labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from diabolo.data.rows import Index, Pixels, select
from diabolo.errors import UserError

DIGESTED = 64_000_000  # bytes of each part that its digest reads
CHUNK = 1 << 20  # bytes that it reads at once


@dataclass(frozen=True)
class Images:
    """N examples.

    pixels: uint8 [N, C, H, W] in 0…255, any number of channels, or float32 vectors [N, F]; in memory, or
    `Rows`, which stay on disk until they are read by index.
    labels: int64 [N], positions in `classes`, or -1 where an example has no label. Classes without names
    are named by their numbers.
    attributes: int8 [N, A] of 0 and 1, named by `attribute_names`; those without names by their numbers.
    quantities: float64 [N, Q], real and finite, named likewise by `quantity_names`.
    names: one per example, such as a path inside an archive.
    """

    pixels: Pixels
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    quantities: Tensor | None = None
    quantity_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind = (self.pixels.dtype, self.pixels.ndim)
        if kind not in ((torch.uint8, 4), (torch.float32, 2)):
            got = f"{str(kind[0]).removeprefix('torch.')} {list(self.pixels.shape)}"
            if isinstance(self.pixels, np.ndarray):
                got = f"a NumPy array, {got}: torch.from_numpy makes a tensor of it"
            raise UserError(f"images are tensors, uint8 [N, C, H, W] or float32 vectors [N, F]; got {got}")
        self._name_columns("attributes", "attribute_names", torch.int8, "int8 [{}, A] of 0 and 1")
        self._name_columns("quantities", "quantity_names", torch.float64, "float64 [{}, Q]")
        if self.labels is None:
            return
        if self.labels.shape != self.pixels.shape[:1] or self.labels.dtype != torch.int64:
            raise UserError(f"labels are int64 [{len(self)}], one an image, −1 for none")
        most = int(self.labels.max()) + 1 if len(self) else 0
        if not self.classes:
            object.__setattr__(self, "classes", tuple(str(i) for i in range(most)))
        elif most > len(self.classes):
            raise UserError(f"label {most - 1} has no name among the {len(self.classes)} classes")

    def _name_columns(self, kind: str, names: str, dtype: torch.dtype, form: str) -> None:
        columns, known = getattr(self, kind), getattr(self, names)
        if columns is None:
            return
        if columns.dtype != dtype or columns.ndim != 2 or len(columns) != len(self):
            raise UserError(f"{kind} are {form.format(len(self))}, one row an image")
        if not known:
            object.__setattr__(self, names, tuple(str(i) for i in range(columns.shape[1])))
        elif len(known) != columns.shape[1]:
            raise UserError(f"{columns.shape[1]} {kind} but {len(known)} names for them")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example: (C, H, W) or (F,)."""
        return tuple(self.pixels.shape[1:])

    def take(self, index: Tensor) -> Images:
        """The examples at these positions. Pixels on disk stay there."""
        return replace(
            self,
            pixels=select(self.pixels, index),
            labels=None if self.labels is None else self.labels[index],
            attributes=None if self.attributes is None else self.attributes[index],
            quantities=None if self.quantities is None else self.quantities[index],
            names=tuple(self.names[i] for i in index.tolist()) if self.names else (),
        )

    def without_labels(self) -> Images:
        """The same, as if there were no classes."""
        return replace(self, labels=None, classes=())

    def floats(self, index: Index = slice(None)) -> Tensor:
        """Pixels as the networks take them: float32, images scaled to [0, 1], vectors as they are."""
        return as_float(self.pixels[index])


def as_float(pixels: Tensor) -> Tensor:
    """uint8 → float32 in [0, 1]; float vectors unchanged."""
    return pixels.to(torch.float32).div_(255) if pixels.dtype == torch.uint8 else pixels


@dataclass(frozen=True)
class Splits:
    """The parts of a data set. Choices are made on validation; test is read once, at the end.

    labelled: where probes are fitted, when that is another part than train (STL-10); else None.
    notes: what the user should know of the reading, one line each ("3 unreadable files skipped: …").
    unreadable: the files that were skipped, each with the reason.
    """

    train: Images
    validation: Images
    test: Images
    labelled: Images | None = None
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = [part.classes for part in self.present() if part.classes]
        most = max(named, key=len, default=())
        if other := next((classes for classes in named if classes != most[: len(classes)]), None):
            raise UserError(
                f"the parts have classes of other names or in another order: {', '.join(most[:5])} and "
                f"{', '.join(other[:5])}"
            )

    def present(self) -> list[Images]:
        """The parts that are there."""
        return [part for part in (self.train, self.validation, self.test, self.labelled) if part is not None]

    def digest(self) -> str:
        """What all parts hold, but for names of files, in 32 characters: equal for equal data only.

        Of more than 64 MB a part, evenly spaced examples speak for all. It is worked out once.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        hashed = blake2b(digest_size=16)
        for part in self.present():
            size = max(1, part.pixels[:1].nbytes)
            some = torch.linspace(0, len(part) - 1, min(len(part), DIGESTED // size)).round().long()
            hashed.update(repr((tuple(part.pixels.shape), part.classes)).encode())
            for few in some.split(max(1, CHUNK // size)):
                hashed.update(part.pixels[few].numpy().tobytes())
            hashed.update(b"" if part.labels is None else part.labels.contiguous().numpy().tobytes())
            for columns, names in (
                (part.attributes, part.attribute_names),
                (part.quantities, part.quantity_names),
            ):
                if columns is not None:
                    hashed.update(repr(names).encode())
                    hashed.update(columns.contiguous().numpy().tobytes())
        return hashed.hexdigest()
