"""The decoder of AAVAE (Falcon et al. 2021): a residual network turned round, without batch norm."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.blocks import Residual, relu
from diabolo.networks.mlp import Positive
from diabolo.networks.resnet import BLOCKS, EXPANSION, Depth, Stem, first_channels
from diabolo.networks.shapes import Size, halvings, image_shape

SEED = 4  # side of the map that the latent is spread over
STEM_HALVINGS = {"cifar": 0, "stl": 1, "imagenet": 2}


class ResNetDecoder(nn.Module):
    """[n, latent] → [n, C, H, W], with the settings of the `ResNet` it mirrors.

    Linear(latent, h)–ReLU–Linear(h, h)–ReLU → h/16 × 4 × 4 → 1×1 convolution to h channels → four residual
    stages of 256, 128, 64 and 32 channels (times width, times 4 at depth 50) → 3×3 to 64 → 3×3 to C, linear.
    Stages count as many blocks as the encoder's in reverse order. The first block of a stage upsamples by
    nearest neighbour to the size of the encoder's map there, never below 4×4, so that any side is met
    exactly: 32 by 4, 8, 16, 32, and 96 with the "stl" stem by 6, 12, 24, 48, 96, its last step before the
    last convolution. Initialised as PyTorch does, like the authors' code.

    hidden: h, a multiple of 16; None for the width of the encoder's feature.
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        *,
        depth: Depth = 18,
        width: Annotated[float, Gt(0)] = 1.0,
        stem: Stem = "cifar",
        hidden: Positive | None = None,
    ) -> None:
        super().__init__()
        channels, size = image_shape(shape, "decoder 'resnet'")
        first = first_channels(width)
        hidden = hidden or first * 8 * EXPANSION[depth]
        if hidden % SEED**2:
            raise UserError(
                f"decoder.hidden: {hidden} is no multiple of 16, the pixels it fills: set it to "
                f"{hidden + -hidden % SEED**2}"
            )
        self.spread = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Unflatten(1, (hidden // SEED**2, SEED, SEED)),
            nn.Conv2d(hidden // SEED**2, hidden, 1),
            relu(),
        )
        *outer, full, half, quarter, eighth = (
            _at_least_seed(s, size) for s in halvings(size, 3 + STEM_HALVINGS[stem])
        )
        block = _bottleneck if EXPANSION[depth] > 1 else _basic_block
        blocks = []
        before = hidden
        inner = 4 * first
        for count, target in zip(reversed(BLOCKS[depth]), (eighth, quarter, half, full), strict=True):
            after = max(1, inner) * EXPANSION[depth]
            for i in range(count):
                blocks.append(block(before, after, target if i == 0 else None))
                before = after
            inner //= 2
        self.blocks = nn.Sequential(*blocks)
        last_up, *pool_up = (nn.Upsample(s) for s in outer) if outer else (nn.Identity(),)
        self.last = nn.Sequential(
            *pool_up,  # undoes the max-pool of the "imagenet" stem
            nn.Conv2d(before, first, 3, padding=1),
            relu(),
            last_up,  # undoes the stem's stride
            nn.Conv2d(first, channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.blocks(self.spread(z)))


def _at_least_seed(stage: Size, image: Size) -> Size:
    """No stage of a small image is smaller than the map it starts from, nor larger than the image."""
    height, width = (min(whole, max(SEED, side)) for side, whole in zip(stage, image, strict=True))
    return height, width


def _basic_block(before: int, after: int, size: Size | None) -> Residual:
    branch = nn.Sequential(
        *_upsample(size),
        nn.Conv2d(before, after, 3, padding=1),
        relu(),
        nn.Conv2d(after, after, 3, padding=1),
    )
    return Residual(branch, _shortcut(before, after, size))


def _bottleneck(before: int, after: int, size: Size | None) -> Residual:
    inner = after // 4
    branch = nn.Sequential(
        nn.Conv2d(before, inner, 1),
        relu(),
        *_upsample(size),
        nn.Conv2d(inner, inner, 3, padding=1),
        relu(),
        nn.Conv2d(inner, after, 1),
    )
    return Residual(branch, _shortcut(before, after, size))


def _shortcut(before: int, after: int, size: Size | None) -> nn.Module:
    if size is None:
        return nn.Identity()
    # a 1×1 convolution and nearest neighbour commute; this order computes a quarter of the pixels
    return nn.Sequential(nn.Conv2d(before, after, 1), *_upsample(size))


def _upsample(size: Size | None) -> list[nn.Module]:
    return [] if size is None else [nn.Upsample(size)]
