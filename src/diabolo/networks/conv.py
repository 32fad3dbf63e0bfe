"""Small convolutional networks."""

from itertools import pairwise
from math import prod
from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

from diabolo.networks.mlp import Positive, Widths
from diabolo.networks.shapes import Size, halvings, image_shape, output_padding


class ConvEncoder(nn.Module):
    """Strided 3×3 convolutions with ReLU, then a hidden layer (Mancini): [n, C, H, W] → [n, hidden].

    Each convolution halves the side, rounding up: 28 → 14 → 7 → 4, so 32 filters leave 512 features.
    batch_norm: after each convolution, before its ReLU, as the denoising variant has it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        filters: Widths = (8, 16, 32),
        hidden: Positive = 64,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, size = image_shape(shape, "encoder 'conv'")
        smallest = halvings(size, len(filters))[-1]
        self.width = hidden
        self.features = nn.Sequential(
            *(_strided(a, b, batch_norm) for a, b in pairwise((channels, *filters)))
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(filters[-1] * prod(smallest), hidden), nn.ReLU())

    def map(self, x: Tensor) -> Tensor:
        """[n, C, H, W] → [n, 32, 4, 4] (for sides of 28 and 32, and the default filters)."""
        return self.features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(self.map(x))


class ConvDecoder(nn.Module):
    """`ConvEncoder` mirrored, with the same settings: [n, latent] → [n, C, H, W].

    Two linear layers with ReLU, then transposed convolutions whose output padding follows the encoder's
    sizes upwards (4 → 7 → 14 → 28), so that any side is met exactly; the last one is linear.
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        *,
        filters: Widths = (8, 16, 32),
        hidden: Positive = 64,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, size = image_shape(shape, "decoder 'conv'")
        sizes = halvings(size, len(filters))[::-1]
        self.hidden = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, filters[-1] * prod(sizes[0])),
            nn.ReLU(),
            nn.Unflatten(1, (filters[-1], *sizes[0])),
        )
        *between, last = zip(pairwise((*filters[::-1], channels)), pairwise(sizes), strict=True)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(_transposed(*step, not batch_norm), *_norm(step[0][1], batch_norm), nn.ReLU())
                for step in between
            ),
            _transposed(*last, bias=True),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.hidden(z))


class ResizeConvDecoder(nn.Module):
    """Nearest-neighbour upsampling and convolutions with batch norm (Goncharov & Soboleva).

    [n, latent] → [n, C, H, W]. A linear layer fills 512 channels at an eighth of the side (4×4 for 32), then
    256, 128 and 64 channels each upsample to the next of the sides halved from the image's, 64 follow at full
    size, and a last 3×3 convolution is linear. Every convolution before it is 3×3–BN–ReLU.
    width: multiplies all these channels.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], *, width: Annotated[float, Gt(0)] = 1.0) -> None:
        super().__init__()
        channels, size = image_shape(shape, "decoder 'resize-conv'")
        first, second, third, fourth = (max(1, round(width * of)) for of in (512, 256, 128, 64))
        full, half, quarter, eighth = halvings(size, 3)
        self.spread = nn.Sequential(
            nn.Linear(latent, first * prod(eighth), bias=False),
            nn.Unflatten(1, (first, *eighth)),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        )
        self.layers = nn.Sequential(
            nn.Upsample(quarter),
            _same(first, second),
            nn.Upsample(half),
            _same(second, third),
            nn.Upsample(full),
            _same(third, fourth),
            _same(fourth, fourth),
            nn.Conv2d(fourth, channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.spread(z))


def _norm(channels: int, wanted: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if wanted else []


def _strided(before: int, after: int, batch_norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=not batch_norm)
    return nn.Sequential(conv, *_norm(after, batch_norm), nn.ReLU())


def _transposed(channels: tuple[int, int], sizes: tuple[Size, Size], bias: bool) -> nn.ConvTranspose2d:
    padding = output_padding(*sizes)
    return nn.ConvTranspose2d(*channels, 3, stride=2, padding=1, output_padding=padding, bias=bias)


def _same(before: int, after: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())
