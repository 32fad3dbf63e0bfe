"""Views that corrupt or binarise single pixels. They take images [n, C, H, W] and vectors [n, F]."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from diabolo.views.base import Drawn, View

Share = Annotated[float, Ge(0), Le(1)]


class GaussianNoise(View):
    """x + scale · N(0, I), not clipped (Mancini; Vincent et al. 2010). Draws noise, N(0, 1), [n, *shape]."""

    def __init__(self, *, scale: Annotated[float, Ge(0)] = 0.3) -> None:
        self.scale = scale

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"noise": torch.randn(n, *shape, generator=rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return x + self.scale * drawn["noise"].to(x.dtype)


class Masking(View):
    """Set each pixel, all its channels, to zero with probability `share` (Vincent et al. 2010).

    Draws masked, bool [n, 1, H, W] or [n, F].
    """

    def __init__(self, *, share: Share = 0.25) -> None:
        self.share = share

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"masked": torch.rand(n, *_pixels(shape), generator=rng) < self.share}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return x.masked_fill(drawn["masked"], 0.0)


class SaltAndPepper(View):
    """Set each pixel, all its channels, with probability `share`, half to zero and half to one.

    From Vincent et al. 2010. Draws pepper (to zero) and salt (to one), never both;
    bool [n, 1, H, W] or [n, F].
    """

    def __init__(self, *, share: Share = 0.1) -> None:
        self.share = share

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        random = torch.rand(n, *_pixels(shape), generator=rng)
        pepper = random < self.share / 2
        return {"pepper": pepper, "salt": (random < self.share) & ~pepper}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return x.masked_fill(drawn["pepper"], 0.0).masked_fill(drawn["salt"], 1.0)


class Threshold(View):
    """1 where x exceeds a value, else 0. Draws nothing."""

    def __init__(self, *, value: float = 0.5) -> None:
        self.value = value

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return (x > self.value).to(x.dtype)


class SampledBinarisation(View):
    """Each value becomes 1 with the probability it states, else 0 (Salakhutdinov & Murray 2008).

    Draws uniform, in [0, 1), [n, *shape].
    """

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"uniform": torch.rand(n, *shape, generator=rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return (drawn["uniform"] < x).to(x.dtype)


class Dequantisation(View):
    """k/255 → (k + U[0, 1))/255: noise within each pixel's level (Uria et al. 2013), for a likelihood that is
    a density.

    Draws uniform, in [0, 1), [n, *shape].
    """

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"uniform": torch.rand(n, *shape, generator=rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return x + drawn["uniform"].to(x.dtype) / 255


def _pixels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one value per pixel, or per entry of a vector."""
    return (1, *shape[1:]) if len(shape) == 3 else shape
