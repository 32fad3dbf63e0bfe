"""ResNet-18, -34 and -50 (He et al. 2016), with stems for small images."""

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.blocks import basic_block, bottleneck, conv_norm, initialise, relu
from diabolo.networks.shapes import image_shape

Depth = Literal[18, 34, 50]
Stem = Literal["cifar", "stl", "imagenet"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # in each of the four stages
EXPANSION = {18: 1, 34: 1, 50: 4}  # a stage's channels over those of its 3×3 convolutions


class ResNet(nn.Module):
    """A residual network without its classifier: [n, C, H, W] → [n, D] by global average pooling.

    D is 512 · width, at depth 50 2048 · width.
    depth: layers, the classifier that is left out counted.
    width: multiplies the channels; a quarter-width ResNet-18 has 16, 32, 64 and 128.
    stem: "cifar", 3×3 at full size; "stl", 7×7 with stride 2; "imagenet", 7×7 with stride 2 and a max-pool.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        depth: Depth = 18,
        width: Annotated[float, Gt(0)] = 1.0,
        stem: Stem = "cifar",
    ) -> None:
        super().__init__()
        channels, _ = image_shape(shape, f"encoder 'resnet{depth}'")
        first = first_channels(width)
        self.stem = _stem(channels, first, stem)
        block = bottleneck if EXPANSION[depth] > 1 else basic_block
        blocks = []
        before = first
        for stage, count in enumerate(BLOCKS[depth]):
            after = first * 2**stage * EXPANSION[depth]
            for i in range(count):
                blocks.append(block(before, after, stride=2 if stage > 0 and i == 0 else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.width = before
        initialise(self)

    def map(self, x: Tensor) -> Tensor:
        """The last feature map: [n, C, H, W] → [n, D, H', W']."""
        x = self.stem(x)
        for block in self.blocks:  # called as one, they would keep the stem's output to the end
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).mean((2, 3))


def first_channels(width: float) -> int:
    """The channels of the first stage: 64 · width."""
    channels = round(64 * width)
    if channels == 0:
        raise UserError(f"a resnet of width {width:g} has no channels: its width must be at least {1 / 64:g}")
    return channels


def _stem(before: int, after: int, kind: Stem) -> nn.Sequential:
    if kind == "cifar":
        return nn.Sequential(conv_norm(before, after, 3), relu())
    pool = [nn.MaxPool2d(3, stride=2, padding=1)] if kind == "imagenet" else []
    return nn.Sequential(conv_norm(before, after, 7, stride=2), relu(), *pool)
