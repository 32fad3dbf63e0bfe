"""Views that change colours and sharpness."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from diabolo.errors import UserError
from diabolo.views.base import Drawn
from diabolo.views.geometry import (
    ImageView,
    Probability,
    between,
    happens,
    per_sample,
    refuse_descending,
    resample,
)

Strength = Annotated[float, Ge(0)]
Sigma = Annotated[float, Gt(0)]


class ColourJitter(ImageView):
    """Change brightness, contrast, saturation and hue, all four with probability p.

    Factors are uniform in [max(0, 1 − strength), 1 + strength]; the hue shift is uniform in ±hue, in turns
    of the colour wheel. Each step is torchvision's and ends in a clamp to [0, 1]. The order is fixed, where
    torchvision shuffles it for each image: so the whole batch takes one path and compiles to one graph.

    One channel has no colour: brightness and contrast alone apply. Other numbers of channels than one and
    three are refused when saturation or hue is asked for.

    Draws brightness, contrast, saturation (factors) and hue (turns), float [n]; 1, 1, 1, 0 where untouched.
    """

    def __init__(
        self,
        *,
        brightness: Strength,
        contrast: Strength,
        saturation: Strength,
        hue: Annotated[float, Ge(0), Le(0.5)],
        p: Probability = 0.8,
    ) -> None:
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.p = p

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels = super().shape(shape)[0]
        if channels not in (1, 3) and (self.saturation or self.hue):
            raise UserError(
                f"colour-jitter: saturation and hue need 1 or 3 channels, not {channels}: set both to 0"
            )
        return shape

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        random = torch.rand(4, n, generator=rng)
        on = happens(n, self.p, rng)
        strengths = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        factors = {
            name: torch.where(on, between((max(0.0, 1 - strength), 1 + strength), random[i]), 1.0)
            for i, (name, strength) in enumerate(strengths.items())
        }
        return factors | {"hue": torch.where(on, between((-self.hue, self.hue), random[3]), 0.0)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        parameter = {name: per_sample(value.to(x.dtype)) for name, value in drawn.items()}
        in_colour = x.shape[1] == 3
        if self.brightness:
            x = _blend(x, 0.0, parameter["brightness"])
        if self.contrast:
            x = _blend(x, _grey(x).mean((2, 3), keepdim=True), parameter["contrast"])
        if self.saturation and in_colour:
            x = _blend(x, _grey(x), parameter["saturation"])
        if self.hue and in_colour:
            x = _turn_hue(x, parameter["hue"])
        return x


class Grayscale(ImageView):
    """Replace the colours by their luminance with probability p, keeping three channels.

    One channel stays as it is. Draws grey, bool [n].
    """

    def __init__(self, *, p: Probability = 0.2) -> None:
        self.p = p

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        channels = super().shape(shape)[0]
        if channels not in (1, 3):
            raise UserError(f"grayscale: needs 1 or 3 channels, not {channels}: drop it from the views")
        return shape

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"grey": happens(n, self.p, rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return torch.where(per_sample(drawn["grey"]), _grey(x), x)


class GaussianBlur(ImageView):
    """Blur with probability p by a Gaussian of `kernel` taps a side, the image reflected at its edges.

    kernel: odd. sigma: range of the standard deviation, in pixels.
    Draws sigma, float [n]; 0 where not blurred.
    """

    def __init__(
        self, *, kernel: Annotated[int, Gt(0)], sigma: tuple[Sigma, Sigma] = (0.1, 2.0), p: Probability = 0.5
    ) -> None:
        if kernel % 2 == 0:
            raise UserError(f"gaussian-blur: kernel must be odd, not {kernel}: take {kernel + 1}")
        refuse_descending("gaussian-blur: sigma", sigma)
        self.kernel, self.sigma, self.p = kernel, sigma, p

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        side = min(super().shape(shape)[1:])
        if self.kernel // 2 >= side:
            raise UserError(
                f"gaussian-blur: kernel {self.kernel} is too wide for images of {side} pixels: "
                f"take {2 * side - 1} or less"
            )
        return shape

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        sigma = between(self.sigma, torch.rand(n, generator=rng))
        return {"sigma": torch.where(happens(n, self.p, rng), sigma, 0.0)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        sigma = drawn["sigma"].to(x.dtype)[:, None].clamp(min=1e-3)  # at 0 the middle tap is left alone
        offset = torch.arange(self.kernel, dtype=x.dtype, device=x.device) - self.kernel // 2
        taps = (-0.5 * (offset / sigma).square()).softmax(1)
        H, W = x.shape[-2:]
        return resample(x, _convolution(taps, H), _convolution(taps, W))


def _convolution(taps: Tensor, side: int) -> Tensor:
    """Taps [n, K] as matrices [n, side, side] that convolve one axis, reflected at its ends."""
    K = taps.shape[1]
    reflected = F.pad(torch.eye(side, dtype=taps.dtype, device=taps.device), (K // 2, K // 2), mode="reflect")
    reads = reflected.unfold(1, K, 1)  # [in, out, K]: 1 where tap k of an output pixel reads an input pixel
    return torch.einsum("iok,nk->noi", reads, taps)


def _blend(x: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    """factor · x + (1 − factor) · other, clamped to [0, 1]; beyond 1 the factor leads away from `other`."""
    return (x * factor).add_(other * (1 - factor)).clamp_(0, 1)


def _grey(x: Tensor) -> Tensor:
    """Luminance [n, 1, H, W] by ITU-R BT.601, as in Pillow; the mean for other than three channels."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    r, g, b = x.split(1, dim=1)
    return 0.299 * r + 0.587 * g + 0.114 * b


def _turn_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue [n, 1, 1, 1] of RGB images [n, 3, H, W], keeping HSV's value and saturation.

    HSV's hue is a position on a hexagon of six sides. Measured in units of the chroma (highest − lowest
    channel) instead of sides it needs no division, and a grey pixel, whose hue is undefined, no exception.
    """
    r, g, b = x.split(1, dim=1)
    highest, lowest = r.maximum(g).maximum(b), r.minimum(g).minimum(b)
    chroma = highest - lowest
    of_green = torch.add(b - r, chroma, alpha=2)
    of_blue = torch.add(r - g, chroma, alpha=4)
    position = torch.where(r == highest, g - b, torch.where(g == highest, of_green, of_blue))  # in [−1, 5]
    position = torch.addcmul(position, chroma, 6 * turns.remainder(1))
    position = position.where(position <= 5 * chroma, torch.sub(position, chroma, alpha=6))  # again
    # Each channel is a trapezium over the hexagon: up a side, two sides high, down a side, two sides low.
    # Red is lowest about 3 and blue about 1: they are as high as the distance, less 1. Green is highest about
    # 2: 2 less the distance. All at once, since compiled that takes half the time of one after another.
    middle = torch.arange(3, 0, -1, dtype=x.dtype, device=x.device).view(3, 1, 1)
    away = 2 * (middle - 2).abs() - 1  # 1, −1, 1
    channels = torch.addcmul(position, chroma, -middle).abs_().mul_(away)
    return channels.addcmul_(chroma, 0.5 - 1.5 * away).add_(lowest).clamp_(lowest, highest)
