"""The small ResNet of SimVAE (Bizeul et al. 2024, Table 4) and its mirror."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from diabolo.networks.blocks import Residual, basic_block, initialise, relu
from diabolo.networks.mlp import Positive
from diabolo.networks.shapes import Size, halvings, image_shape, output_padding

STAGES = (32, 64, 128, 256)


class SimVAEEncoder(nn.Module):
    """[n, C, H, W] → [n, 256 · H/16 · W/16]: 4096 for 64×64, 1024 for 32×32.

    4×4 convolution to 16 channels, BN, ReLU, 3×3 max-pool with stride 2, then four residual stages. The
    linear layer to d that ends Table 4a is the latent head's.
    blocks: in each stage. The table prints one pair of convolutions; the text says ResNet-18 and the authors'
    code has two.
    """

    def __init__(self, shape: tuple[int, ...], *, blocks: Positive = 2) -> None:
        super().__init__()
        channels, size = image_shape(shape, "encoder 'simvae-resnet'")
        self.stem = nn.Sequential(
            nn.ZeroPad2d((1, 2, 1, 2)),  # an even kernel keeps the size by padding unevenly
            nn.Conv2d(channels, 16, 4, bias=False),
            nn.BatchNorm2d(16),
            relu(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages = []
        for stage, (before, after) in enumerate(pairwise((16, *STAGES))):
            stages.append(basic_block(before, after, stride=1 if stage == 0 else 2))
            stages += [basic_block(after, after) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        self.width = STAGES[-1] * prod(halvings(size, 4)[-1])
        initialise(self)

    def map(self, x: Tensor) -> Tensor:
        """The last feature map: [n, C, H, W] → [n, 256, H/16, W/16]."""
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x).flatten(1)


class SimVAEDecoder(nn.Module):
    """[n, latent] → [n, C, H, W] (Table 4b), with the settings of `SimVAEEncoder`.

    Linear to 256 × H/16 × W/16, four residual stages of 128, 64, 32 and 16 channels whose first block is a
    transposed convolution up to the next of the sides halved from the image's, then a 5×5 convolution.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], *, blocks: Positive = 2) -> None:
        super().__init__()
        channels, size = image_shape(shape, "decoder 'simvae-resnet'")
        sizes = halvings(size, 4)[::-1]
        self.linear = nn.Linear(latent, STAGES[-1] * prod(sizes[0]))
        stages: list[nn.Module] = [nn.Unflatten(1, (STAGES[-1], *sizes[0]))]
        for (before, after), (small, large) in zip(
            pairwise((*STAGES[::-1], 16)), pairwise(sizes), strict=True
        ):
            stages.append(transposed_block(before, after, small, large))
            stages += [basic_block(after, after) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        initialise(self.stages)
        self.last = nn.Conv2d(16, channels, 5, padding=2)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.stages(self.linear(z)))


def transposed_block(before: int, after: int, small: Size, large: Size) -> Residual:
    """`basic_block` of stride 2, the other way."""

    def up(kernel: int) -> nn.Sequential:
        padding = output_padding(small, large)
        conv = nn.ConvTranspose2d(before, after, kernel, 2, kernel // 2, padding, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after))

    same = nn.Conv2d(after, after, 3, padding=1, bias=False)
    return Residual(nn.Sequential(up(3), relu(), same, nn.BatchNorm2d(after)), up(1))
