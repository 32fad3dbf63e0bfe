"""Fully connected networks, for vectors and flattened images."""

from itertools import pairwise
from math import prod
from typing import Annotated

from annotated_types import Gt, MinLen
from torch import Tensor, nn

Positive = Annotated[int, Gt(0)]
Widths = Annotated[tuple[Positive, ...], MinLen(1)]


def layers(*widths: int) -> nn.Sequential:
    """Linear–ReLU from each width to the next: [n, widths[0]] → [n, widths[-1]]."""
    return nn.Sequential(*(layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())))


class LinearEncoder(nn.Module):
    """One linear layer: [n, *shape] → [n, width]."""

    def __init__(self, shape: tuple[int, ...], *, width: Positive = 32) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(prod(shape), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class LinearDecoder(nn.Module):
    """One linear layer: [n, latent] → [n, *shape]."""

    def __init__(self, latent: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(latent, prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).unflatten(1, self.shape)


class MLPEncoder(nn.Module):
    """Linear layers, each followed by ReLU: [n, *shape] → [n, widths[-1]].

    The default widths are those of Bizeul et al. 2024, Table 3a (784–500–500–2000).
    """

    def __init__(self, shape: tuple[int, ...], *, widths: Widths = (500, 500, 2000)) -> None:
        super().__init__()
        self.width = widths[-1]
        self.layers = layers(prod(shape), *widths)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


class MLPDecoder(nn.Module):
    """Linear layers with ReLU between them: [n, latent] → [n, *shape] (Bizeul et al. 2024, Table 3b)."""

    def __init__(self, latent: int, shape: tuple[int, ...], *, widths: Widths = (2000, 500, 500)) -> None:
        super().__init__()
        self.shape = shape
        self.layers = layers(latent, *widths)
        self.last = nn.Linear(widths[-1], prod(shape))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.layers(z)).unflatten(1, self.shape)
