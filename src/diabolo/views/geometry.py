"""Views that move pixels: crop, flip, rotate, shift.

Crops and shifts (and blur, in `colour`) are linear in each axis, so a sample's transform is a pair of small
matrices: one product for all rows, one for all columns, for every sample of the batch at once.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from diabolo.errors import UserError
from diabolo.views.base import Drawn, View

Probability = Annotated[float, Ge(0), Le(1)]
AreaShare = Annotated[float, Gt(0), Le(1)]
Ratio = Annotated[float, Gt(0)]

TRIES = 10  # torchvision's, before it falls back on a centre crop


class ImageView(View):
    """A view of images [n, C, H, W]: vectors have no rows and columns."""

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Raises `UserError` for anything but (C, H, W)."""
        if len(shape) != 3:
            raise UserError(f"{type(self).__name__} needs images, not vectors: drop it from the views")
        return shape


class RandomResizedCrop(ImageView):
    """Crop a random area and resize it to one size (Szegedy et al. 2015; drawn as torchvision draws it).

    scale: range of the crop's share of the image's area. ratio: range of width over height.
    size: side of the square that comes out, in pixels; None keeps the image's own height and width.
    Draws top, left, height and width, int64 pixels [n].
    """

    def __init__(
        self,
        *,
        scale: tuple[AreaShare, AreaShare] = (0.08, 1.0),
        ratio: tuple[Ratio, Ratio] = (3 / 4, 4 / 3),
        size: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        refuse_descending("random-resized-crop: scale", scale)
        refuse_descending("random-resized-crop: ratio", ratio)
        self.scale, self.ratio, self.size = scale, ratio, size

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = super().shape(shape)
        return (shape[0], self.size, self.size) if self.size else shape

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        _, H, W = super().shape(shape)
        random = torch.rand(4, n, TRIES, dtype=torch.float64, generator=rng)
        area = H * W * between(self.scale, random[0])
        ratio = between((math.log(self.ratio[0]), math.log(self.ratio[1])), random[1]).exp()
        height, width = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
        fits = (height > 0) & (height <= H) & (width > 0) & (width <= W)

        first = fits.long().argmax(1, keepdim=True)  # the first try that fits

        def choose(tried: Tensor, fallback: int) -> Tensor:
            return torch.where(fits.any(1), tried.gather(1, first)[:, 0], fallback)

        top, left = (random[2] * (H - height + 1)).long(), (random[3] * (W - width + 1)).long()
        centre_height, centre_width = self._largest(H, W)
        return {
            "top": choose(top, (H - centre_height) // 2),
            "left": choose(left, (W - centre_width) // 2),
            "height": choose(height, centre_height),
            "width": choose(width, centre_width),
        }

    def _largest(self, H: int, W: int) -> tuple[int, int]:
        """The largest height and width inside an image that keep to the range of ratios."""
        low, high = self.ratio
        return min(H, max(1, round(W / low))), min(W, max(1, round(H * high)))

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        H, W = x.shape[-2:]
        rows = _resize(drawn["top"], drawn["height"], H, self.size or H, x.dtype)
        columns = _resize(drawn["left"], drawn["width"], W, self.size or W, x.dtype)
        return resample(x, rows, columns)


class HorizontalFlip(ImageView):
    """Mirror left and right with probability p. Draws flip, bool [n]."""

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"flip": happens(n, self.p, rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return torch.where(per_sample(drawn["flip"]), x.flip(-1), x)


class VerticalFlip(ImageView):
    """Mirror top and bottom with probability p. Draws flip, bool [n]."""

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"flip": happens(n, self.p, rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return torch.where(per_sample(drawn["flip"]), x.flip(-2), x)


class Rotation(ImageView):
    """Rotate about the centre by an angle uniform in ±degrees: bilinear, zeros outside.

    Draws degrees, float [n], positive counter-clockwise.
    """

    def __init__(self, *, degrees: Annotated[float, Ge(0), Le(180)]) -> None:
        self.degrees = degrees

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"degrees": between((-self.degrees, self.degrees), torch.rand(n, generator=rng))}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        H, W = x.shape[-2:]
        angle = drawn["degrees"].to(x.dtype).deg2rad()
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # Where each output pixel is read: the inverse rotation, with both axes scaled to ±1.
        across = torch.stack([cos, -sin * (H / W), zero], dim=1)
        down = torch.stack([sin * (W / H), cos, zero], dim=1)
        grid = F.affine_grid(torch.stack([across, down], dim=1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Translation(ImageView):
    """Shift each axis by a share of the side, uniform in ±share: bilinear, zeros outside.

    Draws down and right, float [n], shares of the height and of the width.
    """

    def __init__(self, *, share: Annotated[float, Ge(0), Le(1)]) -> None:
        self.share = share

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        down, right = between((-self.share, self.share), torch.rand(2, n, generator=rng))
        return {"down": down, "right": right}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        H, W = x.shape[-2:]
        return resample(x, _shift(drawn["down"], H, x.dtype), _shift(drawn["right"], W, x.dtype))


def resample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One matrix per sample and axis: [n, C, H, W], [n, H', H], [n, W', W] → [n, C, H', W']."""
    n, C, H, W = x.shape
    wide = torch.bmm(x.reshape(n, C * H, W), columns.mT)
    return rows[:, None] @ wide.view(n, C, H, -1)


def _resize(start: Tensor, length: Tensor, side: int, out: int, dtype: torch.dtype) -> Tensor:
    """Bilinear weights [n, out, side] that resize the pixels start … start + length − 1 of one axis to `out`.

    Antialiased when shrinking: the triangle is then as wide as an output pixel, as in
    `F.interpolate(..., antialias=True)`. Nothing outside the crop is read.
    """
    start, length = start[:, None], length[:, None]
    step = length.to(dtype) / out  # input pixels per output pixel
    centres = start + step * (torch.arange(out, dtype=dtype, device=start.device) + 0.5)
    pixel = torch.arange(side, device=start.device)
    inside = (pixel >= start) & (pixel < start + length)
    weights = _triangle(centres, side, step.clamp(min=1)) * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def _shift(share: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    """Bilinear weights [n, side, side] that move one axis by a share of the side and bring in zeros."""
    shift = side * share.to(dtype)[:, None]
    centres = torch.arange(side, dtype=dtype, device=share.device) + 0.5 - shift
    return _triangle(centres, side, torch.ones_like(shift))


def _triangle(centres: Tensor, side: int, radius: Tensor) -> Tensor:
    """1 − distance / radius, where positive, of `side` pixels to centres [n, out]: [n, out, side]."""
    middles = torch.arange(side, dtype=centres.dtype, device=centres.device) + 0.5
    return (1 - (middles - centres[..., None]).abs() / radius[..., None]).clamp(min=0)


def between(limits: tuple[float, float], random: Tensor) -> Tensor:
    """Uniform in [0, 1) → uniform between two limits."""
    return limits[0] + (limits[1] - limits[0]) * random


def happens(n: int, p: float, rng: torch.Generator) -> Tensor:
    """True with probability p: bool [n]."""
    return torch.rand(n, generator=rng) < p


def per_sample(parameter: Tensor) -> Tensor:
    """[n] → [n, 1, 1, 1], to broadcast over images."""
    return parameter[:, None, None, None]


def refuse_descending(setting: str, limits: tuple[float, float]) -> None:
    if limits[0] > limits[1]:
        raise UserError(f"{setting} must be [lowest, highest], got [{limits[0]}, {limits[1]}]")
