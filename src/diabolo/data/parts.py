"""Parts: what a data set brings, as it was read, before anything is held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diabolo.data.images import Images
from diabolo.data.rows import join


@dataclass(frozen=True)
class Parts:
    """What a data set brings, before anything is held out: at least train.

    notes, unreadable: as those of `Splits`.
    """

    train: Images
    validation: Images | None = None
    test: Images | None = None
    labelled: Images | None = None
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def present(self) -> dict[str, Images]:
        """The parts that are there, by name, train first."""
        found = {
            "train": self.train,
            "labelled": self.labelled,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in found.items() if part is not None}

    def named(self, data: str = "") -> Parts:
        """The same; what has no name gets that of its part and its row there, such as train/3.

        data: what the data are called, to stand before it.
        """
        before = f"{data}/" if data else ""
        parts: dict[str, Any] = {
            name: part if part.names else replace(part, names=_rows(before + name, len(part)))
            for name, part in self.present().items()
        }
        return replace(self, **parts)

    def without_labels(self) -> Parts:
        """The same, as if it had no classes; what is labelled only is left out."""
        bare: dict[str, Any] = {name: part.without_labels() for name, part in self.present().items()}
        return replace(self, **bare | {"labelled": None})

    def origins(self) -> NDArray[np.str_]:
        """The part of each of all images, such as test, in the order of `present`."""
        parts = self.present()
        return np.repeat(list(parts), [len(part) for part in parts.values()])

    def together(self) -> Images:
        """All images in one, named, in the order of `present`; those of a part without labels get −1.

        Attributes and quantities are kept where every part has them.
        """
        parts = self.named().present()
        classes = next((part.classes for part in parts.values() if part.labels is not None), ())
        labels = [torch.full((len(p),), -1) if p.labels is None else p.labels for p in parts.values()]

        def joined(columns: list[Tensor | None]) -> Tensor | None:
            there = [one for one in columns if one is not None]
            return torch.cat(there) if len(there) == len(columns) else None

        return Images(
            pixels=join([part.pixels for part in parts.values()]),
            labels=torch.cat(labels) if classes else None,
            classes=classes,
            attributes=joined([part.attributes for part in parts.values()]),
            attribute_names=self.train.attribute_names,
            quantities=joined([part.quantities for part in parts.values()]),
            quantity_names=self.train.quantity_names,
            names=tuple(name for part in parts.values() for name in part.names),
        )


def _rows(part: str, count: int) -> tuple[str, ...]:
    return tuple(f"{part}/{i}" for i in range(count))
