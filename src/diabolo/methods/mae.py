"""MAE: masked autoencoders are scalable vision learners (He et al. 2022)."""

from math import prod
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from diabolo.distributed import local, world_size
from diabolo.errors import UserError
from diabolo.losses import masked_patch_error
from diabolo.methods.base import Method, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.transformer import blocks, initialise, positions, take
from diabolo.networks.vit import ViT, patchify
from diabolo.precision import upcast
from diabolo.views.pipeline import Batch

Positive = Annotated[int, Gt(0)]


class MAE(Method):
    """Encode a few patches of an image, and predict the pixels of all others.

    The encoder sees the kept patches alone; a narrow decoder sees them in their places, with one learned
    token for each hidden patch. The representation is that of the whole image: the mean of all its patches'
    tokens.

    masked: share of the patches that is hidden. normalise: patches are predicted less their own mean, over
    their own deviation. width, depth, heads: of the decoder.
    """

    def __init__(
        self,
        encoder: Backbone,
        *,
        masked: Annotated[float, Gt(0), Lt(1)] = 0.75,
        normalise: bool = True,
        width: Positive = 96,
        depth: Positive = 2,
        heads: Positive = 3,
    ) -> None:
        super().__init__(encoder)
        self.masked = masked
        self.normalise = normalise
        self.width = width
        pixels = self.vit.embed.in_features
        if normalise and pixels == 1:
            raise UserError(
                "method.normalise: patches of one value have no deviation: set a larger encoder.patch"
            )
        self.kept(prod(self.vit.grid))
        self.narrow = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.decoder = nn.Sequential(
            blocks(width, depth, heads), nn.LayerNorm(width), nn.Linear(width, pixels)
        )
        initialise(nn.ModuleList([self.narrow, self.decoder]))

    @property
    def vit(self) -> ViT:
        """The encoder's network. Raises `UserError` for one that cannot take a subset of patches."""
        if not isinstance(self.encoder.network, ViT):
            raise UserError(
                "method 'mae' encodes a few patches of an image, which encoder "
                f"{type(self.encoder.network).__name__} cannot: use encoder=vit"
            )
        return self.encoder.network

    def kept(self, L: int) -> int:
        """How many of L patches the encoder sees. Raises `UserError` for none and for all."""
        kept = L - round(L * self.masked)
        if not 0 < kept < L:
            raise UserError(
                f"method.masked: {self.masked:g} of {L} patches leaves {kept} of them to see: "
                "set another encoder.patch"
            )
        return kept

    def forward(self, batch: Batch) -> Terms:
        x = self.encoder.normalise(batch.views[0].flatten(0, 1))  # [n, C, H, W]
        target = upcast(patchify(x, self.vit.patch))  # [n, L, P]
        if self.normalise:
            variance, mean = torch.var_mean(target, 2, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        n, L, _ = target.shape
        order = local(torch.rand(n * world_size(), L, device=x.device)).argsort(1)  # a shuffle of the patches
        keep = order[:, : self.kept(L)]
        prediction = self.predict(self.vit.tokens(x, keep), order, (x.shape[2], x.shape[3]))
        masked = torch.ones_like(order, dtype=torch.bool).scatter(1, keep, False)
        loss = masked_patch_error(prediction, target, masked)
        return Terms(loss, {"reconstruction": loss})

    def predict(self, tokens: Tensor, order: Tensor, size: tuple[int, int]) -> Tensor:
        """The pixels of all patches, [n, L, P].

        tokens: [n, l, D], of the first l patches in `order` [n, L]. size: of the image, pixels.
        """
        tokens = self.narrow(tokens)
        hidden = self.mask_token.expand(len(tokens), order.shape[1] - tokens.shape[1], -1)
        tokens = take(torch.cat([tokens, hidden.to(tokens.dtype)], 1), order.argsort(1))
        return self.decoder(tokens + positions(self.vit.tiling(size), self.vit.grid, self.width, tokens))
