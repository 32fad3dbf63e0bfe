"""What an augmentation is."""

from typing import Any

import torch
from torch import Tensor

Drawn = dict[str, Tensor]


class View:
    """One augmentation of a whole batch, in two halves.

    `draw` picks the random parameters, one set per sample; it runs eagerly, on the CPU, from a given
    generator. `apply` is a pure function of the batch and what was drawn; it runs on the device and compiles.
    A constructor's keyword-only parameters are the recipe's settings.
    """

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (C, H, W) or (F,) that comes out for the one that goes in."""
        return shape

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        """Parameters for `n` samples of `shape`: each tensor is [n] or [n, …]."""
        return {}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        """[n, *shape] float in [0, 1] → [n, *self.shape(shape)]."""
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in _settings(self).items())
        return f"{type(self).__name__}({settings})"


def _settings(view: View) -> dict[str, Any]:
    return {key: value for key, value in vars(view).items() if not key.startswith("_")}
