"""The ResNet of SimVAE's public code (github.com/alicebizeul/simvae), which is not that of its Table 4."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from diabolo.networks.blocks import basic_block, initialise, relu
from diabolo.networks.shapes import halvings, image_shape, output_padding
from diabolo.networks.simvae import transposed_block

SMALL = 32  # pixels: the side up to which the first kernel is 3×3


class SimVAEEncoderAsCoded(nn.Module):
    """[n, C, H, W] → [n, 128 · H' · W']: 2048 for 32×32, 8192 for 64×64.

    The fourth stage of a ResNet-18 of 32, 64, 128 and 256 channels is cut off. Before the other three:
    an unpadded convolution to 64 channels, 3×3 up to 32 pixels and 4×4 above (its bias, which batch norm
    cancels, is left out), BN, ReLU, and a 3×3 max-pool with stride 2.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, (height, width) = image_shape(shape, "encoder 'simvae-resnet-as-coded'")
        kernel = 3 if max(height, width) <= SMALL else 4
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, kernel, bias=False),
            nn.BatchNorm2d(64),
            relu(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages = []
        for before, after, stride in ((64, 32, 1), (32, 64, 2), (64, 128, 2)):
            stages += [basic_block(before, after, stride), basic_block(after, after)]
        self.stages = nn.Sequential(*stages)
        self.width = 128 * prod(halvings((height - kernel + 1, width - kernel + 1), 3)[-1])
        initialise(self.stages)  # the first convolution is as PyTorch made it

    def map(self, x: Tensor) -> Tensor:
        """The last feature map: [n, C, H, W] → [n, 128, H', W']."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).flatten(1)


class SimVAEDecoderAsCoded(nn.Module):
    """[n, latent] → [n, C, H, W].

    Linear to 512 × H/16 × W/16; three stages, each a block that keeps and one that doubles the size, to 256,
    128 and 64 channels; a stage that keeps both; a 7×7 transposed convolution with stride 2. Initialised as
    PyTorch does. Every block has its shortcut: the code forgets those of the blocks that keep the size.
    """

    def __init__(self, latent: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, size = image_shape(shape, "decoder 'simvae-resnet-as-coded'")
        *sizes, half, full = halvings(size, 4)[::-1]
        stages: list[nn.Module] = [nn.Unflatten(1, (512, *sizes[0]))]
        for (before, after), (small, large) in zip(
            pairwise((512, 256, 128, 64)), pairwise((*sizes, half)), strict=True
        ):
            stages += [basic_block(before, before), transposed_block(before, after, small, large)]
        self.linear = nn.Linear(latent, 512 * prod(sizes[0]))
        self.stages = nn.Sequential(*stages, basic_block(64, 64), basic_block(64, 64))
        self.last = nn.ConvTranspose2d(64, channels, 7, 2, 3, output_padding(half, full))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.stages(self.linear(z)))
