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


class Given(Method):
    """A method that is not trained here: its one space is the representation of an encoder from outside."""

    spaces: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def title(self) -> str:
        return "this encoder"


class Network(nn.Module):
    """An encoder or a module as a network: [n, *shape] → float32 [n, D], on the device of the examples.

    Raises `UserError` where it does not take such examples, or does not make arrays of them.
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
            raise UserError(f"features: the encoder must return an array [n, D], got {type(z).__name__}")
        z = torch.as_tensor(z).to(x.device, torch.float32)
        # What is made in inference mode inside `represent` cannot be learned from outside of it.
        return z.clone() if z.is_inference() and not torch.is_inference_mode_enabled() else z


def given(encoder: Encoder | nn.Module, shape: tuple[int, ...]) -> Given:
    """An encoder of examples of this shape as a method, on the device of its weights. See `Network`."""
    network = Network(encoder)
    device = next(network.parameters(), torch.empty(0)).device
    # Nothing is normalised, but these say on which device examples are wanted.
    mean, std = torch.zeros(shape[0], device=device), torch.ones(shape[0], device=device)
    return Given(Backbone(network, shape, mean, std))
