"""Encoders from anywhere: any object that represents examples."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation.features import Features, features_of
from diabolo.networks.shapes import evaluating


@runtime_checkable
class Encoder(Protocol):
    """What can be scored on images as it is."""

    def represent(self, x: Tensor) -> Tensor | np.ndarray:
        """Examples [n, C, H, W] in [0, 1], or vectors [n, F] → [n, D]."""
        ...


class Forward(nn.Module):
    """A module as it is: what it makes of examples is their representation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def represent(self, x: Tensor) -> Tensor:
        z: Tensor = self.module(x)
        return z


def features_by(encoder: Encoder, splits: Splits) -> Features:
    """The features of the parts that probes use.

    A module is in evaluation mode meanwhile, and gets its examples on the device of its weights. Raises
    `UserError` where it does not take such examples, or what it makes of one is no finite vector.
    """

    def represent(x: Tensor) -> Tensor:
        try:
            z: Any = encoder.represent(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            shape = "×".join(map(str, x.shape[1:]))
            raise UserError(f"examples of {shape} do not pass: {str(error).splitlines()[0]}") from error
        if not isinstance(z, Tensor | np.ndarray):
            raise UserError(f"features: represent must return an array [n, D], got {type(z).__name__}")
        return torch.as_tensor(z)

    if not isinstance(encoder, nn.Module):
        return features_of(represent, splits)
    with evaluating(encoder):
        return features_of(represent, splits, next(encoder.parameters(), torch.empty(0)).device)
