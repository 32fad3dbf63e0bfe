"""Encoders from anywhere: any object that represents examples, as what probes and measures look at."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.methods.base import Method
from diabolo.networks.backbone import Backbone


@runtime_checkable
class Encoder(Protocol):
    """What can be scored on images as it is."""

    def represent(self, x: Tensor) -> Tensor | np.ndarray:
        """Examples [n, C, H, W] in [0, 1], or vectors [n, F] → [n, D]."""
        ...


class Frozen(Method):
    """A method that is not trained: one space, the representation of an encoder from outside."""

    spaces: ClassVar[tuple[str, ...]] = ("h",)


class Network(nn.Module):
    """An encoder or a module as a network: [n, *shape] → [n, D].

    Raises `UserError` where it does not take such examples, or what it makes of one is no vector.
    """

    def __init__(self, encoder: Encoder | nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        represent: Any = self.encoder.represent if isinstance(self.encoder, Encoder) else self.encoder
        try:
            z = represent(x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            shape = "×".join(map(str, x.shape[1:]))
            raise UserError(f"examples of {shape} do not pass: {str(error).splitlines()[0]}") from error
        if not isinstance(z, Tensor | np.ndarray):
            raise UserError(f"features: represent must return an array [n, D], got {type(z).__name__}")
        if z.ndim != 2 or len(z) != len(x):
            raise UserError(
                f"features: a representation must be [n, D], got {list(z.shape)} for {len(x)} examples: "
                "flatten or pool it"
            )
        return torch.as_tensor(z)


def frozen(encoder: Encoder | nn.Module, shape: tuple[int, ...]) -> Frozen:
    """An encoder of examples of this shape as a method, on the device of its weights. See `Network`."""
    network = Network(encoder)
    device = next(network.parameters(), torch.empty(0)).device
    channels = shape[0]
    as_they_are = torch.zeros(channels, device=device), torch.ones(channels, device=device)
    return Frozen(Backbone(network, shape, *as_they_are))
