"""Transformer blocks on tokens [n, L, width], and the places of patches in an image."""

from math import sqrt

import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.shapes import Size


class Attention(nn.Module):
    """Multi-head self-attention: [n, L, width] → [n, L, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [n, heads, L, d]
        # written out: PyTorch's fused kernels have no gradient of a gradient, which contraction takes
        weights = (q @ k.mT / sqrt(q.shape[-1])).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two layers of 4 · width and width with GELU; each behind a layer norm, and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


def blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` blocks. Raises `UserError` for a width that heads cannot share or positions cannot fill."""
    if width % heads or width % 4:
        raise UserError(
            f"a transformer of width {width} with {heads} heads: its width must be a multiple of both 4 and "
            "its heads"
        )
    return nn.Sequential(*(Block(width, heads) for _ in range(depth)))


def initialise(network: nn.Module) -> None:
    """As MAE's code does: Xavier-uniform weights, biases of zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def positions(grid: Size, native: Size, width: int, like: Tensor) -> Tensor:
    """Sines and cosines of each patch's row and column, width / 4 of each (Vaswani et al. 2017): [L, width].

    grid: patches along height and width. They are spread over the square that `native` patches fill, so that
    a smaller crop is placed as if it were the whole image. like: a tensor on the device they are wanted on.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    rates = 10_000 ** -(torch.arange(width // 4, dtype=dtype, device=like.device) / (width // 4))

    def waves(count: int, whole: int) -> Tensor:
        places = (torch.arange(count, dtype=dtype, device=like.device) + 0.5) * (whole / count) - 0.5
        angles = places[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], 1)  # [count, width / 2]

    rows, columns = waves(grid[0], native[0]), waves(grid[1], native[1])
    return torch.cat([rows.repeat_interleave(grid[1], 0), columns.repeat(grid[0], 1)], 1)


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Of tokens [n, L, D] those at places [n, l]: [n, l, D]."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))
