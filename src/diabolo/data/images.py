"""Images: what is learned from, as one array with its optional labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """N examples.

    pixels: uint8 [N, C, H, W] in 0…255, any number of channels, or float32 vectors [N, F].
    labels: int64 [N], positions in `classes`; -1 where an example has no label.
    attributes: int8 [N, A] of 0 and 1, named by `attribute_names`.
    names: one per example, such as a path inside an archive.
    """

    pixels: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example: (C, H, W) or (F,)."""
        return tuple(self.pixels.shape[1:])

    def take(self, index: Tensor) -> Images:
        """The examples at these positions."""
        return replace(
            self,
            pixels=self.pixels[index],
            labels=None if self.labels is None else self.labels[index],
            attributes=None if self.attributes is None else self.attributes[index],
            names=tuple(self.names[i] for i in index.tolist()) if self.names else (),
        )

    def floats(self, index: Tensor | slice = slice(None)) -> Tensor:
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
    """

    train: Images
    validation: Images
    test: Images
    labelled: Images | None = None
    notes: tuple[str, ...] = ()
