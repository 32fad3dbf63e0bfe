"""BYOL: bootstrap your own latent (Grill et al. 2020)."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from diabolo.losses import byol
from diabolo.methods.base import Method, Needs, Terms, each_view
from diabolo.methods.momentum import cosine_momentum, follow, slow_copy
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class BYOL(Method):
    """From one view, predict the projection of the other by a slow copy of the network.

    momentum: of the copy at the start, τ; it rises to 1 by a cosine. hidden, width: of the projector
    h → hidden → width and the predictor width → hidden → width. predictor: without it, embeddings collapse.
    """

    needs = Needs(views=(2, 2), batch=2)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.996,
        hidden: Annotated[int, Gt(0)] = 4096,
        width: Annotated[int, Gt(0)] = 256,
        predictor: bool = True,
    ) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.projector = mlp_head(encoder.width, hidden, width, bias=False)
        self.predictor = mlp_head(width, hidden, width, bias=False) if predictor else nn.Identity()
        self.target = slow_copy(self.online())

    def online(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.projector

    def forward(self, batch: Batch) -> Terms:
        p = each_view(self.predictor, self.embed_apart(batch.views[0]))  # [B, 2, D]
        with torch.no_grad():
            z = each_view(self.target, batch.views[0])
        loss = byol(p, z)
        return Terms(loss, {"regression": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    def after_step(self, progress: float) -> None:
        """Move the copy's weights; its batch norm follows what the copy sees, as in the public code."""
        follow(self.target, self.online(), cosine_momentum(progress, self.momentum))
