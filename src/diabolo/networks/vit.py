"""A vision transformer whose tokens are patches, of which any share can be encoded alone."""

from math import gcd

from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.mlp import Positive
from diabolo.networks.shapes import Size, image_shape
from diabolo.networks.transformer import blocks, initialise, positions, take

LARGEST_PATCH = 16  # pixels, and
FEWEST_PATCHES = 7  # along a side, where the recipe does not choose


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021): [n, C, H, W] → [n, width].

    Linear embeddings of the patches, fixed sine and cosine positions, pre-norm blocks, layer norm. It has no
    class token: the feature is the mean over the patches. Images of another size than `shape` are taken where
    patches tile them; their positions then span the same square.

    patch: side of a patch, pixels; None for the largest that tiles the image, is at most 16, and leaves at
    least 7 along each side: 4 for 28 and 32, 8 for 64, 12 for 96, 16 for 224; of smaller images 2.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        patch: Positive | None = None,
        width: Positive = 192,
        depth: Positive = 6,
        heads: Positive = 3,
    ) -> None:
        super().__init__()
        channels, size = image_shape(shape, "encoder 'vit'")
        self.patch = patch or _default_patch(size)
        self.grid = self.tiling(size)
        self.width = width
        self.embed = nn.Linear(channels * self.patch**2, width)
        self.blocks = blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encoded patches, from left to right and from top to bottom: [n, C, H, W] → [n, L, width].

        keep: [n, l], the places of the patches to encode, which see one another alone; None for all L.
        """
        grid = self.tiling((x.shape[2], x.shape[3]))
        tokens = self.embed(patchify(x, self.patch))
        tokens = tokens + positions(grid, self.grid, self.width, tokens)
        return self.norm(self.blocks(tokens if keep is None else take(tokens, keep)))

    def map(self, x: Tensor) -> Tensor:
        """The encoded patches in their places: [n, C, H, W] → [n, width, H / patch, W / patch]."""
        return self.tokens(x).mT.unflatten(2, self.tiling((x.shape[2], x.shape[3])))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).mean(1)

    def tiling(self, size: Size) -> Size:
        """How many patches tile a height and a width, in pixels. Raises `UserError` where none do."""
        height, width = size
        if height % self.patch or width % self.patch:
            raise UserError(
                f"encoder 'vit': patches of {self.patch}×{self.patch} do not tile {height}×{width} pixels: "
                "set encoder.patch to a divisor of both sides"
            )
        return height // self.patch, width // self.patch


def patchify(x: Tensor, patch: int) -> Tensor:
    """Images [n, C, H, W] → patches [n, L, C · patch²], from left to right and from top to bottom."""
    tiles = x.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [n, C, H/p, p, W/p, p]
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _default_patch(size: Size) -> int:
    largest = max(2, min(LARGEST_PATCH, min(size) // FEWEST_PATCHES))
    return next((side for side in range(largest, 1, -1) if gcd(*size) % side == 0), 1)
